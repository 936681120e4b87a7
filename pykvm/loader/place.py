"""Putting an image into guest memory, once it is known to fit."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm import layout
from pykvm.errors import LoadError
from pykvm.loader import entry
from pykvm.loader.image import Image
from pykvm.memory import GuestMemory

Pieces = Sequence[tuple[int, bytes]]


def place(image: Image, memory: GuestMemory, *, beneath: Pieces = (), owed: Pieces = ()) -> None:
    """Write an image's pieces, clear its zeros, and write what it finds besides.

    Args:
        beneath: (gpa, bytes) that the image may cover.
        owed: (gpa, bytes) that it must not overlap.

    Raises:
        LoadError: a part is outside RAM or on a table that pykvm builds, or the entry
            cannot be reached in the image's mode; nothing is written then.
    """
    taken = [each[:3] for each in entry.built_ranges(image.mode)]
    taken += [(layout.name_of(gpa), gpa, len(data)) for gpa, data in owed]
    for gpa, size_bytes in image.extents:
        end = gpa + size_bytes
        if not memory.contains(gpa, size_bytes):
            raise LoadError(
                image.name, f"{gpa:#x}..{end:#x} is not all RAM; {_remedy(image, memory, end)}"
            )
        for name, base, built_bytes in taken:
            if gpa < base + built_bytes and base < end:
                raise LoadError(
                    image.name,
                    f"{gpa:#x}..{end:#x} overlaps {name} at {base:#x}, which pykvm "
                    f"builds; load or link it to {layout.LOAD_BASE:#x} or {layout.HIGH_BASE:#x}",
                )
    _check_entry(image, memory)
    for gpa, data in (*beneath, *image.pieces):
        memory.write(gpa, data)
    for gpa, size_bytes in image.zeros:
        memory.clear(gpa, size_bytes)
    for gpa, data in owed:
        memory.write(gpa, data)


def _remedy(image: Image, memory: GuestMemory, end: int) -> str:
    """How much memory would hold all of it; a hole stays one however much there is."""
    if layout.RAM_HOLE_BASE < end <= layout.RAM_HIGH_BASE:
        return f"{layout.RAM_HOLE_BASE:#x}..{layout.RAM_HIGH_BASE:#x} belongs to devices"
    end = image.end
    if end > layout.RAM_HIGH_BASE:
        end -= layout.RAM_HIGH_BASE - layout.RAM_HOLE_BASE
    needed_bytes = -(-end // layout.MIB) * layout.MIB
    if needed_bytes > layout.MAX_RAM_SIZE or needed_bytes <= memory.size_bytes:
        return "load or link it lower"
    return f"--memory {needed_bytes // layout.MIB}M would hold it"


def _check_entry(image: Image, memory: GuestMemory) -> None:
    limit = image.mode.entry_limit
    code_base = image.state.cs.base if image.state else 0
    if not 0 <= image.entry - code_base < limit:
        mode = image.mode.value
        raise LoadError(
            image.name,
            f"its entry {image.entry:#x} is not below {limit:#x}, where {mode} mode ends",
        )
    if not memory.contains(image.entry, 1):
        raise LoadError(image.name, f"its entry {image.entry:#x} is not in RAM")
