"""The memory map that a machine reports to a guest that asks for one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pykvm import layout
from pykvm.memory import Region

E820_RAM, E820_RESERVED = 1, 2  # Source: ACPI 6.5 §15.4, address range types


class MapEntry(NamedTuple):
    """One range of RAM: [base, base + size_bytes), free to use or reserved."""

    base: int
    size_bytes: int
    usable: bool


def memory_map(regions: Iterable[Region], *, acpi: bool = False) -> list[MapEntry]:
    """RAM in order of address, as on a PC.

    From the extended BIOS data area to 1 MiB nothing is usable, though memory is there;
    what the guest cannot write is left out.

    Args:
        acpi: whether ACPI tables are there, which the guest shall not overwrite.
    """
    entries = []
    for region in regions:
        if region.readonly:
            continue
        below, above = min(region.end, layout.EBDA_BASE), max(region.gpa, layout.HIGH_BASE)
        if region.gpa < below:
            entries.append(MapEntry(region.gpa, below - region.gpa, True))
        if region.gpa <= layout.EBDA_BASE < region.end:
            entries.append(MapEntry(layout.EBDA_BASE, layout.EBDA_SIZE, False))
            if acpi:
                entries.append(MapEntry(layout.ACPI_BASE, layout.ACPI_SIZE, False))
        if above < region.end:
            entries.append(MapEntry(above, region.end - above, True))
    return entries


def available_kib(entries: Iterable[MapEntry], base: int) -> int:
    """What multiboot calls lower and upper memory: KiB from `base` to the first hole."""
    return sum(each.size_bytes for each in entries if each.usable and each.base == base) >> 10
