"""One line per exit: `machine.observer = Trace(machine, sys.stderr)`.

3   +12.4us  vcpu 0  0x10013  in al, dx            in  port 0x3fd size 1 -> 0x60  Serial
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TextIO

from pykvm.culprit import culprit_of
from pykvm.exits import Exit, Interrupted, MmioRead, MmioWrite, MsrRead, MsrWrite, PortIn, PortOut

if TYPE_CHECKING:
    from pykvm.backend.protocol import Vcpu
    from pykvm.machine import Machine
    from pykvm.registers import Registers, SpecialRegisters

RECENT = 16
BYTES_SHOWN = 16


class _Seen(NamedTuple):
    """An exit as it was, to be put into words only when somebody reads them."""

    number: int
    since_ns: int
    vcpu: int
    registers: Registers
    special: SpecialRegisters
    exit: Exit
    answer: int | bytes | None
    assisted: int


class Trace:
    """An observer that writes down what each exit was.

    Args:
        machine: whose exits these are.
        stream: where each line goes at once; None to keep the recent ones only.

    Attributes:
        stream: the same.
        count: exits seen so far.
    """

    def __init__(self, machine: Machine, stream: TextIO | None = None) -> None:
        self._machine = machine
        self.stream = stream
        self._last_ns = machine.vm.now_ns()
        self.count = 0
        self._assisted = 0
        self._recent: deque[_Seen] = deque(maxlen=RECENT)

    def __call__(self, vcpu: Vcpu, exit: Exit, answer: int | bytes | None) -> None:
        """Write one exit down; a stop from outside is none of the guest's."""
        if isinstance(exit, Interrupted):
            return
        since_ns = self._machine.vm.now_ns() - self._last_ns
        self.count += 1
        registers, special = vcpu.get_registers(), vcpu.get_special()
        assisted = sum(each.assisted[1] for each in self._machine.vcpus)
        seen = _Seen(
            self.count, since_ns, vcpu.index, registers, special, exit, answer,
            assisted - self._assisted,
        )  # fmt: skip
        self._assisted = assisted
        self._recent.append(seen)
        if self.stream is not None:
            print(self._line(seen), file=self.stream)
        self._last_ns = self._machine.vm.now_ns()  # the tracing itself does not count

    @property
    def recent(self) -> list[str]:
        """The last RECENT lines; instructions as memory holds them now."""
        return [self._line(seen) for seen in self._recent]

    def _line(self, seen: _Seen) -> str:
        found = culprit_of(seen.registers, seen.special, self._machine.memory, seen.exit)
        where = (
            f"{found.address:#010x}  {found!s:<28}" if found else f"{'':10}  {'(not mapped)':<28}"
        )
        return (
            f"{seen.number:>6} {_duration(seen.since_ns):>9}  vcpu {seen.vcpu}  {where}  "
            f"{_what(seen.exit, seen.answer)}{self._who(seen.exit)}{_help(seen)}"
        )

    def _who(self, exit: Exit) -> str:
        """The device that answered."""
        match exit:
            case PortIn(address, size) | PortOut(address, size):
                claim = self._machine.ports.find(address, size)
            case MmioRead(address, size) | MmioWrite(address, size):
                claim = self._machine.mmio.find(address, size)
            case _:
                return ""
        return f"  {claim.name}" if claim else "  nobody"


def _help(seen: _Seen) -> str:
    """Instructions since the line before that KVM left to the emulator."""
    return f"  ({seen.assisted} instructions assisted)" if seen.assisted else ""


def _what(exit: Exit, answer: int | bytes | None) -> str:
    if isinstance(exit, MsrRead | MsrWrite) and answer is None:
        return f"{exit} -> #GP"
    if answer is None or not exit.is_read:
        return str(exit)
    if isinstance(answer, bytes):
        more = "..." if len(answer) > BYTES_SHOWN else ""
        return f"{exit} -> {answer[:BYTES_SHOWN].hex()}{more}"
    return f"{exit} -> {answer:#x}"


def _duration(ns: int) -> str:
    if ns < 1_000_000:
        return f"+{ns / 1e3:.1f}us"
    return f"+{ns / 1e6:.1f}ms" if ns < 1_000_000_000 else f"+{ns / 1e9:.2f}s"
