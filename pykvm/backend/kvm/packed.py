"""C structs as tuples of numbers, by the layout that the compiler found.

Reading a hundred fields one by one costs more than the system call that fills them;
`struct` does it at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from pykvm._native import ffi
from pykvm.errors import RegisterError

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Packed:
    """A struct of unsigned numbers.

    Args:
        ctype: its name, e.g. "struct kvm_regs".
        names: its fields in order, parts as "cs.base"; those at the end may be left out.
    """

    def __init__(self, ctype: str, names: Sequence[str]) -> None:
        fields = sorted(_fields(ffi.typeof(ctype), "", 0))
        found = [name for _, name, _ in fields]
        if found[: len(names)] != list(names):
            raise TypeError(f"{ctype} has the fields {found}")
        self._pointer = ffi.typeof(f"{ctype} *")
        self._struct = struct.Struct(_format(fields[: len(names)]))
        self._values = attrgetter(*names)
        self._bits = {name: 8 * size for _, name, size in fields[: len(names)]}
        self._constants: dict[int, tuple[object, Any]] = {}

    def new(self) -> Any:
        """A zeroed struct for a call to fill."""
        return ffi.new(self._pointer)

    def unpack(self, raw: Any) -> tuple[int, ...]:
        """Values of the fields."""
        return self._struct.unpack_from(ffi.buffer(raw))

    def pack(self, source: object) -> Any:
        """A struct with the attributes of these names; fields that were left out are zero.

        Raises:
            RegisterError: a value is no unsigned number that fits.
        """
        raw = self.new()
        values = self._values(source)
        try:
            self._struct.pack_into(ffi.buffer(raw), 0, *values)
        except struct.error:
            raise self._misfit(values) from None
        return raw

    def pack_constant(self, source: object) -> Any:
        """The same for an object that lives and stays as it is until the process ends."""
        known = self._constants.get(id(source))
        if known is None:
            known = self._constants[id(source)] = (source, self.pack(source))
        return known[1]

    def _misfit(self, values: Sequence[object]) -> RegisterError:
        pairs = zip(self._bits.items(), values, strict=True)
        return next(
            RegisterError(name, f"{value!r} does not fit in {bits} bits")
            for (name, bits), value in pairs
            if not isinstance(value, int) or not 0 <= value < 1 << bits
        )


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


def _format(fields: Sequence[tuple[int, str, int]]) -> str:
    parts, end = ["<"], 0
    for offset, _, size in fields:
        parts.append(f"{offset - end}x{_CODES[size]}")
        end = offset + size
    return "".join(parts)
