"""Position-independent executables that need no dynamic linker (static PIE), moved to their place.

Every number in such a file may be damaged or hostile: it is checked before it is used.

Source: System V ABI, chapter 5 (dynamic section), and its supplements for the 386 and x86-64
(relocation types); generic ABI, "Relative Relocation Table" (RELR).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pykvm import layout
from pykvm.errors import LoadError

if TYPE_CHECKING:
    from pykvm.loader.elf import Segment

_DT_NULL, _DT_NEEDED = 0, 1
_DT_RELA, _DT_RELA_SIZE = 7, 8
_DT_REL, _DT_REL_SIZE = 17, 18
_DT_PLT, _DT_PLT_SIZE, _DT_PLT_KIND = 23, 2, 20
_DT_RELR, _DT_RELR_SIZE = 36, 35
MAX_RELOCATIONS = 1 << 20
_NONE, _RELATIVE = 0, 8  # the same on both machines
_WORDS = {32: struct.Struct("<I"), 64: struct.Struct("<Q")}
_REL = {32: struct.Struct("<II"), 64: struct.Struct("<QQ")}
_RELA = {32: struct.Struct("<IIi"), 64: struct.Struct("<QQq")}
_TYPE_MASK = {32: 0xFF, 64: 0xFFFF_FFFF}


def base_of(segments: Sequence[Segment], load: int | None) -> int:
    """What is added to the addresses that a program is linked to.

    Args:
        segments: in order of address.
        load: where its first byte goes; None for 1 MiB, or for where it is linked to above that.
    """
    first = segments[0].paddr
    if load is None:
        return 0 if first >= layout.HIGH_BASE else layout.HIGH_BASE
    return load - first


class Relocator:
    """A program's segments as they lie at another address than the one they are linked to.

    Args:
        data: the file.
        segments: as they are linked.
        base: what is added to every address.
        bits: size of an address.
        name: for messages.
    """

    def __init__(
        self, data: bytes, segments: Sequence[Segment], base: int, bits: int, name: str
    ) -> None:
        self._segments = segments
        self._base = base
        self._bits = bits
        self._word = _WORDS[bits]
        self._name = name
        self._left = MAX_RELOCATIONS
        self.contents = [
            bytearray(data[each.offset : each.offset + each.filesz]) for each in segments
        ]

    def apply(self, dynamic: bytes) -> None:
        """Add the base to every address that the dynamic section's tables name.

        Raises:
            LoadError: it needs shared libraries or other kinds of relocation, or is malformed.
        """
        word = self._word.size
        rows = _REL[self._bits].iter_unpack(dynamic[: len(dynamic) // (2 * word) * 2 * word])
        tags: dict[int, int] = {}
        for tag, value in rows:
            if tag == _DT_NULL:
                break
            if tag == _DT_NEEDED:
                raise LoadError(self._name, "needs shared libraries; link it with -static-pie")
            tags[tag] = value
        plt_tag = tags.get(_DT_PLT_KIND, 0)
        for table, size, kind in (
            (_DT_RELA, _DT_RELA_SIZE, _DT_RELA),
            (_DT_REL, _DT_REL_SIZE, _DT_REL),
            (_DT_PLT, _DT_PLT_SIZE, plt_tag),
        ):
            rows_bytes = self._table(tags, table, size)
            self._apply_rows(rows_bytes, has_addends=kind == _DT_RELA)
        for address in self._packed(self._table(tags, _DT_RELR, _DT_RELR_SIZE)):
            self._add(address, None)

    def _table(self, tags: Mapping[int, int], table: int, size: int) -> bytes:
        if table not in tags or not tags.get(size):
            return b""
        contents, start = self._find(tags[table], tags[size])
        return bytes(contents[start : start + tags[size]])

    def _apply_rows(self, rows: bytes, *, has_addends: bool) -> None:
        form = (_RELA if has_addends else _REL)[self._bits]
        for address, info, *addend in form.iter_unpack(rows[: len(rows) // form.size * form.size]):
            kind = info & _TYPE_MASK[self._bits]
            if kind == _RELATIVE:
                self._add(address, addend[0] if addend else None)
            elif kind != _NONE:
                raise LoadError(
                    self._name,
                    f"has relocations of type {kind}, which need a dynamic linker; link it with "
                    "-static-pie and no functions that are chosen at run time",
                )

    def _packed(self, rows: bytes) -> Iterator[int]:
        """RELR: an address, then words whose bits stand for the words behind it."""
        size, position = self._word.size, 0
        for (row,) in self._word.iter_unpack(rows[: len(rows) // size * size]):
            if row & 1 == 0:
                yield row
                position = row + size
                continue
            for bit in range(8 * size - 1):
                if row >> bit + 1 & 1:
                    yield position + bit * size
            position += (8 * size - 1) * size

    def _add(self, address: int, addend: int | None) -> None:
        """Store base + addend, or add the base to what is there."""
        self._left -= 1
        if self._left < 0:
            raise LoadError(self._name, f"has more than {MAX_RELOCATIONS} relocations")
        contents, start = self._find(address, self._word.size)
        if addend is None:
            (addend,) = self._word.unpack_from(contents, start)
        mask = (1 << self._bits) - 1
        self._word.pack_into(contents, start, self._base + addend & mask)

    def _find(self, address: int, size_bytes: int) -> tuple[bytearray, int]:
        """The segment that holds a range of linked addresses, and where in it the range starts."""
        for each, contents in zip(self._segments, self.contents, strict=True):
            if each.vaddr <= address and address + size_bytes <= each.vaddr + each.filesz:
                return contents, address - each.vaddr
        raise LoadError(
            self._name, f"has relocations at {address:#x}, which is not in the file's segments"
        )
