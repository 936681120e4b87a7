"""What the headers of multiboot kernels say, whichever version of the specification they follow."""

from __future__ import annotations

from typing import NamedTuple

BOOT_LOADER_NAME = b"pykvm\0"


class Addresses(NamedTuple):
    """§3.1.3: where a file of any format goes; all are physical addresses."""

    header: int
    load: int
    load_end: int
    bss_end: int
    entry: int


class Header(NamedTuple):
    """What a kernel asks of its loader, by either version. §3.1.1 of both.

    Attributes:
        offset: in the file.
        flags: requirements in the low half, options in the high half.
        addresses: None where the file's own format has them.
        version: of the protocol.
        entry: where the header says that the kernel is entered, with or without addresses.
        place: of a kernel that can be moved: the lowest and the highest address of its bytes.
    """

    offset: int
    flags: int
    addresses: Addresses | None
    version: int = 1
    entry: int | None = None
    place: tuple[int, ...] | None = None
