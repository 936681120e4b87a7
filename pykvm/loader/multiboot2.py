"""Multiboot 2 kernels: the header in the file, and the information owed to it.

Source: Multiboot2 Specification 2.0; sections are cited where they decide something.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from pykvm import layout
from pykvm.errors import LoadError
from pykvm.loader.boot import Boot, Placed
from pykvm.loader.image import Image
from pykvm.loader.memory_map import available_kib
from pykvm.loader.multiboot_header import BOOT_LOADER_NAME, Addresses, Header

HEADER_MAGIC = 0xE85250D6
BOOTLOADER_MAGIC = 0x36D76289
SEARCH_SIZE = 32768  # §3.1: the header lies completely within these first bytes
ARCHITECTURE_I386 = 0

# §3.1.3 to §3.1.13: tags in the header, and the flag of those that a loader may ignore.
_END, _REQUEST, _CONSOLE, _FRAMEBUFFER, _MODULE_ALIGN = 0, 1, 4, 5, 6
_EFI_TAGS = (7, 8, 9)  # what they ask for is of no account where there is no EFI
_OPTIONAL = 1 << 0
_CONSOLE_REQUIRED = 1 << 0
LOAD_FROM_START = 0xFFFF_FFFF  # §3.1.5, load_addr

# §3.6: tags in the information.
INFO_COMMAND_LINE, INFO_LOADER_NAME, INFO_MODULE, INFO_MEMORY = 1, 2, 3, 4
INFO_MMAP, INFO_OLD_ACPI, INFO_NEW_ACPI, INFO_LOAD_BASE = 6, 14, 15, 21
_LAST_INFO = INFO_LOAD_BASE
MMAP_AVAILABLE, MMAP_RESERVED = 1, 2
_OLD_RSDP_SIZE, _RSDP_SIZE = 20, 36  # ACPI 6.5 §5.2.5.3

_HEADER = struct.Struct("<4I")
_TAG = struct.Struct("<HHI")
_MMAP_ENTRY = struct.Struct("<QQII")


def find_header(data: bytes, name: str) -> Header | None:
    """The header of a file, or None: aligned to eight, and with a checksum that is right.

    Raises:
        LoadError: it requires what pykvm does not offer, or is malformed.
    """
    searched = data[:SEARCH_SIZE]
    for offset in range(0, len(searched) - _HEADER.size + 1, 8):
        magic, architecture, size_bytes, checksum = _HEADER.unpack_from(searched, offset)
        is_right = (magic + architecture + size_bytes + checksum) & 0xFFFF_FFFF == 0
        if magic == HEADER_MAGIC and is_right:
            if architecture != ARCHITECTURE_I386:
                raise LoadError(name, "its multiboot 2 header is for another machine than the PC")
            if offset + size_bytes > len(searched):
                raise LoadError(name, f"its multiboot 2 header at byte {offset} is cut off")
            return _header(searched[offset : offset + size_bytes], offset, name)
    return None


def _header(header: bytes, offset: int, name: str) -> Header:
    addresses, entry, place = None, None, None
    for kind, is_optional, body in _tags(header, name):
        match kind:
            case 2:  # the addresses, §3.1.5
                addresses = _numbers(body, 4, name)
            case 3:  # the entry, §3.1.6
                (entry,) = _numbers(body, 1, name)
            case 10:  # that it can be moved, §3.1.13
                place = _numbers(body, 4, name)[:2]
            case _ if not is_optional:
                _check(kind, body, name)
    if addresses is None:
        return Header(offset, 0, None, 2, entry, place)
    if entry is None:
        raise LoadError(name, "its multiboot 2 header has addresses (tag 2) and no entry (tag 3)")
    header_gpa, load, load_end, bss_end = addresses
    if load == LOAD_FROM_START:
        load = header_gpa - offset
    where = Addresses(header_gpa, load, load_end, bss_end, entry)
    return Header(offset, 0, where, 2, entry, place)


def _tags(header: bytes, name: str) -> Iterator[tuple[int, bool, bytes]]:
    """Kind, whether it may be ignored, and what is behind that, up to the end tag. §3.1.3."""
    position = _HEADER.size
    while position + _TAG.size <= len(header):
        kind, flags, size_bytes = _TAG.unpack_from(header, position)
        if kind == _END:
            return
        if not _TAG.size <= size_bytes <= len(header) - position:
            break
        yield kind, bool(flags & _OPTIONAL), header[position + _TAG.size : position + size_bytes]
        position += size_bytes + 7 & ~7
    raise LoadError(name, "its multiboot 2 header is malformed: its tags have no end")


def _numbers(body: bytes, count: int, name: str) -> tuple[int, ...]:
    if len(body) < 4 * count:
        raise LoadError(name, "its multiboot 2 header has a tag that is too short")
    return struct.unpack_from(f"<{count}I", body)


def _check(kind: int, body: bytes, name: str) -> None:
    """Refuse a tag that must not be ignored, where pykvm cannot do what it asks for."""
    if kind == _REQUEST:
        for (wanted,) in struct.iter_unpack("<I", body[: len(body) & ~3]):
            if wanted > _LAST_INFO:  # those known that are not there are left out, as by GRUB
                raise LoadError(
                    name, f"its multiboot 2 header requires the unknown information {wanted}"
                )
        return
    needs_display = kind == _FRAMEBUFFER or (
        kind == _CONSOLE and _numbers(body, 1, name)[0] & _CONSOLE_REQUIRED
    )
    if needs_display:
        raise LoadError(name, f"its multiboot 2 header requires a display (tag {kind})")
    if kind not in (_CONSOLE, _MODULE_ALIGN, *_EFI_TAGS):
        raise LoadError(name, f"its multiboot 2 header requires the unknown tag {kind}")


def pieces(boot: Boot, image: Image, modules: Sequence[Placed]) -> list[tuple[int, bytes]]:
    """What a kernel finds in memory: the information, and the modules.

    Raises:
        LoadError: the information is too long for its place.
    """
    data = information(boot, image.load_base, modules)
    if len(data) > layout.BOOT_LIST_SIZE:
        raise LoadError(image.name, f"{len(modules)} modules with such texts are too many")
    return [
        (layout.BOOT_LIST_BASE, data),
        *((each.gpa, each.data) for each in modules if each.data),
    ]


def information(boot: Boot, load_base: int | None, modules: Sequence[Placed]) -> bytes:
    """The information as it lies at layout.BOOT_LIST_BASE. §3.6."""
    tags = [
        _tag(INFO_COMMAND_LINE, boot.command_line + b"\0"),
        _tag(INFO_LOADER_NAME, BOOT_LOADER_NAME),
        *(
            _tag(INFO_MODULE, struct.pack("<II", each.gpa, each.gpa + len(each.data)) + each.text)
            for each in modules
        ),
        _tag(
            INFO_MEMORY,
            struct.pack(
                "<II",
                available_kib(boot.memory_map, 0),
                available_kib(boot.memory_map, layout.HIGH_BASE),
            ),
        ),
        _tag(INFO_MMAP, struct.pack("<II", _MMAP_ENTRY.size, 0) + _memory_map(boot)),
    ]
    if boot.tables:
        rsdp = boot.tables[0][1]
        tags.append(_tag(INFO_OLD_ACPI, rsdp[:_OLD_RSDP_SIZE]))
        tags.append(_tag(INFO_NEW_ACPI, rsdp[:_RSDP_SIZE]))
    if load_base is not None:
        tags.append(_tag(INFO_LOAD_BASE, struct.pack("<I", load_base)))
    body = b"".join([*tags, _tag(_END, b"")])
    return struct.pack("<II", 8 + len(body), 0) + body


def _memory_map(boot: Boot) -> bytes:
    return b"".join(
        _MMAP_ENTRY.pack(
            each.base, each.size_bytes, MMAP_AVAILABLE if each.usable else MMAP_RESERVED, 0
        )
        for each in boot.memory_map
    )


def _tag(kind: int, body: bytes) -> bytes:
    """§3.6.2: the size does not count what fills it up to eight."""
    tag = struct.pack("<II", kind, 8 + len(body)) + body
    return tag + bytes(-len(tag) % 8)
