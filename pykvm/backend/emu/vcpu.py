"""One emulated processor: running it."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend import kinds
from pykvm.backend.emu.calls import out_of_memory
from pykvm.backend.emu.state import StateAccess
from pykvm.errors import ClosedError, UsageError
from pykvm.exits import Exit
from pykvm.state import MpState

_STOP_POLL_S = 0.0002
_MP_STATES: dict[MpState, int] = {state: getattr(lib, f"EMU_MP_{state.name}") for state in MpState}
_MP_NAMES = {number: state for state, number in _MP_STATES.items()}


class EmuVcpu(StateAccess):
    """A struct emu_cpu.

    It is freed when nobody knows it any more: a thread may hold `enter` when the
    processor is closed, and gets an error then.
    """

    def __init__(self, vm: Any, index: int) -> None:
        native = lib.emu_cpu_create(vm, index)
        if not native:
            raise out_of_memory("a processor")
        native = ffi.gc(native, lib.emu_cpu_destroy)
        super().__init__(native)
        self.index = index
        self._lock = threading.Lock()
        self.raw: Any = lib.emu_cpu_exit(native)
        self.entry: tuple[Callable[[Any], int], Any] = (lib.pykvm_emu_run, native)

    def enter(self) -> int:
        """Run to the next exit; its key."""
        run, native = self.entry
        return run(native)

    def set_cpuid(self, entries: Any, count: int) -> None:
        """Make CPUID answer from a table of struct emu_cpuid."""
        if lib.emu_cpu_set_cpuid(self.native, entries, count):
            raise out_of_memory("a CPUID table")

    def exit(self, key: int) -> Exit:
        """The last exit as a value.

        Raises:
            UsageError: another thread is inside.
            ClosedError: the processor is closed.
        """
        self.native  # noqa: B018  raises where it is closed
        if key & kinds.KIND_MASK == kinds.ERROR:
            if key >> kinds.PORT_SHIFT == errno.EBADF:
                raise ClosedError("vCPU")
            raise UsageError("another thread runs this processor")
        return kinds.exit_value(key, self.raw)

    def answer(self, exit: Exit, value: int | bytes, *, fault: bool = False) -> None:
        """Answer a read exit; delivered at the next entry."""
        kinds.answer(self.raw, exit, value, fault)

    def answered(self, exit: Exit) -> int | bytes | None:
        """What the exit has been answered with."""
        return kinds.answered(self.raw, exit)

    def complete(self) -> int:
        """Finish the last exit's instruction."""
        return int(lib.emu_cpu_complete(self.native))

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

    def exit_counts(self) -> Mapping[str, int]:
        """Exits by name."""
        counts: dict[str, int] = {}
        native = self.native
        for kind, name in kinds.NAMES.items():
            if count := lib.emu_cpu_count(native, kind):
                counts[name] = counts.get(name, 0) + count
        return counts

    @property
    def native_count(self) -> int:
        """How many of those exits were answered without Python."""
        return int(lib.emu_cpu_native_count(self.native))

    @property
    def assisted(self) -> tuple[int, int]:
        """Nobody helps this one."""
        return 0, 0

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
            UsageError: one waits already.
        """
        if lib.emu_cpu_interrupt(self.native, vector):
            raise UsageError("an interrupt waits for this processor already")

    def nmi(self) -> None:
        """Inject a non-maskable interrupt."""
        lib.emu_cpu_nmi(self.native)

    def close(self) -> None:
        """Give it back; a run under way is stopped first."""
        with self._lock:
            if self.closed:
                return
            while not lib.emu_cpu_close(self._native):
                lib.emu_cpu_stop(self._native)
                time.sleep(_STOP_POLL_S)
            self.closed = True
