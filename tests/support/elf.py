"""ELF files made by hand, right or wrong in any field.

Source: System V ABI, figures 4-3 (file header), 4-8 (section header), 4-15 (symbol)
and 5-1 (program header).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EM_386, EM_X86_64 = 3, 62
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
SHT_SYMTAB, SHT_STRTAB = 2, 3
STT_FUNC, STT_FILE = 2, 4
STB_GLOBAL = 1


@dataclass(frozen=True)
class Segment:
    """A program header and its bytes; a field that is None follows from the others."""

    data: bytes = b""
    paddr: int = 0x10_0000
    vaddr: int | None = None
    offset: int | None = None
    filesz: int | None = None
    memsz: int | None = None
    type: int = PT_LOAD


@dataclass(frozen=True)
class Symbol:
    """A row of the symbol table; `name_at` points at a name elsewhere in the string table."""

    name: bytes
    value: int
    info: int = STB_GLOBAL << 4 | STT_FUNC
    section: int = 1
    name_at: int | None = None


@dataclass
class Elf:
    """A file; `header` and `symbol_section` override fields of those two headers by name."""

    segments: Sequence[Segment] = ()
    bits: int = 64
    symbols: Sequence[Symbol] = ()
    header: Mapping[str, int] = field(default_factory=dict)
    symbol_section: Mapping[str, int] = field(default_factory=dict)

    def build(self) -> bytes:
        """The bytes: header, program headers, contents, symbols, section headers."""
        word = "Q" if self.bits == 64 else "I"
        header_size, entry_size, section_size = (64, 56, 64) if self.bits == 64 else (52, 32, 40)
        contents = b""
        base = header_size + entry_size * len(self.segments)
        headers = b""
        for segment in self.segments:
            headers += self._program_header(segment, base + len(contents))
            contents += segment.data
        tail, section_offset, section_count = self._sections(base + len(contents))
        fields = {
            "type": ET_EXEC,
            "machine": EM_X86_64 if self.bits == 64 else EM_386,
            "version": 1,
            "entry": self.segments[0].paddr if self.segments else 0,
            "phoff": header_size,
            "shoff": section_offset,
            "flags": 0,
            "ehsize": header_size,
            "phentsize": entry_size,
            "phnum": len(self.segments),
            "shentsize": section_size,
            "shnum": section_count,
            "shstrndx": 0,
        } | self.header
        ident = b"\x7fELF" + bytes((2 if self.bits == 64 else 1, 1, 1)) + bytes(9)
        packed = struct.pack(f"<HHI{word * 3}IHHHHHH", *fields.values())
        return ident + packed + headers + contents + tail

    def _program_header(self, segment: Segment, offset: int) -> bytes:
        vaddr = segment.paddr if segment.vaddr is None else segment.vaddr
        offset = offset if segment.offset is None else segment.offset
        filesz = len(segment.data) if segment.filesz is None else segment.filesz
        memsz = filesz if segment.memsz is None else segment.memsz
        if self.bits == 64:
            rest = (7, offset, vaddr, segment.paddr, filesz, memsz, 1)
            return struct.pack("<IIQQQQQQ", segment.type, *rest)
        rest = (offset, vaddr, segment.paddr, filesz, memsz, 7, 1)
        return struct.pack("<IIIIIIII", segment.type, *rest)

    def _sections(self, offset: int) -> tuple[bytes, int, int]:
        """Symbol and string table with the headers behind them, and where those start."""
        if not self.symbols:
            return b"", 0, 0
        strings, rows = b"\0", bytes(24 if self.bits == 64 else 16)
        for each in self.symbols:
            rows += self._symbol_row(each, each.name_at or len(strings))
            strings += each.name + b"\0"
        table = {"type": SHT_SYMTAB, "offset": offset, "size": len(rows), "link": 2}
        names = {"type": SHT_STRTAB, "offset": offset + len(rows), "size": len(strings)}
        headers = (self._section_header({}) + self._section_header(table | self.symbol_section)
                   + self._section_header(names))  # fmt: skip
        return rows + strings + headers, offset + len(rows) + len(strings), 3

    def _symbol_row(self, symbol: Symbol, name: int) -> bytes:
        if self.bits == 64:
            return struct.pack("<IBBHQQ", name, symbol.info, 0, symbol.section, symbol.value, 0)
        return struct.pack("<IIIBBH", name, symbol.value, 0, symbol.info, 0, symbol.section)

    def _section_header(self, given: Mapping[str, int]) -> bytes:
        names = ("name", "type", "flags", "addr", "offset", "size", "link", "info", "align", "ent")
        word = "Q" if self.bits == 64 else "I"
        values = [given.get(name, 0) for name in names]
        return struct.pack(f"<II{word * 4}II{word * 2}", *values)
