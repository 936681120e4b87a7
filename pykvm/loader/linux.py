"""Linux kernels by the boot protocol, and what else has the header of one; `pvh` takes ELF kernels.

A boot loader owes a kernel that is entered in 32- or 64-bit mode the zero page: the setup header
from the file, where the command line and the initial RAM disk are, and the memory map. One that is
entered in 16-bit mode finds the same in its own header, and asks the BIOS for the rest.

Source: Documentation/arch/x86/boot.rst and zero-page.rst of Linux, cited as boot.rst.
"""

from __future__ import annotations

import struct
from functools import cache

from pykvm import layout
from pykvm.errors import LoadError
from pykvm.loader import elf, entry
from pykvm.loader.boot import Boot as Boot
from pykvm.loader.image import Image, Mode
from pykvm.loader.memory_map import E820_RAM, E820_RESERVED
from pykvm.loader.setup_header import HIGH_LOAD, LOW_LOAD, SETUP_HEADER, Header, read_header
from pykvm.loader.setup_header import is_bzimage as is_bzimage
from pykvm.registers import SpecialRegisters

ENTRY64_OFFSET = 0x200  # boot.rst, "64-bit boot protocol"
LOADER_UNDEFINED = 0xFF

# Offsets in the zero page, where the setup header keeps the place that it has in the file.
ACPI_RSDP_ADDR = 0x070
E820_COUNT = 0x1E8
TYPE_OF_LOADER = 0x210
LOADFLAGS = 0x211
SETUP_MOVE_SIZE = 0x212
CODE32_START = 0x214
RAMDISK_IMAGE = 0x218
HEAP_END_PTR = 0x224
CMD_LINE_PTR = 0x228
E820_TABLE = 0x2D0
E820_MAX = 128

# The 16-bit entry: boot.rst, "Sample Boot Configuration" and "Running the Kernel".
CAN_USE_HEAP = 1 << 7
REAL_BASE, OLD_REAL_BASE = 0x1_0000, 0x9_0000
HEAP_END, LOW_HEAP_END = 0xE000, 0x9800
OLD_COMMAND_LINE_MAGIC = 0xA33F
OLD_COMMAND_LINE = 0x20  # the magic number, and the offset of the command line behind it
FIRST_WITH_HEAP, FIRST_WITH_POINTER = 0x201, 0x202

_E820_ENTRY = struct.Struct("<QQI")


def is_kernel(data: bytes, name: str) -> bool:
    """Whether a file is a bzImage, or an ELF kernel with a PVH entry.

    Raises:
        LoadError: malformed.
    """
    if data.startswith(elf.MAGIC):
        from pykvm.loader import pvh

        return pvh.entry_of(data, name) is not None
    return is_bzimage(data)


def kernel_image(data: bytes, name: str, boot: Boot, mode: Mode | None = None) -> Image:
    """A kernel's image, with the zero page or the start information that it is owed.

    Args:
        data: the file.
        name: for messages.
        boot: what the machine gives.
        mode: by which entry: long, protected or real mode; None for the best one.

    Raises:
        LoadError: neither a bzImage nor an ELF kernel with a PVH entry, malformed, or too
            large for this machine.
    """
    if is_bzimage(data):
        return _load(data, name, boot, mode)
    if data.startswith(elf.MAGIC):
        from pykvm.loader import pvh

        return pvh.load(data, name, boot)
    raise LoadError(name, "is neither a bzImage nor an ELF kernel")


def _load(data: bytes, name: str, boot: Boot, mode: Mode | None) -> Image:
    header = read_header(data, name)
    if len(boot.command_line) > header.cmdline_size:
        raise LoadError(name, f"takes a command line of {header.cmdline_size} bytes at most")
    kernel = data[header.code_offset :]
    match mode or header.mode:
        case Mode.LONG if header.is_64_bit:
            return _flat(kernel, header, Mode.LONG, name, boot)
        case Mode.PROTECTED if header.is_high:
            return _flat(kernel, header, Mode.PROTECTED, name, boot)
        case Mode.REAL:
            return _real(data, header, name, boot)
    raise LoadError(name, f"has no entry in {mode.value if mode else 'any'} mode")


def _flat(kernel: bytes, header: Header, mode: Mode, name: str, boot: Boot) -> Image:
    """boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol"."""
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
        mode,
        header.load + (ENTRY64_OFFSET if mode is Mode.LONG else 0),
        tuple(pieces),
        registers={"rsi": layout.BOOT_INFO_BASE},
        state=None if mode is Mode.LONG else entry.LINUX32,
    )


def _check_room(start: int, end: int, name: str, boot: Boot) -> None:
    """The kernel decompresses itself into memory that nobody else may use."""
    for area in boot.memory_map:
        if area.usable and area.base <= start and end <= area.base + area.size_bytes:
            return
    raise LoadError(
        name,
        f"needs RAM at {start:#x}..{end:#x}; --memory {-(-end // layout.MIB)}M has it"
        if end <= layout.RAM_HOLE_BASE
        else f"wants to be loaded at {start:#x}..{end:#x}, where no RAM can be",
    )


def _real(data: bytes, header: Header, name: str, boot: Boot) -> Image:
    """A file entered behind its first sector, in 16-bit mode, as by a boot loader on a PC."""
    is_old = header.version < FIRST_WITH_POINTER
    base = OLD_REAL_BASE if is_old or not header.is_high else REAL_BASE
    heap_end = HEAP_END if header.is_high else LOW_HEAP_END
    load = HIGH_LOAD if header.is_high else LOW_LOAD
    kernel = data[header.code_offset :]
    if header.code_offset > heap_end:
        raise LoadError(name, f"has a 16-bit part of {header.code_offset} bytes, too large by far")
    end = load + len(kernel)
    if not header.is_high and end > base:
        raise LoadError(name, f"is a zImage that ends at {end:#x}, where its 16-bit part lies")
    _check_room(load, end, name, boot)
    initrd = boot.initrd_base(max(end, layout.HIGH_BASE), header.initrd_addr_max, name)
    setup = bytearray(data[: header.code_offset])
    _fill(setup, header, boot, initrd, heap_end)
    pieces = [(base, bytes(setup)), (load, kernel)]
    if boot.initrd:
        pieces.append((initrd, boot.initrd))
    if is_old:
        pieces.append((base + heap_end, boot.command_line + b"\0"))
    state = _real_state(base >> 4)
    return Image(
        name, Mode.REAL, state.cs.base, tuple(pieces), registers={"rsp": heap_end}, state=state
    )


def _fill(setup: bytearray, header: Header, boot: Boot, initrd: int, heap_end: int) -> None:
    """What a loader writes into the header of a kernel that is entered in 16-bit mode."""
    setup[TYPE_OF_LOADER] = LOADER_UNDEFINED
    struct.pack_into("<II", setup, RAMDISK_IMAGE, initrd, len(boot.initrd))
    if header.version >= FIRST_WITH_HEAP:
        struct.pack_into("<H", setup, HEAP_END_PTR, heap_end - 0x200)
        setup[LOADFLAGS] |= CAN_USE_HEAP
    if header.version >= FIRST_WITH_POINTER:
        struct.pack_into("<I", setup, CMD_LINE_PTR, layout.COMMAND_LINE_BASE)
    else:
        struct.pack_into("<HH", setup, OLD_COMMAND_LINE, OLD_COMMAND_LINE_MAGIC, heap_end)
        size_bytes = heap_end + len(boot.command_line) + 1
        struct.pack_into("<H", setup, SETUP_MOVE_SIZE, size_bytes)


@cache
def _real_state(segment: int) -> SpecialRegisters:
    """CS one sector behind the others, which all are where the file begins."""
    return entry.real(segment + 0x20, segment)


def zero_page(header: Header, boot: Boot, initrd: int) -> bytes:
    """The struct boot_params for the kernel. Source: zero-page.rst."""
    page = bytearray(layout.PAGE_SIZE)
    page[SETUP_HEADER : SETUP_HEADER + len(header.raw)] = header.raw
    page[TYPE_OF_LOADER] = LOADER_UNDEFINED
    struct.pack_into("<I", page, CODE32_START, header.load & 0xFFFF_FFFF)
    struct.pack_into("<Q", page, ACPI_RSDP_ADDR, boot.rsdp)
    struct.pack_into("<II", page, RAMDISK_IMAGE, initrd, len(boot.initrd))
    struct.pack_into("<I", page, CMD_LINE_PTR, layout.COMMAND_LINE_BASE)
    entries = boot.memory_map[:E820_MAX]
    page[E820_COUNT] = len(entries)
    for index, area in enumerate(entries):
        kind = E820_RAM if area.usable else E820_RESERVED
        offset = E820_TABLE + index * _E820_ENTRY.size
        _E820_ENTRY.pack_into(page, offset, area.base, area.size_bytes, kind)
    return bytes(page)
