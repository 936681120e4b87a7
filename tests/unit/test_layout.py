"""The address map agrees with itself and with its documentation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pykvm import layout
from pykvm.loader import entry

DOC = Path(__file__).parents[2] / "docs" / "architecture.md"


@pytest.mark.parametrize("ranges", [layout.GPA_MAP, layout.PORT_MAP], ids=["gpa", "port"])
def test_ranges_are_in_order_and_do_not_overlap(ranges: tuple[layout.Range, ...]) -> None:
    for first, second in pairwise(sorted(ranges, key=lambda each: each.base)):
        assert first.base + first.size_bytes <= second.base, (first.name, second.name)


@pytest.mark.parametrize("row", [*layout.GPA_MAP, *layout.PORT_MAP], ids=lambda row: row.name)
def test_the_documented_map_is_the_one_in_force(row: layout.Range) -> None:
    line = (
        f"| `{row.base:#x}` to `{row.base + row.size_bytes - 1:#x}` | {row.name} | {row.meaning} |"
    )
    assert line in DOC.read_text().splitlines()


def test_built_tables_fit_their_places() -> None:
    sizes = {each.name: each.size_bytes for each in layout.GPA_MAP}
    assert len(entry.gdt()) == entry.GDT_SIZE <= sizes["GDT"]
    assert len(entry.tss()) == entry.TSS_FIXED_SIZE < entry.TSS_SIZE <= sizes["TSS"]
    assert len(entry.page_tables()) == sizes["PML4"] + sizes["PDPT"] + sizes["PD"]


def test_the_gdt_has_the_order_that_sysret_needs() -> None:
    assert layout.DATA_SELECTOR == layout.CODE64_SELECTOR + 8
    assert layout.USER_DATA_SELECTOR == layout.USER_CODE32_SELECTOR + 8
    assert layout.USER_CODE64_SELECTOR == layout.USER_CODE32_SELECTOR + 16
