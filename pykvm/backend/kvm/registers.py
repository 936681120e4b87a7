"""A vCPU's general, segment, control and model-specific registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pykvm.backend.kvm import cpuid, msrs
from pykvm.backend.kvm.handle import Handle
from pykvm.backend.kvm.packed import Packed
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

    def get_registers(self) -> Registers:
        """General registers. Source: api.rst §4.11."""
        raw = _GENERAL.new()
        self.call("KVM_GET_REGS", raw)
        return Registers(*_GENERAL.unpack(raw))

    def set_registers(self, registers: Registers) -> None:
        """Set all general registers. Source: api.rst §4.12."""
        self.call("KVM_SET_REGS", _GENERAL.pack(registers))

    def get_special(self) -> SpecialRegisters:
        """Segment, table and control registers. Source: api.rst §4.13."""
        raw = _SPECIAL.new()
        self.call("KVM_GET_SREGS", raw)
        values = _SPECIAL.unpack(raw)
        width = len(_SEGMENT_FIELDS)
        parts: list[Any] = [Segment(*values[start : start + width]) for start in _SEGMENT_STARTS]
        parts += [Table(*values[start : start + 2]) for start in _TABLE_STARTS]
        return SpecialRegisters(*parts, *values[_TABLE_STARTS.stop :])

    def set_special(self, special: SpecialRegisters) -> None:
        """Set segment, table and control registers. Source: api.rst §4.14.

        The interrupt bitmap is left empty: KVM only adds what is in it, so that an
        interrupt which is pending stays.
        """
        self.call("KVM_SET_SREGS", _SPECIAL.pack(special))

    def get_cpuid(self) -> tuple[CpuidEntry, ...]:
        """What CPUID tells the guest, whatever was asked for. Source: api.rst, KVM_GET_CPUID2."""
        return cpuid.read(self.open_fd())

    def get_msrs(self, indices: Sequence[int]) -> dict[int, int]:
        """Model-specific registers by index; those that KVM does not know are left out."""
        return msrs.read(self.open_fd(), indices)

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """Set model-specific registers.

        Raises:
            KvmError: KVM refused one of them, which it names.
        """
        msrs.write(self.open_fd(), values)
