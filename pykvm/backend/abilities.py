"""The rest of the seam: what every backend gives to those who go beyond running a guest.

docs/architecture.md, "What each backend has", says where they differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # importing the seam must stay cheap: see `backend`
    from pykvm.backend.controls import HardwareBreakpoint, MsrExitReason, MsrTrap, Route
    from pykvm.cpumodel import CpuidEntry
    from pykvm.exits import MmioWrite, PortOut
    from pykvm.memory import GuestMemory, Region
    from pykvm.state import Clock, DebugRegisters, Events, Fpu, IrqchipState, MpState


class VcpuState(Protocol):
    """A processor's state beyond its registers: all of it can be read, and set again."""

    def get_fpu(self) -> Fpu:
        """x87 and SSE state."""
        ...

    def set_fpu(self, fpu: Fpu) -> None:
        """Set x87 and SSE state."""
        ...

    @property
    def xsave_size_bytes(self) -> int:
        """Length of what `get_xsave` gives."""
        ...

    def get_xsave(self) -> bytes:
        """All state of XSAVE, in the standard form of the area."""
        ...

    def set_xsave(self, area: bytes) -> None:
        """Set all state of XSAVE."""
        ...

    def get_xcrs(self) -> dict[int, int]:
        """Extended control registers by number."""
        ...

    def set_xcrs(self, values: Mapping[int, int]) -> None:
        """Set extended control registers."""
        ...

    def get_events(self) -> Events:
        """Exceptions, interrupts and NMIs on their way."""
        ...

    def set_events(self, events: Events) -> None:
        """Set exceptions, interrupts and NMIs on their way."""
        ...

    def get_mp_state(self) -> MpState:
        """Whether it runs, sleeps in HLT, or waits to be started."""
        ...

    def set_mp_state(self, state: MpState) -> None:
        """Let it run, wait or halt; needs an irqchip."""
        ...

    def get_debug_registers(self) -> DebugRegisters:
        """The guest's own debug registers."""
        ...

    def set_debug_registers(self, registers: DebugRegisters) -> None:
        """Set the guest's own debug registers."""
        ...

    def get_lapic(self) -> bytes:
        """The local APIC's register page; needs an irqchip."""
        ...

    def set_lapic(self, page: bytes) -> None:
        """Set the local APIC's register page."""
        ...

    def msr_indices(self) -> tuple[int, ...]:
        """The MSRs that its state consists of, for `get_msrs`."""
        ...

    def set_cpuid(self, entries: Sequence[CpuidEntry]) -> None:
        """Make CPUID answer from these, before the first run."""

    def get_cpuid(self) -> tuple[CpuidEntry, ...]:
        """What CPUID tells the guest."""
        ...

    def get_tsc_khz(self) -> int:
        """Frequency of the guest's time stamp counter."""
        ...

    def set_tsc_khz(self, khz: int) -> None:
        """Let the guest's time stamp counter run at this frequency."""
        ...


class VcpuControl(Protocol):
    """Debugging a processor's guest, and injecting interrupts by hand."""

    def set_guest_debug(
        self,
        *,
        single_step: bool = False,
        software: bool = False,
        hardware: Sequence[HardwareBreakpoint] = (),
    ) -> None:
        """Choose what ends a run with a Debug exit; without arguments, nothing does.

        Args:
            single_step: every instruction.
            software: INT3, which the guest then does not see itself.
            hardware: addresses that the processor watches, `controls.MAX_HARDWARE` at most.
                The guest's own debug registers do not work meanwhile. A run that starts at a
                breakpoint stops there at once: step past it without the breakpoint first.
        """
        ...

    def interrupt(self, vector: int) -> None:
        """Inject an external interrupt, where there is no irqchip."""
        ...

    def nmi(self) -> None:
        """Inject a non-maskable interrupt."""
        ...

    @property
    def ready_for_interrupt(self) -> bool:
        """Whether `interrupt` would be taken at once, as of the last exit."""
        ...

    def request_interrupt_window(self, wanted: bool = True) -> None:
        """Let a run end with an IrqWindow exit as soon as the guest can take an interrupt."""
        ...


class VmMemory(Protocol):
    """Memory that changes while a machine is there, and the log of what the guest writes.

    Any thread may call all of it, while the guest runs too.
    """

    def map(self, region: Region, *, log_dirty: bool = False) -> None:
        """Let the guest see a region.

        Args:
            log_dirty: note which of its pages are written, from the start.

        Raises:
            LayoutError: no room for another one.
        """
        ...

    def unmap(self, region: Region) -> None:
        """Take a region away; the guest's accesses there exit as MMIO from then on."""
        ...

    def move(self, memory: GuestMemory, region: Region, gpa: int) -> None:
        """Let host and guest see a mapped region of `memory` at another address."""
        ...

    def note_write(self, gpa: int, size_bytes: int) -> None:
        """Memory was written through a `GuestMemory.view`, and may hold code."""
        ...

    def set_dirty_logging(self, region: Region, on: bool) -> None:
        """Start or stop noting which pages of a mapped region are written."""
        ...

    def dirty_log(self, region: Region) -> list[int]:
        """Pages of a region written since the last call, as ascending addresses.

        The region must have been mapped with `log_dirty`, or `set_dirty_logging` called.
        Only the guest's own writes count, not those made through `GuestMemory`. KVM may also name
        a page that the guest has only read, once.
        """
        ...

    def protect_dirty_manually(self) -> None:
        """From now on `dirty_log` only tells, and `clear_dirty_log` starts pages anew."""
        ...

    def clear_dirty_log(self, region: Region, gpas: Iterable[int]) -> None:
        """Watch these pages of a region again, after `protect_dirty_manually`.

        Raises:
            UsageError: a page is outside the region, or pages start anew by themselves.
        """
        ...


class VmEvents(Protocol):
    """Eventfds for writes and for interrupts, and what else spares an exit or adds one."""

    def add_ioeventfd(
        self,
        fd: int,
        address: int,
        size: int = 0,
        *,
        port: bool = False,
        datamatch: int | None = None,
    ) -> None:
        """Signal an eventfd at each guest write to an address; the processor does not exit.

        Args:
            address: a guest-physical address, or a port.
            size: of the write in bytes: 1, 2, 4 or 8; 0 for any.
            datamatch: only writes of this value count; others exit as usual.
        """
        ...

    def remove_ioeventfd(
        self,
        fd: int,
        address: int,
        size: int = 0,
        *,
        port: bool = False,
        datamatch: int | None = None,
    ) -> None:
        """Take an eventfd away again; the arguments are those it was added with."""
        ...

    def add_coalesced(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Collect the guest's writes to a range until there is no room or somebody asks.

        The processor does not exit for them: `take_coalesced` gives them, best before each
        exit is dealt with, since they came before it.
        """
        ...

    def remove_coalesced(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Let writes to a range exit again; what was collected can still be taken."""
        ...

    def take_coalesced(self) -> list[PortOut | MmioWrite]:
        """The writes collected since the last call, oldest first, from any processor."""
        ...

    def add_irqfd(self, fd: int, gsi: int, resample_fd: int | None = None) -> None:
        """Let a write to an eventfd raise a line, without a call and by any process.

        Args:
            resample_fd: an eventfd that is signalled at the end of each interrupt; the line
                is level-triggered then and drops at that moment.
        """
        ...

    def remove_irqfd(self, fd: int, gsi: int) -> None:
        """Part an eventfd from its line."""
        ...

    def set_routes(self, routes: Sequence[Route]) -> None:
        """Replace all routes of lines; `controls.default_routes()` are a new machine's."""
        ...

    def signal_msi(self, address: int, data: int) -> bool:
        """Send a message-signalled interrupt; whether a local APIC took it."""
        ...

    def enable_msr_exits(self, reasons: MsrExitReason) -> None:
        """Let accesses of these kinds exit, where the guest would otherwise take #GP."""
        ...

    def trap_msrs(self, traps: Sequence[MsrTrap]) -> None:
        """Let accesses to these MSRs exit; replaces the traps set before.

        The x2APIC's MSRs (0x800 to 0x8FF) cannot be trapped. The exits come where
        `enable_msr_exits` includes FILTER; otherwise the guest takes #GP.
        """
        ...


class VmState(Protocol):
    """The state of a machine's chips, and its clock."""

    def get_irqchip(self) -> IrqchipState:
        """State of the PICs and the I/O APIC, of a full irqchip."""
        ...

    def set_irqchip(self, state: IrqchipState) -> None:
        """Set the state of the PICs and the I/O APIC."""
        ...

    def get_pit(self) -> bytes:
        """State of the 8254."""
        ...

    def set_pit(self, state: bytes) -> None:
        """Set the state of the 8254."""
        ...

    def get_clock(self) -> Clock:
        """The guest's clock."""
        ...

    def set_clock(self, clock: Clock) -> None:
        """Set the guest's clock; with a `realtime_ns`, the time since then is added."""
        ...
