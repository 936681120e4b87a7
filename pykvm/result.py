"""How a run ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from pykvm.errors import PykvmError
from pykvm.exits import Debug, Exit, Halt, Interrupted, Shutdown, Timeout

STATUS_RESET = 123
STATUS_TIMEOUT = 124
STATUS_DIED = 125
STATUS_INTERRUPTED = 130


class Outcome(Enum):
    """Why a run ended."""

    EXIT = "exit"  # the guest wrote to an exit port, or switched the machine off
    RESET = "reset"  # the guest reset the machine, as a kernel does that panics with panic=-1
    HALT = "halt"  # HLT, with no interrupt controller that could wake it
    SHUTDOWN = "shutdown"  # triple fault
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"  # stop() was called
    DEBUG = "debug"  # a breakpoint or single step
    DIED = "died"  # an exit that nobody can handle


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run. Everything a guest can do is a value here; only misuse raises.

    Attributes:
        outcome: why it ended; `reason` says it in words.
        status: the guest's own exit status; 123 reset, 124 timeout, 125 died, 130 interrupted.
        exit: the last exit.
        vcpu: index of the processor that it came from.
        error: what could not be handled, for DIED.
        output: what the guest printed so far, of more than 16 MiB the first 16 MiB.
        output_dropped_bytes: how much it printed beyond that.
        exits: how often each kind came, over the machine's life.
        native_exits: how many of them were answered without Python.
        assist_entries: how often the emulator took over from KVM, over the machine's life.
        assist_instructions: how many instructions it executed then.
        wall_ns: duration of this run in nanoseconds.
    """

    outcome: Outcome
    status: int
    reason: str
    exit: Exit
    vcpu: int
    error: PykvmError | None
    output: bytes
    output_dropped_bytes: int
    exits: Mapping[str, int]
    native_exits: int
    assist_entries: int
    assist_instructions: int
    wall_ns: int


class Ending(NamedTuple):
    """How a run ends, as its Result has it."""

    outcome: Outcome
    status: int
    reason: str


SWITCHED_OFF = Ending(Outcome.EXIT, 0, "the guest switched the machine off")


def exited(status: int) -> Ending:
    """The guest wrote to an exit port."""
    return Ending(Outcome.EXIT, status, f"the guest ended the run with status {status}")


def was_reset(how: str) -> Ending:
    """The guest reset the machine."""
    return Ending(Outcome.RESET, STATUS_RESET, f"the guest reset the machine by {how}")


def ending(exit: Exit, chosen: Ending | None) -> Ending:
    """How a run ends with this exit.

    Args:
        chosen: what the guest asked for by way of a device, None where it did not.
    """
    match exit:
        case Interrupted():
            return chosen or Ending(Outcome.INTERRUPTED, STATUS_INTERRUPTED, "stopped")
        case Timeout():
            return Ending(Outcome.TIMEOUT, STATUS_TIMEOUT, "the time is over")
        case Halt():
            return Ending(Outcome.HALT, 0, "the guest halted")
        case Debug():
            return Ending(Outcome.DEBUG, 0, str(exit))
        case Shutdown():
            return Ending(Outcome.SHUTDOWN, STATUS_DIED, str(exit))
    return Ending(Outcome.DIED, STATUS_DIED, str(exit))
