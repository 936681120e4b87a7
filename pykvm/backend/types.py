"""Values that every backend takes: breakpoints, MSR traps, interrupt routes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from pykvm._native import lib
from pykvm.errors import UsageError

MAX_HARDWARE = 4

# DR7, Intel SDM vol. 3B §17.2.4: global enable, condition and length of each address.
DR7_CONDITIONS = {"execute": 0, "write": 1, "access": 3}
DR7_LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}

_PIC_PINS = 8


@dataclass(frozen=True, slots=True)
class HardwareBreakpoint:
    """An address that the processor watches.

    Attributes:
        gva: guest-virtual address, a multiple of the size.
        condition: "execute", "write", or "access" for reads and writes.
        size_bytes: 1, 2, 4 or 8; 1 for "execute".
    """

    gva: int
    condition: str = "execute"
    size_bytes: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.gva, int):
            raise UsageError(f"a breakpoint stands at an address, not at {self.gva!r}")
        if self.condition not in DR7_CONDITIONS:
            raise UsageError(
                f"a breakpoint's condition is one of {', '.join(DR7_CONDITIONS)}, "
                f"not {self.condition!r}"
            )
        if self.size_bytes not in DR7_LENGTHS or self.gva % self.size_bytes:
            raise UsageError(
                f"a breakpoint watches 1, 2, 4 or 8 aligned bytes, "
                f"not {self.size_bytes} at {self.gva:#x}"
            )
        if self.condition == "execute" and self.size_bytes != 1:
            raise UsageError("a breakpoint on execution has a size of 1")


class MsrExitReason(IntFlag):
    """Why an access to an MSR exits."""

    INVALID = lib.KVM_MSR_EXIT_REASON_INVAL  # the value would raise #GP
    UNKNOWN = lib.KVM_MSR_EXIT_REASON_UNKNOWN  # the backend does not know the MSR
    FILTER = lib.KVM_MSR_EXIT_REASON_FILTER  # a trap matches


@dataclass(frozen=True, slots=True)
class MsrTrap:
    """MSRs whose reads or writes the backend leaves alone.

    Attributes:
        indices: consecutive MSRs, `range(first, last + 1)`.
        reads, writes: which accesses.
    """

    indices: range
    reads: bool = True
    writes: bool = True


@dataclass(frozen=True, slots=True)
class PinRoute:
    """A line (GSI) that drives an input of a chip: "pic_master", "pic_slave" or "ioapic"."""

    gsi: int
    chip: str
    pin: int


@dataclass(frozen=True, slots=True)
class MsiRoute:
    """A line (GSI) that sends a message. Source: Intel SDM vol. 3A §10.11."""

    gsi: int
    address: int
    data: int


Route = PinRoute | MsiRoute


def default_routes() -> tuple[Route, ...]:
    """How a full irqchip is wired at first: every line to the I/O APIC, 0 to 15 to a PIC too."""
    ioapic = [PinRoute(gsi, "ioapic", gsi) for gsi in range(lib.KVM_IOAPIC_NUM_PINS)]
    master = [PinRoute(gsi, "pic_master", gsi) for gsi in range(_PIC_PINS)]
    slave = [PinRoute(_PIC_PINS + pin, "pic_slave", pin) for pin in range(_PIC_PINS)]
    return (*ioapic, *master, *slave)
