"""A vCPU's general, segment, control and model-specific registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pykvm._native import ffi
from pykvm.backend.kvm import msrs
from pykvm.backend.kvm.handle import Handle
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


class RegisterAccess(Handle):
    """The part of a vCPU that reads and writes registers."""

    def get_registers(self) -> Registers:
        """General registers. Source: api.rst §4.11."""
        raw = ffi.new("struct kvm_regs *")
        self.call("KVM_GET_REGS", raw)
        return Registers(*[getattr(raw, name) for name in GENERAL])

    def set_registers(self, registers: Registers) -> None:
        """Set all general registers. Source: api.rst §4.12."""
        raw = ffi.new("struct kvm_regs *", {name: getattr(registers, name) for name in GENERAL})
        self.call("KVM_SET_REGS", raw)

    def get_special(self) -> SpecialRegisters:
        """Segment, table and control registers. Source: api.rst §4.13."""
        raw = ffi.new("struct kvm_sregs *")
        self.call("KVM_GET_SREGS", raw)
        values: dict[str, Any] = {name: _segment(getattr(raw, name)) for name in SEGMENTS}
        values |= {name: _table(getattr(raw, name)) for name in TABLES}
        values |= {name: getattr(raw, name) for name in CONTROL}
        return SpecialRegisters(**values)

    def set_special(self, special: SpecialRegisters) -> None:
        """Set segment, table and control registers; a pending interrupt stays. §4.14."""
        raw = ffi.new("struct kvm_sregs *")
        self.call("KVM_GET_SREGS", raw)  # for interrupt_bitmap
        for name in SEGMENTS:
            source, target = getattr(special, name), getattr(raw, name)
            for each in _SEGMENT_FIELDS:
                setattr(target, each, getattr(source, each))
        for name in TABLES:
            source, target = getattr(special, name), getattr(raw, name)
            target.base, target.limit = source.base, source.limit
        for name in CONTROL:
            setattr(raw, name, getattr(special, name))
        self.call("KVM_SET_SREGS", raw)

    def get_msrs(self, indices: Sequence[int]) -> dict[int, int]:
        """Model-specific registers by index; those that KVM does not know are left out."""
        return msrs.read(self.open_fd(), indices)

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """Set model-specific registers.

        Raises:
            KvmError: KVM refused one of them, which it names.
        """
        msrs.write(self.open_fd(), values)


def _segment(raw: Any) -> Segment:
    return Segment(*[getattr(raw, name) for name in _SEGMENT_FIELDS])


def _table(raw: Any) -> Table:
    return Table(raw.base, raw.limit)
