"""A vCPU's general, segment, control and model-specific registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend.kvm import cpuid, msrs
from pykvm.backend.kvm.handle import Handle
from pykvm.backend.kvm.packed import Packed
from pykvm.backend.kvm.system import SHARED
from pykvm.cpumodel import CpuidEntry
from pykvm.registers import (
    CONTROL,
    GENERAL,
    SEGMENTS,
    TABLES,
    Registers,
    Segment,
    SpecialRegisters,
    Table,
)

# The declared tables and <linux/kvm.h> use the same names.
_SEGMENT_FIELDS = tuple(each.name for each in fields(Segment))
_TABLE_FIELDS = tuple(each.name for each in fields(Table))
_GENERAL = Packed("struct kvm_regs", GENERAL)
_SPECIAL = Packed(
    "struct kvm_sregs",
    [
        *(f"{name}.{each}" for name in SEGMENTS for each in _SEGMENT_FIELDS),
        *(f"{name}.{each}" for name in TABLES for each in _TABLE_FIELDS),
        *CONTROL,
    ],
)
_SEGMENT_STARTS = range(0, len(SEGMENTS) * len(_SEGMENT_FIELDS), len(_SEGMENT_FIELDS))
_TABLE_STARTS = range(_SEGMENT_STARTS.stop, _SEGMENT_STARTS.stop + 2 * len(TABLES), 2)


class RegisterAccess(Handle):
    """The part of a vCPU that reads and writes registers."""

    native: Any
    _shares = False
    _changed_at = 0

    def share_registers(self, on: bool) -> None:
        """Have KVM copy registers out at each exit, so that reading them costs no call.

        Reads then tell the registers of the last exit even while another thread runs the
        vCPU. Without KVM_CAP_SYNC_REGS nothing changes.

        Source: api.rst §6.74.
        """
        self.check_open()
        self._shares = on and self.system.shares_registers
        self.native.run.kvm_valid_regs = SHARED if self._shares else 0
        self._changed_at = self.native.runs

    def call(self, request: str, argument: Any = None) -> int:
        """One ioctl, see `Handle.call`; one that sets something makes the copy stale."""
        self.check_open()
        if self.native.run.kvm_dirty_regs:
            self._unstage()
        if not request.startswith("KVM_GET_"):
            self._changed_at = self.native.runs
        return super().call(request, argument)

    def _unstage(self) -> None:
        run = self.native.run
        run.kvm_dirty_regs = 0
        super().call("KVM_SET_SREGS", lib.pykvm_shared_sregs(run))
        super().call("KVM_SET_REGS", lib.pykvm_shared_regs(run))

    @property
    def _has_copy(self) -> bool:
        """Whether the run page holds the registers of now."""
        self.check_open()
        native = self.native
        return bool(native.run.kvm_dirty_regs) or (self._shares and native.runs != self._changed_at)

    def get_registers(self) -> Registers:
        """General registers. Source: api.rst §4.11."""
        if self.native.held:
            self.check_open()
            return Registers(*_GENERAL.unpack(ffi.addressof(self.native, "held_regs")))
        if self._has_copy:
            return Registers(*_GENERAL.unpack(lib.pykvm_shared_regs(self.native.run)))
        raw = _GENERAL.new()
        self.call("KVM_GET_REGS", raw)
        return Registers(*_GENERAL.unpack(raw))

    def abandon(self) -> None:
        """Let nothing of the last exit's instruction come later: another state follows."""
        self.check_open()
        if self.native.pending:
            lib.pykvm_vcpu_abandon(self.native)

    def set_registers(self, registers: Registers) -> None:
        """Set all general registers. An exit's answer is still delivered where rip stays.

        KVM's way to do so loses the answer, and with another rip its own comes later: what is
        set then waits for the instruction's end, and what moves rip gives it up.

        Source: api.rst §4.12; §5, KVM_EXIT_IO.
        """
        if self.native.pending == lib.PYKVM_PENDING_READ:
            if registers.rip == self.get_registers().rip:
                self._hold(_GENERAL.pack(registers))
                return
            self.abandon()
        self.call("KVM_SET_REGS", _GENERAL.pack(registers))

    def _hold(self, raw: Any) -> None:
        self.check_open()
        if lib.pykvm_vcpu_hold(self.native, raw) < 0:
            raise self.failure("KVM_GET_REGS", ffi.errno)

    def get_special(self) -> SpecialRegisters:
        """Segment, table and control registers. Source: api.rst §4.13."""
        if self._has_copy:
            return _special(_SPECIAL.unpack(lib.pykvm_shared_sregs(self.native.run)))
        raw = _SPECIAL.new()
        self.call("KVM_GET_SREGS", raw)
        return _special(_SPECIAL.unpack(raw))

    def set_special(self, special: SpecialRegisters) -> None:
        """Set segment, table and control registers. Source: api.rst §4.14.

        The interrupt bitmap is left empty: KVM only adds what is in it, so that an
        interrupt which is pending stays.
        """
        self.call("KVM_SET_SREGS", _SPECIAL.pack(special))

    def reset(self, special: SpecialRegisters, rip: int, rsp: int, rflags: int) -> None:
        """Set all of them, with the next run where KVM can: a call on a vCPU is not cheap.

        `special` never changes, and is packed once. Source: api.rst §6.74.
        """
        self.abandon()
        if not self.system.shares_registers:
            self.set_special(special)
            self.set_registers(Registers(rip=rip, rsp=rsp, rflags=rflags))
            return
        native = self.native
        self._changed_at = native.runs
        lib.pykvm_stage(native.run, _SPECIAL.pack_constant(special), rip, rsp, rflags)

    def set_cpuid(self, entries: Sequence[CpuidEntry]) -> None:
        """Make CPUID answer from these; before the first run. Source: api.rst, KVM_SET_CPUID2."""
        self.call("KVM_SET_CPUID2", cpuid.raw(entries))

    def get_cpuid(self) -> tuple[CpuidEntry, ...]:
        """What CPUID tells the guest, whatever was asked for. Source: api.rst, KVM_GET_CPUID2."""
        return cpuid.read(self.call)

    def msr_indices(self) -> tuple[int, ...]:
        """The MSRs that a processor's state consists of. Source: api.rst §4.3."""
        return self.system.msr_indices()

    def get_msrs(self, indices: Sequence[int]) -> dict[int, int]:
        """Model-specific registers by index; those that KVM does not know are left out."""
        return msrs.read(self.call, indices)

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """Set model-specific registers.

        Raises:
            KvmError: KVM refused one of them, which it names.
        """
        msrs.write(self.call, values)


def _special(values: Sequence[int]) -> SpecialRegisters:
    width = len(_SEGMENT_FIELDS)
    parts: list[Any] = [Segment(*values[start : start + width]) for start in _SEGMENT_STARTS]
    parts += [Table(*values[start : start + 2]) for start in _TABLE_STARTS]
    return SpecialRegisters(*parts, *values[_TABLE_STARTS.stop :])
