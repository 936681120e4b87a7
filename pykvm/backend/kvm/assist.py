"""A vCPU that has instructions which KVM refuses executed in the emulator.

docs/kvm.md, "Assist"; the work is done in native/assist/.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pykvm import host
from pykvm._native import ffi, lib
from pykvm.backend import exitkeys
from pykvm.backend.kvm.system import System
from pykvm.backend.kvm.vcpu import KvmVcpu
from pykvm.backend.types import HardwareBreakpoint
from pykvm.registers import Registers, SpecialRegisters

_STOP_POLL_S = 0.0002


class AssistedVcpu(KvmVcpu):
    """The same vCPU, whose state is in the emulator at times.

    Whatever asks KVM for it has it written back first; what changes it there is taken over.
    """

    def __init__(
        self, system: System, index: int, memory: Any, interrupts: bool, one_only: bool
    ) -> None:
        super().__init__(system, index)
        self._assist: Any = ffi.new("struct pykvm_assist *")
        self._memory = memory  # the native struct points to it
        lib.pykvm_assist_init(
            self._assist, self.native, memory, system.xsave_bytes,
            interrupts, one_only, host.emulates_cpl0(),
        )  # fmt: skip
        self.entry = (lib.pykvm_assist_run, self._assist)

    def allow_assist(self, on: bool) -> None:
        """Whether refused instructions are executed in the emulator from now on."""
        lib.pykvm_assist_enable(self._assist, on)

    def follow_layout(self) -> None:
        """Memory slots have changed: the emulator uses none of the old ones once this returns."""
        lib.pykvm_assist_follow(self._assist)

    def call(self, request: str, argument: Any = None) -> int:
        """One ioctl, on the state of now."""
        if self._assist.inside:
            self._sync(changes=not request.startswith("KVM_GET_"))
        return super().call(request, argument)

    def reset(self, special: SpecialRegisters, rip: int, rsp: int, rflags: int) -> None:
        """Set special and general registers."""
        if self._assist.inside:  # the emulator takes over what KVM has, not what is staged
            self.abandon()
            self.set_special(special)
            self.set_registers(Registers(rip=rip, rsp=rsp, rflags=rflags))
        else:
            super().reset(special, rip, rsp, rflags)

    def _sync(self, *, changes: bool) -> None:
        if error := lib.pykvm_assist_sync(self._assist, changes):
            raise self.failure("moving state from the emulator", -error)

    @property
    def _has_copy(self) -> bool:
        return not self._assist.inside and super()._has_copy

    def complete(self) -> int:
        """Finish the last exit's instruction."""
        self._open()
        key = int(lib.pykvm_assist_complete(self._assist))
        self._changed_at = self.native.runs
        return key

    def abandon(self) -> None:
        """Let nothing of the last exit's instruction come later: another state follows."""
        self.check_open()
        if self._assist.inside or self.native.pending:
            lib.pykvm_assist_abandon(self._assist)

    def begin(self, timeout_ns: int | None) -> None:
        """Start the tick that bounds this thread's runs."""
        super().begin(timeout_ns)
        lib.pykvm_assist_begin(self._assist)

    def end(self) -> None:
        """Stop the tick."""
        super().end()
        lib.pykvm_assist_end(self._assist)

    def stop(self) -> None:
        """Interrupt from any thread."""
        super().stop()
        lib.pykvm_assist_stop(self._assist)

    def exit_counts(self) -> Mapping[str, int]:
        """Exits by name, those from the emulator among them."""
        counts = Counter(super().exit_counts())
        for kind, name in exitkeys.NAMES.items():
            counts[name] += lib.pykvm_assist_count(self._assist, kind)
        return +counts

    @property
    def native_count(self) -> int:
        """How many of those exits were answered without Python."""
        return super().native_count + int(lib.pykvm_assist_native_count(self._assist))

    @property
    def assisted(self) -> tuple[int, int]:
        """How often the emulator helped, and with how many instructions in all."""
        return int(self._assist.entries), int(self._assist.instructions)

    def set_guest_debug(
        self,
        *,
        single_step: bool = False,
        software: bool = False,
        hardware: Sequence[HardwareBreakpoint] = (),
    ) -> None:
        """Choose what ends a run with a Debug exit; the emulator does not help meanwhile."""
        super().set_guest_debug(single_step=single_step, software=software, hardware=hardware)
        self.allow_assist(not (single_step or software or hardware))

    def close(self) -> None:
        """Give everything back; a run under way is stopped first."""
        with self._lock:
            if self.closed:
                return
            while not lib.pykvm_assist_close(self._assist):
                lib.pykvm_vcpu_stop(self.native)
                lib.pykvm_assist_stop(self._assist)
                time.sleep(_STOP_POLL_S)
            self.closed = True
