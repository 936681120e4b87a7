"""Kernels made by hand: a bzImage and a PVH ELF file, right or wrong in any field.

Source: Documentation/arch/x86/boot.rst of Linux, "The real-mode header".
"""

from __future__ import annotations

import struct

from support.elf import Elf, Segment

HEADER_END = 0x26C
PT_NOTE = 4
LOAD = 0x100_0000
FIELDS = {
    "setup_sects": (0x1F1, "B", 1),
    "syssize": (0x1F4, "I", None),
    "boot_flag": (0x1FE, "H", 0xAA55),
    "jump": (0x201, "B", HEADER_END - 0x202),
    "header": (0x202, "4s", b"HdrS"),
    "version": (0x206, "H", 0x20F),
    "loadflags": (0x211, "B", 1),
    "initrd_addr_max": (0x22C, "I", 0x7FFF_FFFF),
    "xloadflags": (0x236, "H", 1),
    "cmdline_size": (0x238, "I", 2047),
    "pref_address": (0x258, "Q", LOAD),
    "init_size": (0x260, "I", 0x1000),
}


def bzimage(
    code: bytes = b"\xf4", code32: bytes = b"", code16: bytes = b"", **fields: int | bytes
) -> bytes:
    """A file whose 64-bit entry is the first byte of `code`.

    Args:
        code32: at its 32-bit entry.
        code16: behind its header, where the jump at its 16-bit entry leads.
    """
    kernel = code32.ljust(0x200, b"\0") + code
    kernel += bytes(-len(kernel) % 16)
    setup = bytearray(1024)
    setup[0x200] = 0xEB
    setup[HEADER_END : HEADER_END + len(code16)] = code16
    for name, (offset, form, usual) in FIELDS.items():
        value = fields.get(name, len(kernel) // 16 if usual is None else usual)
        struct.pack_into("<" + form, setup, offset, value)
    return bytes(setup) + kernel


def note(owner: bytes, kind: int, value: bytes) -> bytes:
    """One ELF note. Source: System V ABI, figure 5-3."""
    padded = [each + bytes(-len(each) % 4) for each in (owner, value)]
    return struct.pack("<3I", len(owner), len(value), kind) + b"".join(padded)


def pvh(code: bytes, load: int = 0x10_0000, entry: bytes | None = None) -> bytes:
    """An ELF kernel that is entered at its first byte."""
    notes = note(b"GNU\0", 18, b"abcd") + note(
        b"Xen\0", 18, load.to_bytes(4, "little") if entry is None else entry
    )
    return Elf((Segment(code, load), Segment(notes, load + 0x1000, type=PT_NOTE))).build()
