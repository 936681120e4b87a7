"""Linux kernels: bzImage by its 64-bit entry point; `pvh` takes ELF kernels.

A boot loader owes a bzImage the zero page: the setup header from the file, where the command
line and the initial RAM disk are, and the memory map.

Source: Documentation/arch/x86/boot.rst and zero-page.rst of Linux, cited as boot.rst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pykvm import layout
from pykvm.errors import LoadError
from pykvm.loader import elf
from pykvm.loader.boot import Boot as Boot
from pykvm.loader.image import Image, Mode
from pykvm.loader.memory_map import E820_RAM, E820_RESERVED

SECTOR_SIZE = 512
DEFAULT_SETUP_SECTORS = 4  # boot.rst: what 0 means
ENTRY64_OFFSET = 0x200  # boot.rst, "64-bit boot protocol"
MIN_VERSION = 0x020C  # the first with xloadflags
LOADER_UNDEFINED = 0xFF
XLF_KERNEL_64 = 1 << 0

# Offsets in the zero page, where the setup header keeps the place that it has in the file.
ACPI_RSDP_ADDR = 0x070
E820_COUNT = 0x1E8
SETUP_HEADER = 0x1F1
HEADER_END_BYTE = 0x201
HEADER_MAGIC_OFFSET = 0x202
TYPE_OF_LOADER = 0x210
RAMDISK_IMAGE = 0x218
CMD_LINE_PTR = 0x228
E820_TABLE = 0x2D0
E820_MAX = 128
MAGIC = b"HdrS"

_E820_ENTRY = struct.Struct("<QQI")


@dataclass(frozen=True)
class Header:
    """The fields of a setup header that a loader reads. Source: boot.rst, "The real-mode header".

    Attributes:
        raw: the whole header, as it goes into the zero page.
        code_offset: of the protected-mode kernel in the file.
        load: where that kernel goes.
        init_size: how much memory it needs there until it is decompressed.
        initrd_addr_max: the highest address that a byte of the RAM disk may have.
        cmdline_size: the longest command line.
    """

    raw: bytes
    code_offset: int
    load: int
    init_size: int
    initrd_addr_max: int
    cmdline_size: int


def is_bzimage(data: bytes) -> bool:
    """Whether a file has the setup header's magic number."""
    return data[HEADER_MAGIC_OFFSET : HEADER_MAGIC_OFFSET + 4] == MAGIC


def is_kernel(data: bytes, name: str) -> bool:
    """Whether a file is a bzImage, or an ELF kernel with a PVH entry.

    Raises:
        LoadError: malformed.
    """
    if data.startswith(elf.MAGIC):
        from pykvm.loader import pvh

        return pvh.entry_of(data, name) is not None
    return is_bzimage(data)


def kernel_image(data: bytes, name: str, boot: Boot) -> Image:
    """A kernel's image, with the zero page or the start information that it is owed.

    Args:
        data: the file.
        name: for messages.
        boot: what the machine gives.

    Raises:
        LoadError: neither a bzImage nor an ELF kernel with a PVH entry, malformed, or too
            large for this machine.
    """
    if is_bzimage(data):
        return _load(data, name, boot)
    if data.startswith(elf.MAGIC):
        from pykvm.loader import pvh

        return pvh.load(data, name, boot)
    raise LoadError(name, "is neither a bzImage nor an ELF kernel")


def read_header(data: bytes, name: str) -> Header:
    """The setup header of a bzImage, checked.

    Raises:
        LoadError: too old, without a 64-bit entry, truncated, or with numbers that cannot be.
    """
    end = HEADER_MAGIC_OFFSET + data[HEADER_END_BYTE]
    raw = data[SETUP_HEADER:end]
    version = _field(data, 0x206, "<H", name)
    if version < MIN_VERSION:
        raise LoadError(
            name, f"has boot protocol {version >> 8}.{version & 0xFF:02}; 2.12 is the oldest known"
        )
    if end > len(data) or end < 0x264:
        raise LoadError(name, "is malformed: its setup header ends too early")
    if not _field(data, 0x236, "<H", name) & XLF_KERNEL_64:
        raise LoadError(name, "has no 64-bit entry point; it is a 32-bit kernel")
    sectors = data[SETUP_HEADER] or DEFAULT_SETUP_SECTORS
    header = Header(
        raw,
        (sectors + 1) * SECTOR_SIZE,
        _field(data, 0x258, "<Q", name),
        _field(data, 0x260, "<I", name),
        _field(data, 0x22C, "<I", name),
        _field(data, 0x238, "<I", name),
    )
    size_bytes = 16 * _field(data, 0x1F4, "<I", name)  # syssize
    if size_bytes <= ENTRY64_OFFSET or len(data) - header.code_offset < size_bytes - 15:
        raise LoadError(
            name,
            f"is truncated: {len(data)} bytes, of a kernel that ends at byte "
            f"{header.code_offset + size_bytes}",
        )
    return header


def _field(data: bytes, offset: int, form: str, name: str) -> int:
    try:
        return int(struct.unpack_from(form, data, offset)[0])
    except struct.error:
        raise LoadError(name, "is truncated inside its setup header") from None


def _load(data: bytes, name: str, boot: Boot) -> Image:
    header = read_header(data, name)
    kernel = data[header.code_offset :]
    if len(boot.command_line) > header.cmdline_size:
        raise LoadError(name, f"takes a command line of {header.cmdline_size} bytes at most")
    end = header.load + max(header.init_size, len(kernel))
    _check_room(header.load, end, name, boot)
    initrd = boot.initrd_base(end, header.initrd_addr_max, name)
    pieces = [
        (layout.BOOT_INFO_BASE, zero_page(header, boot, initrd)),
        (header.load, kernel),
    ]
    if boot.initrd:
        pieces.append((initrd, boot.initrd))
    return Image(
        name,
        Mode.LONG,
        header.load + ENTRY64_OFFSET,
        tuple(pieces),
        registers={"rsi": layout.BOOT_INFO_BASE},
    )


def _check_room(start: int, end: int, name: str, boot: Boot) -> None:
    """The kernel decompresses itself into memory that nobody else may use."""
    for entry in boot.memory_map:
        if entry.usable and entry.base <= start and end <= entry.base + entry.size_bytes:
            return
    raise LoadError(
        name,
        f"needs RAM at {start:#x}..{end:#x}; --memory {-(-end // layout.MIB)}M has it"
        if end <= layout.RAM_HOLE_BASE
        else f"wants to be loaded at {start:#x}..{end:#x}, where no RAM can be",
    )


def zero_page(header: Header, boot: Boot, initrd: int) -> bytes:
    """The struct boot_params for the kernel. Source: zero-page.rst."""
    page = bytearray(layout.PAGE_SIZE)
    page[SETUP_HEADER : SETUP_HEADER + len(header.raw)] = header.raw
    page[TYPE_OF_LOADER] = LOADER_UNDEFINED
    struct.pack_into("<Q", page, ACPI_RSDP_ADDR, boot.rsdp)
    struct.pack_into("<II", page, RAMDISK_IMAGE, initrd, len(boot.initrd))
    struct.pack_into("<I", page, CMD_LINE_PTR, layout.COMMAND_LINE_BASE)
    entries = boot.memory_map[:E820_MAX]
    page[E820_COUNT] = len(entries)
    for index, entry in enumerate(entries):
        kind = E820_RAM if entry.usable else E820_RESERVED
        offset = E820_TABLE + index * _E820_ENTRY.size
        _E820_ENTRY.pack_into(page, offset, entry.base, entry.size_bytes, kind)
    return bytes(page)
