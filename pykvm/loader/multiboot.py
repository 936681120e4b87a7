"""Multiboot kernels: the state that either version is owed, and the header and information of
version 1; `multiboot2` has those of the other.

Source: Multiboot Specification 0.6.96; sections are cited where they decide something.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from pykvm import layout
from pykvm.errors import LayoutError, LoadError
from pykvm.loader import elf, entry, multiboot2
from pykvm.loader.boot import Boot, Placed
from pykvm.loader.image import Image, Mode
from pykvm.loader.memory_map import MapEntry, available_kib
from pykvm.loader.multiboot_header import BOOT_LOADER_NAME, Addresses
from pykvm.loader.multiboot_header import Header as Header

HEADER_MAGIC = 0x1BADB002
BOOTLOADER_MAGIC = 0x2BADB002
SEARCH_SIZE = 8192  # §3.1: the header lies completely within these first bytes

# §3.1.2: of bits 0 to 15 a loader must refuse what it does not know or cannot do.
PAGE_ALIGN, MEMORY_INFO, VIDEO_MODE, ADDRESSES = 1 << 0, 1 << 1, 1 << 2, 1 << 16
REQUIREMENTS = 0xFFFF

# §3.3: which fields of the information structure are valid.
INFO_MEMORY, INFO_COMMAND_LINE, INFO_MODULES = 1 << 0, 1 << 2, 1 << 3
INFO_MMAP, INFO_LOADER_NAME = 1 << 6, 1 << 9
MMAP_AVAILABLE, MMAP_RESERVED = 1, 2

AnyImage = TypeVar("AnyImage", bound=Image)

_HEADER = struct.Struct("<3I")
_ADDRESSES = struct.Struct("<5I")
_INFORMATION = struct.Struct("<7I16x2I12xI48x")  # flags to color_info
_MODULE = struct.Struct("<4I")
_MMAP_ENTRY = struct.Struct("<IQQI")


def find_header(data: bytes, name: str) -> Header | None:
    """The multiboot header of a file, or None: aligned, and with a checksum that is right.

    Raises:
        LoadError: it requires what pykvm does not offer, or is cut off.
    """
    searched = data[:SEARCH_SIZE]
    for offset in range(0, len(searched) - _HEADER.size + 1, 4):
        magic, flags, checksum = _HEADER.unpack_from(searched, offset)
        if magic == HEADER_MAGIC and (magic + flags + checksum) & 0xFFFF_FFFF == 0:
            return _header(searched, offset, flags, name)
    return None


def _header(data: bytes, offset: int, flags: int, name: str) -> Header:
    if flags & VIDEO_MODE:
        raise LoadError(
            name, "its multiboot header requires a video mode (flag bit 2); there is no display"
        )
    if unknown := flags & REQUIREMENTS & ~(PAGE_ALIGN | MEMORY_INFO):
        raise LoadError(name, f"its multiboot header requires the unknown flags {unknown:#x}")
    if not flags & ADDRESSES:
        return Header(offset, flags, None)
    if offset + _HEADER.size + _ADDRESSES.size > len(data):
        raise LoadError(name, f"its multiboot header at byte {offset} is cut off")
    return Header(offset, flags, Addresses(*_ADDRESSES.unpack_from(data, offset + _HEADER.size)))


def load_by_addresses(data: bytes, header: Header, name: str) -> Image:
    """A file loaded by the addresses in its header (flag bit 16), whatever its format.

    Raises:
        LoadError: the header has no addresses, or ones that cannot be.

    Source: §3.1.3.
    """
    where = header.addresses
    if where is None:
        raise LoadError(
            name, "its multiboot header has no addresses (flag bit 16), and it is no ELF file"
        )
    start = header.offset - (where.header - where.load)
    if where.load > where.header or start < 0:
        raise LoadError(name, f"its multiboot load_addr {where.load:#x} does not fit header_addr")
    load_end = where.load_end or where.load + len(data) - start
    bss_end = where.bss_end or load_end
    size_bytes = load_end - where.load
    if size_bytes > len(data) - start:
        raise LoadError(name, f"is truncated: load_end_addr is {load_end:#x}")
    if not where.load <= where.entry < load_end <= bss_end:
        raise LoadError(
            name, "its multiboot addresses are out of order (load, entry, end, bss end)"
        )
    return Image(
        name,
        Mode.PROTECTED,
        where.entry,
        ((where.load, data[start : start + size_bytes]),),
        zeros=((load_end, bss_end - load_end),) if bss_end > load_end else (),
    )


def any_header(data: bytes, name: str) -> Header | None:
    """The header of a file by version 1, else by version 2.

    Raises:
        LoadError: it requires what pykvm does not offer, or is malformed.
    """
    return find_header(data, name) or multiboot2.find_header(data, name)


def load(data: bytes, header: Header, name: str) -> Image:
    """A kernel's image, with the registers of its version. Addresses in the header go before those
    of the file's format. §3.1.2 of version 1, §3.1.5 of version 2.

    Raises:
        LoadError: malformed.
    """
    if header.addresses is None and data.startswith(elf.MAGIC):
        image = elf.load_elf(data, name, Mode.PROTECTED)
        if header.entry is not None:
            image = replace(image, entry=header.entry)
    else:
        image = load_by_addresses(data, header, name)
    return owed(image, header)


def kernel_of(image: AnyImage) -> AnyImage:
    """An assembled program itself, or the kernel that a header among its bytes makes of it.

    Raises:
        LoadError: as for `any_header` and `load_by_addresses`.
    """
    if image.mode is not Mode.PROTECTED or len(image.pieces) != 1:
        return image
    data = image.pieces[0][1]
    header = any_header(data, image.name)
    if header is None:
        return image
    kernel = load_by_addresses(data, header, image.name)
    changed = replace(image, entry=kernel.entry, pieces=kernel.pieces, zeros=kernel.zeros)
    return owed(changed, header)


def owed(image: AnyImage, header: Header) -> AnyImage:
    """The same image with the registers and the information that a kernel finds.

    All else that §3.2 asks for (§3.3 of version 2) is protected mode as every guest has it: flat
    segments, paging off, interrupts disabled; A20 is never masked.

    Raises:
        LoadError: it wants to be moved to where it is not linked to.
    """
    start = min(gpa for gpa, _ in image.extents)
    if header.place and not header.place[0] <= start <= image.end - 1 <= header.place[1]:
        raise LoadError(
            image.name,
            f"is linked to {start:#x}..{image.end:#x}, outside the place that its multiboot 2 "
            f"header gives it: {header.place[0]:#x}..{header.place[1]:#x}",
        )
    magic, info = BOOTLOADER_MAGIC, layout.BOOT_INFO_BASE
    if header.version == 2:
        magic, info = multiboot2.BOOTLOADER_MAGIC, layout.BOOT_LIST_BASE
    return replace(
        image, mode=Mode.PROTECTED, registers={"rax": magic, "rbx": info},
        multiboot=header.version, state=entry.MULTIBOOT,
        load_base=start if header.place else None,
    )  # fmt: skip


def command_line(image: Image, text: str) -> str:
    """The kernel's name, as GRUB 0.9x and QEMU put it there, and what it is told behind it."""
    return f"{image.name} {text}" if text else image.name


def pieces(boot: Boot, image: Image) -> list[tuple[int, bytes]]:
    """What a kernel finds in memory: the information, and the modules with their list.

    Raises:
        LoadError: there is no room.
    """
    modules = boot.place_modules(image)
    if image.multiboot == 2:
        return multiboot2.pieces(boot, image, modules)
    listed = module_list(modules)
    return [
        (layout.BOOT_INFO_BASE, information(boot.memory_map, len(modules))),
        *([(layout.BOOT_LIST_BASE, listed)] if listed else []),
        *((each.gpa, each.data) for each in modules if each.data),
    ]


def module_list(modules: Sequence[Placed]) -> bytes:
    """The list at layout.BOOT_LIST_BASE, and the texts that it points at behind it. §3.3, mods.

    Raises:
        LoadError: it is too long for its place.
    """
    text_gpa = layout.BOOT_LIST_BASE + len(modules) * _MODULE.size
    rows, texts = b"", b""
    for each in modules:
        rows += _MODULE.pack(each.gpa, each.gpa + len(each.data), text_gpa + len(texts), 0)
        texts += each.text
    if len(rows + texts) > layout.BOOT_LIST_SIZE:
        raise LoadError("module list", f"{len(modules)} modules with such texts are too many")
    return rows + texts


def information(entries: Sequence[MapEntry], modules: int = 0) -> bytes:
    """The information structure as it lies at layout.BOOT_INFO_BASE, its tables behind it.

    Args:
        entries: the machine's memory map.
        modules: how many `module_list` has.

    Raises:
        LayoutError: the memory map is too long for its place.

    Source: §3.3.
    """
    mmap_gpa = layout.BOOT_INFO_BASE + _INFORMATION.size
    mmap = b"".join(_mmap_entry(each) for each in entries)
    fields = _INFORMATION.pack(
        INFO_MEMORY
        | INFO_COMMAND_LINE
        | INFO_MMAP
        | INFO_LOADER_NAME
        | (INFO_MODULES if modules else 0),
        available_kib(entries, 0),
        available_kib(entries, layout.HIGH_BASE),
        0,  # boot_device
        layout.COMMAND_LINE_BASE,
        *(modules, layout.BOOT_LIST_BASE if modules else 0),
        len(mmap),
        mmap_gpa,
        mmap_gpa + len(mmap),
    )
    result = fields + mmap + BOOT_LOADER_NAME
    if len(result) > layout.BOOT_INFO_SIZE:
        raise LayoutError(f"a multiboot memory map cannot hold {len(entries)} entries")
    return result


def _mmap_entry(entry: MapEntry) -> bytes:
    """`size` comes first and does not count itself."""
    kind = MMAP_AVAILABLE if entry.usable else MMAP_RESERVED
    return _MMAP_ENTRY.pack(_MMAP_ENTRY.size - 4, entry.base, entry.size_bytes, kind)
