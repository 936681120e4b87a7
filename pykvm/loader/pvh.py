"""ELF kernels that are entered by PVH: in 32-bit mode, EBX pointing at the start information.

Source: Xen, docs/misc/pvh.pandoc (entry state) and xen/include/public/arch-x86/hvm/start_info.h
(structures); the entry point is in a note of the ELF file.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from pykvm import layout
from pykvm.errors import LoadError
from pykvm.loader import elf
from pykvm.loader.boot import Boot
from pykvm.loader.image import Image, Mode
from pykvm.loader.memory_map import E820_RAM, E820_RESERVED
from pykvm.registers import CR0_ET, CR0_PE

NOTE_OWNER = b"Xen\0"
XEN_ELFNOTE_PHYS32_ENTRY = 18
START_MAGIC = 0x336EC578
VERSION = 1  # the first with a memory map

_START_INFO = struct.Struct("<4I4QII")
_MODULE = struct.Struct("<4Q")
_MAP_ENTRY = struct.Struct("<QQII")


def load(data: bytes, name: str, boot: Boot) -> Image:
    """An ELF kernel with its start information.

    Raises:
        LoadError: malformed, without a PVH entry, or too large for this machine.
    """
    entry = entry_of(data, name)
    if entry is None:
        raise LoadError(
            name,
            "has no PVH entry point (ELF note Xen, type 18) and no multiboot header",
        )
    image = elf.load_elf(data, name, Mode.PROTECTED)
    initrd = boot.initrd_base(image.end, (1 << 32) - 1, name)
    pieces = (*image.pieces, (layout.BOOT_INFO_BASE, start_info(boot, initrd)))
    if boot.initrd:
        pieces = (*pieces, (initrd, boot.initrd))
    return replace(
        image,
        entry=entry,
        pieces=pieces,
        registers={"rbx": layout.BOOT_INFO_BASE, "cr0": CR0_PE | CR0_ET, "cr4": 0},
    )


def entry_of(data: bytes, name: str) -> int | None:
    """Where the note says that an ELF kernel is entered; None without one.

    Raises:
        LoadError: malformed.
    """
    for owner, kind, value in elf.notes(data, name):
        if (owner, kind) == (NOTE_OWNER, XEN_ELFNOTE_PHYS32_ENTRY) and len(value) >= 4:
            return int.from_bytes(value[:8], "little")
    return None


def start_info(boot: Boot, initrd: int) -> bytes:
    """struct hvm_start_info, and behind it the one module and the memory map."""
    modules = layout.BOOT_INFO_BASE + _START_INFO.size
    memory_map = modules + _MODULE.size
    return b"".join(
        (
            _START_INFO.pack(
                START_MAGIC, VERSION, 0, bool(boot.initrd), modules, layout.COMMAND_LINE_BASE,
                boot.rsdp, memory_map, len(boot.memory_map), 0,
            ),
            _MODULE.pack(initrd, len(boot.initrd), 0, 0),
            *(
                _MAP_ENTRY.pack(
                    each.base, each.size_bytes, E820_RAM if each.usable else E820_RESERVED, 0
                )
                for each in boot.memory_map
            ),
        )
    )  # fmt: skip
