"""C structs as tuples of numbers, by the layout that the compiler found.

Reading a hundred fields one by one costs more than the system call that fills them;
`struct` does it at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from pykvm._native import ffi

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Packed:
    """A struct of unsigned numbers.

    Args:
        ctype: its name, e.g. "struct kvm_regs".
        names: the fields wanted, in the order wanted; parts as "cs.base".
    """

    def __init__(self, ctype: str, names: Sequence[str]) -> None:
        fields = sorted(_fields(ffi.typeof(ctype), "", 0))
        self._pointer = ffi.typeof(f"{ctype} *")
        self._struct = struct.Struct(_format(fields, ffi.sizeof(ctype)))
        found = [name for _, name, _ in fields]
        self._from_struct = itemgetter(*[found.index(name) for name in names])
        absent = len(names)  # where a field that is not wanted finds its zero
        self._to_struct = itemgetter(
            *[names.index(name) if name in names else absent for name in found]
        )

    def new(self) -> Any:
        """A zeroed struct for a call to fill."""
        return ffi.new(self._pointer)

    def unpack(self, raw: Any) -> tuple[int, ...]:
        """Values of the fields wanted."""
        values: tuple[int, ...] = self._from_struct(self._struct.unpack(ffi.buffer(raw)))
        return values

    def pack(self, values: Sequence[int]) -> Any:
        """A struct with these values; fields that are not wanted are zero."""
        raw = self.new()
        self._struct.pack_into(ffi.buffer(raw), 0, *self._to_struct((*values, 0)))
        return raw


def _fields(ctype: Any, prefix: str, base: int) -> Iterator[tuple[int, str, int]]:
    """Offset, name and size of every number in a struct."""
    for name, field in ctype.fields:
        kind, offset = field.type, base + field.offset
        if kind.kind == "struct":
            yield from _fields(kind, f"{prefix}{name}.", offset)
        elif kind.kind == "array":
            size = ffi.sizeof(kind.item)
            for position in range(kind.length):
                yield offset + position * size, f"{prefix}{name}[{position}]", size
        else:
            yield offset, prefix + name, ffi.sizeof(kind)


def _format(fields: Sequence[tuple[int, str, int]], size_bytes: int) -> str:
    parts, end = ["<"], 0
    for offset, _, size in fields:
        parts.append(f"{offset - end}x{_CODES[size]}")
        end = offset + size
    return "".join(parts) + f"{size_bytes - end}x"
