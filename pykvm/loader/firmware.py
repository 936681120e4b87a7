"""Firmware images: they end at 4 GiB and are entered at the reset vector, as after power-on."""

from __future__ import annotations

from pykvm import layout
from pykvm.errors import LoadError
from pykvm.loader import entry
from pykvm.loader.image import Image, Mode

MAX_SIZE = 16 * layout.MIB  # below that there are APICs
LOW_SIZE = 128 * layout.KIB  # of its end, which is below 1 MiB too
RESET_VECTOR = 0xFFFF_FFF0  # Intel SDM vol. 3A §9.1.4
_RESET_BYTES = layout.RAM_HIGH_BASE - RESET_VECTOR
_P6_SIGNATURE = 0x600  # Intel SDM vol. 3A table 9-1: EDX


def rom_base(data: bytes, name: str) -> int:
    """Where the ROM begins that holds an image, in whole pages.

    Raises:
        LoadError: the image has no reset vector, or is too large.
    """
    if len(data) < _RESET_BYTES:
        raise LoadError(name, f"has {len(data)} bytes; firmware ends with a reset vector of 16")
    if len(data) > MAX_SIZE:
        raise LoadError(name, f"is larger than {MAX_SIZE >> 20} MiB, which firmware may have")
    return (layout.RAM_HIGH_BASE - len(data)) // layout.PAGE_SIZE * layout.PAGE_SIZE


def load(data: bytes, name: str) -> Image:
    """An image at the end of the first 4 GiB, and the last of it in RAM below 1 MiB."""
    low = data[-LOW_SIZE:]
    return Image(
        name,
        Mode.REAL,
        RESET_VECTOR,
        ((layout.RAM_HIGH_BASE - len(data), data), (layout.HIGH_BASE - len(low), low)),
        registers={"rsp": 0, "rdx": _P6_SIGNATURE},
        state=entry.RESET,
    )
