"""A case of `differential_rows`: an instruction, the state before it, and where its memory lies."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

# Where a case's memory lies: see differential_rows, which maps the pages.
SCRATCH, EDGES, LANDING = 0x30_0000, 0x38_0000, 0x1F_8000
AREA_BYTES, ANCHOR, EDGE_KINDS = 1024, 512, 4
FS_BASE, GS_BASE = 0x5_1230, 2**64 - 0x1_0010
UNMAPPED, NOT_CANONICAL = 0x7F_0000_0000, 0x8000_0001_0000
MASK64, MASK32 = 2**64 - 1, 2**32 - 1
X87, MMX, SSE, AVX, FWAIT, SSE_FP, AVX_FP = range(1, 8)
STATUS, DF, NT, AC, ID = 0x8D5, 0x400, 0x4000, 0x4_0000, 0x20_0000
USER_CODE, USER_DATA = 0x33, 0x2B
CLEAN_X87 = struct.pack("<HHBBH16x", 0x37F, 0, 0, 0, 0)
XSAVE_BYTES = 832
FILL = 0x06  # no instruction in 64-bit code


@dataclass
class Case:
    """One instruction and the state before it."""

    number: int  # decides where its memory and its record lie
    code: bytes
    registers: list[int]
    flags: int = 2
    memory: bytes = bytes(AREA_BYTES)
    xsave: bytes = b""  # an image of x87, SSE and AVX state, or nothing
    row: int = -1
    form: bool = False  # the memory form
    relative: int | None = None  # where a displacement from the end lies in the code
    target: int = 0  # what that leads to
    operand: int = 0  # linear address of the memory operand, where there is one
    cross: int = 0  # this many bytes before the end of a page
    pads: bool = False  # a branch: space around it to land in
    start: int = 0
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def area(self) -> int:
        """Where the case's memory begins."""
        return area(self.number)


def area(number: int) -> int:
    """Every fourth area has a page's border in its middle; behind some there is another page."""
    if number % 16 == 5:
        return EDGES + number // 16 * 0x2000 + 0x1000 - ANCHOR
    return SCRATCH + number * AREA_BYTES - ANCHOR


def edge_kind(number: int) -> int | None:
    """What the second half of an area may be used for: see differential_rows.tables."""
    return number // 16 % EDGE_KINDS if number % 16 == 5 else None
