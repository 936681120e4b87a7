"""Guest debugging: single steps and breakpoints that come out as Debug exits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pykvm._native import ffi, lib
from pykvm.backend.kvm.handle import Handle
from pykvm.errors import UsageError

MAX_HARDWARE = 4

# DR7, Intel SDM vol. 3B §17.2.4: global enable, condition and length of each address.
_DR7_FIXED = 1 << 10
_DR7_CONDITIONS = {"execute": 0, "write": 1, "access": 3}
_DR7_LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}


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
        if self.condition not in _DR7_CONDITIONS:
            raise UsageError(
                f"a breakpoint's condition is one of {', '.join(_DR7_CONDITIONS)}, "
                f"not {self.condition!r}"
            )
        if self.size_bytes not in _DR7_LENGTHS or self.gva % self.size_bytes:
            raise UsageError(
                f"a breakpoint watches 1, 2, 4 or 8 aligned bytes, "
                f"not {self.size_bytes} at {self.gva:#x}"
            )
        if self.condition == "execute" and self.size_bytes != 1:
            raise UsageError("a breakpoint on execution has a size of 1")


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
        raw.arch.debugreg[7] = _dr7(hardware)
        for number, breakpoint in enumerate(hardware):
            raw.arch.debugreg[number] = breakpoint.gva
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


def _dr7(hardware: Sequence[HardwareBreakpoint]) -> int:
    if len(hardware) > MAX_HARDWARE:
        raise UsageError(f"there are {MAX_HARDWARE} hardware breakpoints, not {len(hardware)}")
    dr7 = _DR7_FIXED
    for number, breakpoint in enumerate(hardware):
        condition, length = (
            _DR7_CONDITIONS[breakpoint.condition],
            _DR7_LENGTHS[breakpoint.size_bytes],
        )
        dr7 |= 2 << 2 * number | condition << 16 + 4 * number | length << 18 + 4 * number
    return dr7
