"""The setup header of a bzImage or zImage, whichever version of the boot protocol it has.

Source: Documentation/arch/x86/boot.rst of Linux, "The real-mode header", cited as boot.rst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pykvm.errors import LoadError
from pykvm.loader.image import Mode

SECTOR_SIZE = 512
DEFAULT_SETUP_SECTORS = 4  # boot.rst: what 0 means
MIN_VERSION = 0x0200
HIGH_LOAD, LOW_LOAD = 0x10_0000, 0x1_0000  # of a bzImage and a zImage

SETUP_HEADER = 0x1F1  # offsets in the file, and in the zero page
HEADER_END_BYTE = 0x201
HEADER_MAGIC_OFFSET = 0x202
MAGIC = b"HdrS"

LOADED_HIGH = 1 << 0
XLF_KERNEL_64 = 1 << 0


@dataclass(frozen=True)
class _Field:
    """A field of the header: since which version, and what holds for files that are older."""

    offset: int
    form: str
    since: int
    older: int = 0


_FIELDS = {
    "syssize": _Field(0x1F4, "<I", 0x204),
    "loadflags": _Field(0x211, "<B", 0x200),
    "code32_start": _Field(0x214, "<I", 0x200),
    "initrd_addr_max": _Field(0x22C, "<I", 0x203, 0x37FF_FFFF),
    "xloadflags": _Field(0x236, "<H", 0x20C),
    "cmdline_size": _Field(0x238, "<I", 0x206, 255),
    "pref_address": _Field(0x258, "<Q", 0x20A, HIGH_LOAD),
    "init_size": _Field(0x260, "<I", 0x20A),
}


@dataclass(frozen=True)
class Header:
    """The fields that a loader reads. Source: boot.rst, "Details of Header Fields".

    Attributes:
        raw: the whole header, as it goes into the zero page.
        version: of the protocol: 0x20c is 2.12.
        code_offset: of the protected-mode kernel in the file.
        is_high: a bzImage, whose kernel goes above 1 MiB.
        is_64_bit: whether it has a 64-bit entry.
        code32_start: where its 16-bit part enters its 32-bit part.
        load: where the kernel would be best.
        init_size: how much memory it needs there until it is decompressed; 0 where it does not say.
        initrd_addr_max: the highest address that a byte of the RAM disk may have.
        cmdline_size: the longest command line.
    """

    raw: bytes
    version: int
    code_offset: int
    is_high: bool
    is_64_bit: bool
    code32_start: int
    load: int
    init_size: int
    initrd_addr_max: int
    cmdline_size: int

    @property
    def mode(self) -> Mode:
        """The best of its entries where there is no BIOS.

        Kernels that say how much memory they need (2.10) are entered in 32-bit mode: what their
        16-bit part would do is ask the BIOS. Before that, many a program that is no Linux has this
        header, and does all its work in the 16-bit part.
        """
        if self.is_64_bit:
            return Mode.LONG
        return Mode.PROTECTED if self.init_size and self.is_high else Mode.REAL


def is_bzimage(data: bytes) -> bool:
    """Whether a file has the setup header's magic number."""
    return data[HEADER_MAGIC_OFFSET : HEADER_MAGIC_OFFSET + 4] == MAGIC


def read_header(data: bytes, name: str) -> Header:
    """A file's setup header, checked.

    Raises:
        LoadError: too old, truncated, or with numbers that cannot be.
    """
    if len(data) <= 2 * SECTOR_SIZE:
        raise LoadError(name, "is truncated: it ends with its setup header")
    (version,) = struct.unpack_from("<H", data, 0x206)
    end = HEADER_MAGIC_OFFSET + data[HEADER_END_BYTE]
    if version < MIN_VERSION:
        raise LoadError(name, f"has boot protocol {version:#x}; 2.00 is the oldest known")
    values = {key: _value(data, field, version) for key, field in _FIELDS.items()}
    needed = max(f.offset + struct.calcsize(f.form) for f in _FIELDS.values() if f.since <= version)
    if end < needed:
        raise LoadError(name, "is malformed: its setup header ends too early")
    sectors = data[SETUP_HEADER] or DEFAULT_SETUP_SECTORS
    code_offset = (sectors + 1) * SECTOR_SIZE
    _check_size(len(data), code_offset, values["syssize"], version, name)
    return Header(
        raw=data[SETUP_HEADER:end],
        version=version,
        code_offset=code_offset,
        is_high=bool(values["loadflags"] & LOADED_HIGH),
        is_64_bit=bool(values["xloadflags"] & XLF_KERNEL_64),
        code32_start=values["code32_start"],
        load=values["pref_address"],
        init_size=values["init_size"],
        initrd_addr_max=values["initrd_addr_max"],
        cmdline_size=values["cmdline_size"],
    )


def _value(data: bytes, field: _Field, version: int) -> int:
    if version < field.since:
        return field.older
    return int(struct.unpack_from(field.form, data, field.offset)[0])


def _check_size(file_size: int, code_offset: int, syssize: int, version: int, name: str) -> None:
    """syssize counts 16 bytes each; before 2.04 it has two bytes only, and means little."""
    if version < _FIELDS["syssize"].since:
        syssize = 1
    if not syssize or file_size - code_offset < 16 * syssize - 15:
        raise LoadError(
            name,
            f"is truncated: {file_size} bytes, of a kernel that ends at byte "
            f"{code_offset + 16 * syssize}",
        )
