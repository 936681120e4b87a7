"""MSR accesses that come out as exits, instead of KVM answering them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

from pykvm._native import ffi, lib
from pykvm.backend.kvm.handle import Handle
from pykvm.errors import UsageError


class MsrExitReason(IntFlag):
    """Why an access exits."""

    INVALID = lib.KVM_MSR_EXIT_REASON_INVAL  # KVM would raise #GP for the value
    UNKNOWN = lib.KVM_MSR_EXIT_REASON_UNKNOWN  # KVM does not know the MSR
    FILTER = lib.KVM_MSR_EXIT_REASON_FILTER  # a trap matches


@dataclass(frozen=True, slots=True)
class MsrTrap:
    """MSRs whose reads or writes KVM leaves alone.

    Attributes:
        indices: consecutive MSRs, `range(first, last + 1)`.
        reads, writes: which accesses.
    """

    indices: range
    reads: bool = True
    writes: bool = True


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
        if len(traps) > lib.KVM_MSR_FILTER_MAX_RANGES:
            raise UsageError(f"KVM takes {lib.KVM_MSR_FILTER_MAX_RANGES} traps, not {len(traps)}")
        raw = ffi.new("struct kvm_msr_filter *")
        bitmaps = []  # kept until the call is made
        for position, trap in enumerate(traps):
            bitmap = _nothing_allowed(trap.indices)
            bitmaps.append(bitmap)
            raw.ranges[position].base = trap.indices.start
            raw.ranges[position].nmsrs = len(trap.indices)
            raw.ranges[position].bitmap = bitmap
            raw.ranges[position].flags = (trap.reads and lib.KVM_MSR_FILTER_READ) | (
                trap.writes and lib.KVM_MSR_FILTER_WRITE
            )
        self.call("KVM_X86_SET_MSR_FILTER", raw)


def _nothing_allowed(indices: range) -> object:
    most = lib.KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8
    if indices.step != 1 or not 0 < len(indices) <= most:
        raise UsageError(f"a trap covers 1 to {most} consecutive MSRs, not {indices}")
    return ffi.new("uint8_t[]", -(-len(indices) // 8))
