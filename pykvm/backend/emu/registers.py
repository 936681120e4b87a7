"""An emulated processor's general, segment, control and model-specific registers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend.common import Checked
from pykvm.errors import ClosedError, RegisterError
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

_MASK = (1 << 64) - 1
_MAX_MSRS = 128
# struct emu_state begins with the general registers, in the encoding's order.
_ENCODED = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
]  # fmt: skip
_GENERAL = struct.Struct(f"<{len(GENERAL)}Q")
_OUT = [_ENCODED.index(name) for name in GENERAL]
_IN = [GENERAL.index(name) for name in _ENCODED]
_SEGMENT = struct.Struct("<QIH9B")
_SEGMENTS_OFFSET = ffi.offsetof("struct emu_state", "segment")
_SEGMENT_SIZE = ffi.sizeof("struct emu_segment")
_SEGMENT_INDEX = {
    "es": lib.EMU_ES, "cs": lib.EMU_CS, "ss": lib.EMU_SS, "ds": lib.EMU_DS, "fs": lib.EMU_FS,
    "gs": lib.EMU_GS, "ldt": lib.EMU_LDTR, "tr": lib.EMU_TR,
}  # fmt: skip
_SEGMENT_AT = {
    name: _SEGMENTS_OFFSET + index * _SEGMENT_SIZE for name, index in _SEGMENT_INDEX.items()
}
_SEGMENT_FIELDS = (
    "base", "limit", "selector", "type", "present", "dpl", "db", "s", "l", "g", "avl", "unusable",
)  # fmt: skip
_SEGMENT_BITS = (64, 32, 16, *[8] * 9)


class RegisterAccess(Checked):
    """The part of a processor that reads and writes registers.

    Attributes:
        closed: whether it has been given back.
    """

    def __init__(self, native: Any) -> None:
        self._native = native
        self.closed = False

    @property
    def native(self) -> Any:
        """The struct emu_cpu.

        Raises:
            ClosedError: it has been given back.
        """
        if self.closed:
            raise ClosedError("vCPU")
        return self._native

    def get_state(self) -> Any:
        """A copy of all state but MSRs: a struct emu_state."""
        state = ffi.new("struct emu_state *")
        lib.emu_cpu_get_state(self.native, state)
        return state

    def set_state(self, state: Any) -> None:
        """Go on from that state.

        Raises:
            RegisterError: long mode's switches contradict each other.
        """
        if lib.emu_cpu_set_state(self.native, state):
            raise RegisterError("efer", "LMA needs paging with PAE (CR0.PG, CR4.PAE)")

    def get_registers(self) -> Registers:
        """General registers."""
        values = _GENERAL.unpack_from(ffi.buffer(self.get_state()))
        return Registers(*[values[position] for position in _OUT])

    def set_registers(self, registers: Registers) -> None:
        """Set all general registers. An exit's answer is still delivered where rip stays."""
        values = [getattr(registers, name) for name in _ENCODED]
        raw = ffi.new("uint64_t[]", len(values))
        try:
            _GENERAL.pack_into(ffi.buffer(raw), 0, *values)
        except struct.error:
            raise _misfit((*each, 64) for each in zip(_ENCODED, values, strict=True)) from None
        lib.emu_cpu_set_registers(self.native, raw)

    def reset(self, special: SpecialRegisters, rip: int, rsp: int, rflags: int) -> None:
        """Set all of them."""
        lib.emu_cpu_abandon(self.native)
        self.set_special(special)
        self.set_registers(Registers(rip=rip, rsp=rsp, rflags=rflags))

    def get_special(self) -> SpecialRegisters:
        """Segment, table and control registers."""
        state = self.get_state()
        area = ffi.buffer(state)
        parts: list[Any] = [
            Segment(*_SEGMENT.unpack_from(area, _SEGMENT_AT[name])) for name in SEGMENTS
        ]
        for name in TABLES:
            table = getattr(state, name)
            parts.append(Table(table.base, table.limit))
        return SpecialRegisters(*parts, *(getattr(state, name) for name in CONTROL))

    def set_special(self, special: SpecialRegisters) -> None:
        """Set segment, table and control registers.

        Raises:
            RegisterError: a value that does not fit, or contradicts another.
        """
        state = self.get_state()
        area = ffi.buffer(state)
        for name in SEGMENTS:
            segment = getattr(special, name)
            values = [getattr(segment, field) for field in _SEGMENT_FIELDS]
            try:
                _SEGMENT.pack_into(area, _SEGMENT_AT[name], *values)
            except struct.error:
                names = (f"{name}.{field}" for field in _SEGMENT_FIELDS)
                raise _misfit(zip(names, values, _SEGMENT_BITS, strict=True)) from None
        try:
            for name in TABLES:
                table = getattr(special, name)
                target = getattr(state, name)
                target.base, target.limit = table.base, table.limit
            for name in CONTROL:
                setattr(state, name, getattr(special, name))
        except (OverflowError, TypeError):
            raise RegisterError(name, f"{getattr(special, name)!r} does not fit") from None
        self.set_state(state)

    def msr_indices(self) -> tuple[int, ...]:
        """The MSRs that a processor's state consists of, those first that others depend on."""
        raw = ffi.new("uint32_t[]", _MAX_MSRS)
        return tuple(raw[0 : lib.emu_msr_indices(raw, _MAX_MSRS)])

    def get_msrs(self, indices: Sequence[int]) -> dict[int, int]:
        """Model-specific registers by index; those that the emulator lacks are left out."""
        value = ffi.new("uint64_t *")
        native = self.native
        return {
            index: value[0] for index in indices if lib.emu_cpu_get_msr(native, index, value) == 0
        }

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """Set model-specific registers.

        Raises:
            RegisterError: the emulator lacks one of them, or it cannot hold the value.
        """
        for index, value in values.items():
            if lib.emu_cpu_set_msr(self.native, index, value & _MASK):
                raise RegisterError(f"MSR {index:#x}", f"cannot be set to {value:#x}")


def _misfit(values: Iterable[tuple[str, object, int]]) -> RegisterError:
    return next(
        RegisterError(name, f"{value!r} does not fit in {bits} bits")
        for name, value, bits in values
        if not isinstance(value, int) or not 0 <= value < 1 << bits
    )
