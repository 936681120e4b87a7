"""MSR accesses that come out as exits, instead of KVM answering them."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm._native import ffi, lib
from pykvm.backend.common import check_traps
from pykvm.backend.kvm.handle import Handle
from pykvm.backend.types import MsrExitReason, MsrTrap


class MsrExits(Handle):
    """The part of a VM that chooses which MSR accesses exit as MsrRead and MsrWrite."""

    def enable_msr_exits(
        self, reasons: MsrExitReason = MsrExitReason.UNKNOWN | MsrExitReason.INVALID
    ) -> None:
        """Let accesses of these kinds exit, where KVM would otherwise raise #GP by itself.

        Raises:
            MissingCapability: KVM_CAP_X86_USER_SPACE_MSR.

        Source: api.rst §7.21.
        """
        self.enable("KVM_CAP_X86_USER_SPACE_MSR", reasons)

    def trap_msrs(self, traps: Sequence[MsrTrap]) -> None:
        """Let accesses to these MSRs exit; replaces the traps set before.

        The x2APIC's MSRs (0x800 to 0x8FF) cannot be trapped. The exits come where
        `enable_msr_exits` includes FILTER; otherwise the guest takes #GP.

        Raises:
            MissingCapability: KVM_CAP_X86_MSR_FILTER.
            UsageError: too many traps, or one of too many MSRs.

        Source: api.rst §4.97.
        """
        self.system.require("KVM_CAP_X86_MSR_FILTER")
        check_traps(traps)
        raw = ffi.new("struct kvm_msr_filter *")
        bitmaps = []  # kept until the call is made
        for position, trap in enumerate(traps):
            bitmap = ffi.new("uint8_t[]", -(-len(trap.indices) // 8))  # nothing is allowed
            bitmaps.append(bitmap)
            raw.ranges[position].base = trap.indices.start
            raw.ranges[position].nmsrs = len(trap.indices)
            raw.ranges[position].bitmap = bitmap
            raw.ranges[position].flags = (trap.reads and lib.KVM_MSR_FILTER_READ) | (
                trap.writes and lib.KVM_MSR_FILTER_WRITE
            )
        self.call("KVM_X86_SET_MSR_FILTER", raw)
