"""ELF executables, 32- and 64-bit: static, linked to where they run.

Segments go to their physical addresses (p_paddr), as a boot loader puts them, and the
entry point is taken through the segment that holds it. pyelftools reads the header and
the tables; every number in them is checked here before it is used, because a file may
be damaged or hostile. What pyelftools raises on such a file becomes a LoadError.

Source: System V ABI, chapters 4 (object files) and 5 (program loading).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pykvm import layout
from pykvm.errors import LoadError
from pykvm.loader.image import Image, Mode
from pykvm.loader.relocation import Relocator, base_of

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAGIC = b"\x7fELF"
MAX_SYMBOLS = 1 << 20  # a kernel has 200,000
MAX_SYMBOL_LENGTH = 4096
MAX_NAME_SHARING = 8  # linkers store a name once that several symbols have
MAX_SEGMENTS = 256
MAX_NOTES_BYTES = 1 << 20

_MODES = {"EM_386": Mode.PROTECTED, "EM_X86_64": Mode.LONG}
_HEADER_SIZES = {32: (32, 40), 64: (56, 64)}  # of a program header and a section header
_SECTION_ROWS = {32: struct.Struct("<4xI8xIII12x"), 64: struct.Struct("<4xI16xQQI20x")}
_SYMBOL_ROWS = {32: struct.Struct("<IIIBBH"), 64: struct.Struct("<IBBHQQ")}
_NOTE = struct.Struct("<3I")
_SHT_SYMTAB = 2
_NAMED_TYPES = {0, 1, 2, 10}  # STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC
_KINDS = {
    "ET_REL": "is an object file, not linked yet; link it with `ld`",
    "ET_CORE": "is a core dump, not a program",
}


class Segment(NamedTuple):
    """A PT_LOAD program header. Source: System V ABI, figure 5-1."""

    number: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int

    @property
    def end(self) -> int:
        """First physical address behind it."""
        return self.paddr + self.memsz

    def __str__(self) -> str:
        return f"segment {self.number} ({self.paddr:#x}..{self.end:#x})"


def is_movable(data: bytes) -> bool:
    """Whether a file is a position-independent ELF executable, or a library."""
    return data.startswith(MAGIC) and data[16:18] == b"\3\0"  # e_type: ET_DYN


def load_elf(data: bytes, name: str, mode: Mode | None = None, load: int | None = None) -> Image:
    """An executable's segments, entry point and symbols.

    Args:
        data: the file.
        name: for messages.
        mode: how it is entered; None for long mode where its machine is x86-64,
            protected mode where it is the 386.
        load: where a position-independent one goes; None for 1 MiB.

    Raises:
        LoadError: malformed, for another machine, or not static.
    """
    # A third party's parser on a hostile file: besides its own errors it lets IndexError,
    # KeyError, struct.error, UnicodeDecodeError, RecursionError and others out.
    try:
        return _load(data, name, mode, load)
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(name, f"is not a well-formed ELF file: {error or type(error)}") from None


def notes(data: bytes, name: str) -> list[tuple[bytes, int, bytes]]:
    """The notes of an executable's PT_NOTE segments: owner, type, value.

    Raises:
        LoadError: malformed, or more of them than a program has.

    Source: System V ABI, figure 5-3.
    """
    try:
        return list(_notes(data, name))
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(name, f"is not a well-formed ELF file: {error or type(error)}") from None


def _notes(data: bytes, name: str) -> Iterator[tuple[bytes, int, bytes]]:
    left_bytes = MAX_NOTES_BYTES
    for header in _program_headers(_open(data), data, name):
        if header["p_type"] == "PT_NOTE":
            start = header["p_offset"]
            segment = data[start : start + min(header["p_filesz"], left_bytes + 1)]
            left_bytes -= len(segment)
            if left_bytes < 0:
                raise LoadError(name, f"has notes of more than {MAX_NOTES_BYTES >> 20} MiB")
            yield from _notes_in(segment)


def _notes_in(segment: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Both the owner and the value are padded to whole words."""
    position = 0
    while position + _NOTE.size <= len(segment):
        owner_size, size_bytes, kind = _NOTE.unpack_from(segment, position)
        owner = position + _NOTE.size
        value = owner + (owner_size + 3 & ~3)
        yield segment[owner : owner + owner_size], kind, segment[value : value + size_bytes]
        position = value + (size_bytes + 3 & ~3)


def _open(data: bytes) -> ELFFile:
    from elftools.elf.elffile import ELFFile

    return ELFFile(io.BytesIO(data))


def _load(data: bytes, name: str, mode: Mode | None, load: int | None) -> Image:
    elf = _open(data)
    natural_mode = _check_header(elf, name)
    segments = sorted(_segments(elf, data, name), key=lambda segment: segment.paddr)
    _check_segments(segments, len(data), name)
    if is_movable(data):
        base, contents = _move(elf, data, segments, name, load)
        segments = [
            each._replace(vaddr=each.vaddr + base, paddr=each.paddr + base) for each in segments
        ]
    else:
        base, contents = 0, [data[each.offset : each.offset + each.filesz] for each in segments]
    return Image(
        name,
        mode or natural_mode,
        _entry(elf["e_entry"] + base, segments, name),
        tuple(
            (each.paddr, piece)
            for each, piece in zip(segments, contents, strict=True)
            if each.filesz
        ),
        {key: value + base for key, value in _symbols(elf, data, name).items()},
        zeros=tuple(
            (each.paddr + each.filesz, each.memsz - each.filesz)
            for each in segments
            if each.memsz > each.filesz
        ),
    )


def _move(
    elf: ELFFile, data: bytes, segments: list[Segment], name: str, load: int | None
) -> tuple[int, list[bytes]]:
    """What is added to a static PIE's addresses, and its segments' bytes with that added."""
    base = base_of(segments, load)
    relocator = Relocator(data, segments, base, elf.elfclass, name)
    for header in _program_headers(elf, data, name):
        if header["p_type"] == "PT_DYNAMIC":
            start = header["p_offset"]
            relocator.apply(data[start : start + header["p_filesz"]])
    return base, [bytes(each) for each in relocator.contents]


def _check_header(elf: ELFFile, name: str) -> Mode:
    machine, kind = elf["e_machine"], elf["e_type"]
    if machine not in _MODES or not elf.little_endian:
        raise LoadError(name, f"is for another machine ({machine}); build it for x86 or x86-64")
    if kind not in ("ET_EXEC", "ET_DYN"):
        raise LoadError(name, _KINDS.get(kind, f"has the unknown type {kind}"))
    return _MODES[machine]


# Segments.


def _segments(elf: ELFFile, data: bytes, name: str) -> Iterator[Segment]:
    for index, header in enumerate(_program_headers(elf, data, name)):
        is_static = header["p_type"] != "PT_DYNAMIC" or elf["e_type"] == "ET_DYN"
        if header["p_type"] == "PT_INTERP" or not is_static:
            raise LoadError(name, "needs a dynamic linker; link it with -static -no-pie")
        if header["p_type"] == "PT_LOAD" and header["p_memsz"] | header["p_filesz"]:
            fields = ("p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz")
            yield Segment(index, *(header[field] for field in fields))


def _program_headers(elf: ELFFile, data: bytes, name: str) -> Iterator[Any]:
    from elftools.common.utils import struct_parse

    entry_size, _ = _HEADER_SIZES[elf.elfclass]
    start, count = elf["e_phoff"], elf["e_phnum"]
    _check_table((start, count, elf["e_phentsize"]), entry_size, data, name)
    if count > MAX_SEGMENTS:
        raise LoadError(name, f"has {count} segments; {MAX_SEGMENTS} are the most")
    for index in range(count):
        yield struct_parse(elf.structs.Elf_Phdr, elf.stream, start + index * entry_size)


def _check_segments(segments: list[Segment], file_size: int, name: str) -> None:
    """Every number in range; `segments` is in order of address."""
    if not segments:
        raise LoadError(name, "has nothing to load (no PT_LOAD segment)")
    for each in segments:
        if each.filesz > each.memsz:
            raise LoadError(
                name, f"{each} has more bytes in the file ({each.filesz:#x}) than in memory"
            )
        if each.end > layout.MAX_GPA:
            raise LoadError(name, f"{each} is beyond the physical address space")
        if each.filesz and each.offset + each.filesz > file_size:
            raise LoadError(
                name,
                f"is truncated: {each} ends at byte {each.offset + each.filesz}, "
                f"the file has {file_size}",
            )
    for one, other in pairwise(segments):
        if other.paddr < one.end:
            raise LoadError(name, f"{one} and {other} overlap")
    # Segments that share bytes could make a small file fill all memory of this process.
    if sum(each.filesz for each in segments) > file_size:
        raise LoadError(name, "has segments that share bytes of the file")


def _entry(address: int, segments: list[Segment], name: str) -> int:
    """The entry point as a physical address: through the segment that holds it."""
    for each in segments:
        if each.vaddr <= address < each.vaddr + each.memsz:
            return address - each.vaddr + each.paddr
    for each in segments:
        if each.paddr <= address < each.end:
            return address
    raise LoadError(name, f"has its entry point {address:#x} outside its segments")


# Symbols.


def _symbols(elf: ELFFile, data: bytes, name: str) -> dict[str, int]:
    """Names of functions, objects and labels, as linked; a global one wins over local ones."""
    if not elf["e_shoff"]:
        return {}
    _, entry_size = _HEADER_SIZES[elf.elfclass]
    table = (elf["e_shoff"], elf.num_sections(), elf["e_shentsize"])
    _check_table(table, entry_size, data, name)
    row, start = _SECTION_ROWS[elf.elfclass], elf["e_shoff"]
    sections = memoryview(data)[start : start + table[1] * entry_size]
    for kind, offset, size_bytes, link in row.iter_unpack(sections):
        if kind == _SHT_SYMTAB:  # a file has one at most
            _, names, names_bytes, _ = row.unpack_from(sections, link * entry_size)
            rows = _contents(offset, size_bytes, data, name)
            strings = _contents(names, names_bytes, data, name)
            return dict(_named(rows, strings, elf.elfclass, name))
    return {}


def _contents(offset: int, size_bytes: int, data: bytes, name: str) -> bytes:
    if offset + size_bytes > len(data):
        raise LoadError(name, "has a symbol table outside the file; `strip` removes it")
    return data[offset : offset + size_bytes]


def _named(rows: bytes, strings: bytes, elfclass: int, name: str) -> Iterator[tuple[str, int]]:
    """By struct: pyelftools takes 17 microseconds a symbol, of which a kernel has 100,000.

    Local symbols come first in a table, so that a later one of the same name is global.
    """
    row = _SYMBOL_ROWS[elfclass]
    if len(rows) > MAX_SYMBOLS * row.size:
        raise LoadError(name, f"has more than {MAX_SYMBOLS} symbols; `strip` removes them")
    left_bytes = MAX_NAME_SHARING * len(strings)
    for fields in row.iter_unpack(rows[: len(rows) - len(rows) % row.size]):
        if elfclass == 64:
            start, info, _, section, value, _ = fields
        else:
            start, value, _, info, _, section = fields
        if section and info & 0xF in _NAMED_TYPES:
            end = strings.find(b"\0", start, start + MAX_SYMBOL_LENGTH)
            left_bytes -= max(0, end - start)
            if left_bytes < 0:
                raise LoadError(name, "has symbols that share too many names; `strip` removes them")
            if end > start:
                yield strings[start:end].decode(errors="replace"), value


def _check_table(table: tuple[int, int, int], entry_size: int, data: bytes, name: str) -> None:
    """See that the headers of one table lie in the file: offset, count and size of each."""
    offset, count, stated_size = table
    if count and stated_size != entry_size:
        raise LoadError(name, f"has headers of {stated_size} bytes where {entry_size} are due")
    if offset + count * entry_size > len(data):
        raise LoadError(name, "is truncated: its table of headers lies outside the file")
