"""The seam: what every backend gives to a machine, and to its owner.

docs/architecture.md, "What each backend has", says where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # importing the seam must stay cheap: see `backend`
    from pykvm.backend.types import HardwareBreakpoint, MsrExitReason, MsrTrap, Route
    from pykvm.cpumodel import CpuidEntry
    from pykvm.exits import Exit, MmioWrite, PortOut
    from pykvm.memory import GuestMemory, Region
    from pykvm.registers import Registers, SpecialRegisters
    from pykvm.state import Clock, DebugRegisters, Events, Fpu, IrqchipState, MpState


class RawExit(Protocol):
    """The numbers of the last exit, as the backend left them. Reads are answered in `value`."""

    address: int
    value: int
    size: int
    count: int


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
            hardware: addresses that the processor watches, `types.MAX_HARDWARE` at most.
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


class Vcpu(VcpuState, VcpuControl, Protocol):
    """One virtual processor.

    Attributes:
        entry: the same as `enter`, as a function and its argument: in a hot loop each
            detour counts.
        raw: the last exit's numbers.
    """

    index: int
    entry: tuple[Callable[[Any], int], Any]
    raw: RawExit

    def enter(self) -> int:
        """Run to the next exit; returns its key, see `backend.exitkeys`."""
        ...

    def exit(self, key: int) -> Exit:
        """The last exit as a value."""
        ...

    def answer(self, exit: Exit, value: int | bytes, *, fault: bool = False) -> None:
        """Answer a read exit; `fault` makes an MSR access raise #GP in the guest."""
        ...

    def answered(self, exit: Exit) -> int | bytes | None:
        """What an exit has been answered with; None where it asks nothing, or with a fault."""
        ...

    def complete(self) -> int:
        """Finish the last exit's instruction and run nothing more; the key of what is left."""
        ...

    def abandon(self) -> None:
        """Let nothing of the last exit's instruction come later: another state follows.

        Setting another rip at a read exit does so, too; `complete` is for a state that goes on.
        """
        ...

    def pass_over(self, kind: int) -> int:
        """Run on through exits of one kind, in native code; the key of the first other one.

        Reads are answered with what `raw.value` has; nobody helps out.
        """
        ...

    def begin(self, timeout_ns: int | None) -> None:
        """Bound the runs that follow, by the calling thread."""
        ...

    def end(self) -> None:
        """Lift the bound."""
        ...

    def stop(self) -> None:
        """End the run under way, or the next one, with Interrupted. Any thread may call it."""
        ...

    def exit_counts(self) -> Mapping[str, int]:
        """How often each kind of exit came, by its name."""
        ...

    @property
    def native_count(self) -> int:
        """How many of those exits were answered without Python."""
        ...

    @property
    def assisted(self) -> tuple[int, int]:
        """How often another backend helped out, and with how many instructions in all."""
        ...

    def share_registers(self, on: bool) -> None:
        """Make reading registers after each exit cheap, at a small cost to the exit."""
        ...

    def get_registers(self) -> Registers:
        """All general registers."""
        ...

    def set_registers(self, registers: Registers) -> None:
        """Set all general registers."""
        ...

    def get_special(self) -> SpecialRegisters:
        """Segment, table and control registers."""
        ...

    def set_special(self, special: SpecialRegisters) -> None:
        """Set segment, table and control registers."""
        ...

    def reset(self, special: SpecialRegisters, rip: int, rsp: int, rflags: int) -> None:
        """Set all of them, the general ones that are not given to 0, and abandon the last exit.

        Args:
            special: an object that never changes.
        """
        ...

    def get_msrs(self, indices: list[int]) -> dict[int, int]:
        """Model-specific registers by index."""
        ...

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """Set model-specific registers."""
        ...

    def close(self) -> None:
        """Give the processor back."""
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
        """Replace all routes of lines; `types.default_routes()` are a new machine's."""
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


class Vm(VmMemory, VmEvents, VmState, Protocol):
    """One virtual machine: memory, processors, interrupt lines."""

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The processors that it has, in order."""
        ...

    def create_vcpu(self, index: int, cpu: str, count: int = 1) -> Vcpu:
        """Add a processor of the named model to a machine that has `count` of them."""
        ...

    @property
    def irqchip(self) -> str:
        """Which interrupt controllers there are: "none", "full" or "split"."""
        ...

    def create_irqchip(self, kind: str) -> None:
        """Add interrupt controllers: "full" or "split"."""
        ...

    def create_pit(self) -> None:
        """Add the 8254 timer; needs the full irqchip."""
        ...

    def set_irq_line(self, line: int, level: bool) -> None:
        """Raise or lower an interrupt line of the irqchip."""
        ...

    def raise_line_at(self, line: int, ns: int | None) -> None:
        """Raise one line by itself when `now_ns` tells so much; None: not any more.

        Raises:
            UsageError: the clock is not one of instructions.
        """
        ...

    def add_console(self, port: int, ident: int) -> Callable[[], bytes]:
        """Collect bytes written to a port without leaving native code; returns the taker."""
        ...

    def add_scratch(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Answer a range of addresses or ports with a little memory, in native code."""
        ...

    def now_ns(self) -> int:
        """The time, by the machine's clock; where it begins means nothing."""
        ...

    def detach(self) -> None:
        """Make sure that nothing uses the memory, which is about to be unmapped."""
        ...

    def close(self) -> None:
        """Give the machine back to the system, its processors too."""
        ...


class Backend(Protocol):
    """A way to run machines.

    Attributes:
        name: one of BACKENDS.
        why: the reason that it was chosen, in words.
    """

    name: str
    why: str

    def create_vm(
        self, clock: str = "wall", regions: Sequence[Region] = (), cpu: str | None = None
    ) -> Vm:
        """A new virtual machine that sees these regions; its time is one of CLOCKS.

        Where `cpu` names a model, its first and only processor is made too, and it gets no
        interrupt chips.
        """
        ...
