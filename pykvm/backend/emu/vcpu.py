"""One emulated processor: running it."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend import exitkeys
from pykvm.backend.common import Running, debug_registers
from pykvm.backend.emu import cpuid
from pykvm.backend.emu.calls import check, out_of_memory
from pykvm.backend.emu.cpuid import CpuidTable
from pykvm.backend.emu.state import StateAccess
from pykvm.backend.natives import owned
from pykvm.backend.types import HardwareBreakpoint
from pykvm.cpumodel import CpuidEntry
from pykvm.errors import ClosedError, UsageError
from pykvm.exits import Exit
from pykvm.state import MpState

_STOP_POLL_S = 0.0002
_MP_STATES: dict[MpState, int] = {state: getattr(lib, f"EMU_MP_{state.name}") for state in MpState}
_MP_NAMES = {number: state for state, number in _MP_STATES.items()}


class EmuVcpu(Running, StateAccess):
    """A struct emu_cpu.

    It is freed when nobody knows it any more, closed or not: a thread may hold `enter`, or be on
    its way to any call, when the processor is closed.
    """

    def __init__(self, vm: Any, index: int, table: CpuidTable, irqchip: str) -> None:
        native = lib.emu_cpu_create(vm, index)
        if not native:
            raise out_of_memory("a processor")
        native, self._keeper = owned(native, lib.emu_cpu_destroy)
        super().__init__(native)
        self.index = index
        self._vm = vm
        self._irqchip = irqchip
        self._lock = threading.RLock()  # a signal handler may stop it
        self.raw = lib.emu_cpu_exit(native)
        self.entry = (lib.pykvm_emu_run, native)
        self._set_cpuid(table)

    def set_cpuid(self, entries: Sequence[CpuidEntry]) -> None:
        """Make CPUID answer from these, and the processor have what they offer and no more."""
        self._set_cpuid(cpuid.table(entries))

    def _set_cpuid(self, table: CpuidTable) -> None:
        check(lib.emu_cpu_set_cpuid(self.native, table.raw, len(table.entries)), "a CPUID table")
        self._table = table

    def get_cpuid(self) -> tuple[CpuidEntry, ...]:
        """What CPUID tells the guest."""
        return self._table.entries

    def exit(self, key: int) -> Exit:
        """The last exit as a value.

        Raises:
            UsageError: another thread is inside.
            ClosedError: the processor is closed.
        """
        self.native  # noqa: B018  raises where it is closed
        if key & exitkeys.KIND_MASK == exitkeys.ERROR:
            if key >> exitkeys.PORT_SHIFT == errno.EBADF:
                raise ClosedError("vCPU")
            raise UsageError("another thread runs this processor")
        return exitkeys.exit_value(key, self.raw)

    def complete(self) -> int:
        """Finish the last exit's instruction."""
        return int(lib.emu_cpu_complete(self.native))

    def abandon(self) -> None:
        """Let nothing of the last exit's instruction come later: another state follows."""
        lib.emu_cpu_abandon(self.native)

    def pass_over(self, kind: int) -> int:
        """Run on through exits of one kind, in native code; the key of the first other one."""
        return int(lib.pykvm_emu_pass(self.native, kind))

    def begin(self, timeout_ns: int | None) -> None:
        """Bound the runs that follow."""
        deadline_ns = 0 if timeout_ns is None else time.monotonic_ns() + timeout_ns
        lib.emu_cpu_begin(self.native, deadline_ns)

    def end(self) -> None:
        """Lift the bound."""
        lib.emu_cpu_end(self._native)

    def stop(self) -> None:
        """Interrupt from any thread; nothing happens once the processor is closed."""
        with self._lock:
            if not self.closed:
                lib.emu_cpu_stop(self._native)

    def _count(self, kind: int) -> int:
        return int(lib.emu_cpu_count(self.native, kind))

    @property
    def native_count(self) -> int:
        """How many of those exits were answered without Python."""
        return int(lib.emu_cpu_native_count(self.native))

    @property
    def retired(self) -> int:
        """Instructions executed so far."""
        return int(lib.emu_cpu_retired(self.native))

    def share_registers(self, on: bool) -> None:
        """Registers cost no system call here: nothing to prepare."""

    def get_mp_state(self) -> MpState:
        """Whether the processor runs, waits to be started, or halts."""
        return _MP_NAMES[lib.emu_cpu_get_mp_state(self.native)]

    def set_mp_state(self, state: MpState) -> None:
        """Let the processor run, wait or halt; needs an irqchip."""
        if self._irqchip == "none" and state is not MpState.RUNNABLE:
            raise UsageError("a processor waits or halts only where there is an irqchip")
        lib.emu_cpu_set_mp_state(self.native, _MP_STATES[state])

    def get_lapic(self) -> bytes:
        """The local APIC's register page, with an irqchip."""
        raw = ffi.new("uint8_t[]", lib.EMU_LAPIC_STATE_BYTES)
        if lib.emu_cpu_get_lapic(self.native, raw):
            raise UsageError("this machine has no local APICs")
        return bytes(ffi.buffer(raw))

    def set_lapic(self, page: bytes) -> None:
        """Set the local APIC's register page."""
        if len(page) != lib.EMU_LAPIC_STATE_BYTES:
            raise UsageError(
                f"a local APIC's state has {lib.EMU_LAPIC_STATE_BYTES} bytes, not {len(page)}"
            )
        if lib.emu_cpu_set_lapic(self.native, page):
            raise UsageError("this machine has no local APICs, or they cannot be so")

    def interrupt(self, vector: int) -> None:
        """Inject an external interrupt, which the guest takes once it can.

        Raises:
            UsageError: one waits already, or chips do this.
        """
        if self._irqchip == "full":
            raise UsageError("the machine has an interrupt controller: drive its lines")
        if lib.emu_cpu_interrupt(self.native, vector):
            raise UsageError("an interrupt waits for this processor already")

    def nmi(self) -> None:
        """Inject a non-maskable interrupt."""
        lib.emu_cpu_nmi(self.native)

    @property
    def ready_for_interrupt(self) -> bool:
        """Whether `interrupt` would be taken at once."""
        return bool(lib.emu_cpu_ready_for_interrupt(self.native))

    def request_interrupt_window(self, wanted: bool = True) -> None:
        """Let a run end with an IrqWindow exit as soon as the guest can take an interrupt."""
        lib.emu_cpu_want_window(self.native, wanted and self._irqchip != "full")

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
            hardware: addresses that the processor watches, MAX_HARDWARE at most. The
                guest's own debug registers do not work meanwhile. A run that starts at a
                breakpoint stops there at once: step past it without the breakpoint first.
        """
        what = (
            (single_step and lib.EMU_DEBUG_STEP)
            | (software and lib.EMU_DEBUG_SOFTWARE)
            | (bool(hardware) and lib.EMU_DEBUG_HARDWARE)
        )
        lib.emu_cpu_set_debug(self.native, what, debug_registers(hardware))

    def get_tsc_khz(self) -> int:
        """Frequency of the guest's time stamp counter."""
        self.native  # noqa: B018  raises where it is closed
        return int(lib.emu_vm_tsc_khz(self._vm))

    def set_tsc_khz(self, khz: int) -> None:
        """Let all processors' time stamp counters run at this frequency, from where they are."""
        self.native  # noqa: B018  raises where it is closed
        if not 0 < khz < 1 << 32:
            raise UsageError(f"a time stamp counter runs at 1 kHz at least, not {khz}")
        lib.emu_vm_set_tsc_khz(self._vm, khz)

    def close(self) -> None:
        """Give it back; a run under way is stopped first."""
        with self._lock:
            if self.closed:
                return
            while not lib.emu_cpu_close(self._native):
                lib.emu_cpu_stop(self._native)
                time.sleep(_STOP_POLL_S)
            self.closed = True
