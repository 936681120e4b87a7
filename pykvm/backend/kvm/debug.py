"""Guest debugging: single steps and breakpoints that come out as Debug exits."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm._native import ffi, lib
from pykvm.backend.common import debug_registers
from pykvm.backend.kvm.handle import Handle
from pykvm.backend.types import HardwareBreakpoint


class GuestDebug(Handle):
    """The part of a vCPU that debugs the guest."""

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

        Raises:
            MissingCapability: KVM_CAP_SET_GUEST_DEBUG.

        Source: api.rst §4.87.
        """
        self.system.require("KVM_CAP_SET_GUEST_DEBUG")
        raw = ffi.new("struct kvm_guest_debug *")
        raw.control = _control(single_step, software, bool(hardware))
        raw.arch.debugreg = debug_registers(hardware)
        self.call("KVM_SET_GUEST_DEBUG", raw)


def _control(single_step: bool, software: bool, hardware: bool) -> int:
    control = 0
    if single_step:
        control |= lib.KVM_GUESTDBG_SINGLESTEP
    if software:
        control |= lib.KVM_GUESTDBG_USE_SW_BP
    if hardware:
        control |= lib.KVM_GUESTDBG_USE_HW_BP
    return control | (lib.KVM_GUESTDBG_ENABLE if control else 0)
