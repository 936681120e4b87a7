"""What a Python handler adds to an exit, beside the calls without which there is none."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from pykvm.backend.natives import empty_call
from pykvm.bench.exits.guest import Batches, GuestSampler
from pykvm.bench.exits.user import PORT, Handler, port_loop
from pykvm.bench.figures import median
from pykvm.bench.sampler import QUICK, Side
from pykvm.bus import Device

_BATCHES = 9  # of each in one reading
_ONE_PORT, _TWO_PORT = PORT + 8, PORT + 9  # beside those that C answers


class _Twice(Handler):
    """Leaves Python once more through cffi, and has another handler answer."""

    def __init__(self, handler: Handler) -> None:
        (enter, native), answer = empty_call(), handler.write

        def write(offset: int, size_bytes: int, value: int) -> None:
            enter(native)
            answer(offset, size_bytes, value)

        self.write = write  # type: ignore[method-assign]


def sides(stack: ExitStack) -> dict[str, Side]:
    """All in one machine, since another one's memory lies elsewhere in the caches.

    The guest's counter times each exit: of a batch the middle one counts, which nobody interrupted,
    and of some batches the least, whose caches nobody else used. The calls that are needed are
    timed behind an exit too, in the caches that it leaves.
    """
    sampler = GuestSampler("kvm", QUICK)
    by_c = replace(port_loop("out", 1), repeats=False)
    machine = stack.enter_context(sampler.machine(by_c))

    def batches(port: int, device: Device) -> Batches:
        machine.ports.claim(port, 1, device, "measured")
        return sampler.batches(replace(by_c, given=f"mov edx, {port:#x}"), machine)

    native = sampler.batches(by_c, machine)
    once, twice = batches(_ONE_PORT, Handler()), batches(_TWO_PORT, _Twice(Handler()))
    return {"floor_ns": _more(twice, once), "ours_ns": _more(once, native)}


def _more(longer: Batches, shorter: Batches) -> Side:
    """How many nanoseconds an exit of the one takes more than one of the other."""

    def reading() -> float:
        rounds = [(_exit_ns(longer), _exit_ns(shorter)) for _ in range(_BATCHES)]
        return min(long_ns for long_ns, _ in rounds) - min(short_ns for _, short_ns in rounds)

    return reading


def _exit_ns(batches: Batches) -> float:
    """One exit, and the reading of the counter, which is the same in all."""
    return median(batches.take()) * batches.cycle_ns
