"""Where AMD's and Intel's processors differ, by name: what each does, and in which cases.

The emulator does as Intel's manual says, and where that is open as Intel's processors do. So on a
host of Intel's nothing here is excused; on one of AMD's exactly what a row says: its instruction,
and the parts of a result that come out otherwise. recorded/differences.jsonl has a case for each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from cases import AVX, AVX_FP, MMX, SSE, SSE_FP, X87
from rows import LONGEST, MAPS, C, Row, decoder

INTEL, AMD = "intel", "amd"
FOLLOWED = INTEL
VENDORS = {"GenuineIntel": INTEL, "AuthenticAMD": AMD, "HygonGenuine": AMD}
# What a result consists of. A fault is vector, error code, rip and, for #PF, CR2.
PARTS = ("fault", "flags", "registers", "memory", "state")
UD, SS, GP, PF, AC = 6, 12, 13, 14, 17
VECTORS = (SSE, SSE_FP, AVX, AVX_FP)
IMAGES = ((1, 0xAE), (1, 0xC7))

# Features of the emulator's that programs see, as /proc/cpuinfo calls them.
FEATURES = {
    *(
        "pni",
        "ssse3",
        "sse4_1",
        "sse4_2",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "aes",
        "pclmulqdq",
        "sha_ni",
    ),
    *("bmi1", "bmi2", "adx", "abm", "movbe", "popcnt", "cx16", "lahf_lm", "fsgsbase", "rdpid"),
    *("xsave", "xsaveopt", "xsavec", "xsaves", "clflushopt", "clwb", "3dnowprefetch"),
}


@functools.cache
def processor() -> dict[str, str]:
    """The first of /proc/cpuinfo."""
    text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    lines = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def maker() -> str:
    """Who made the host's processor: INTEL, AMD, or another's name."""
    vendor = processor().get("vendor_id", "")
    return VENDORS.get(vendor, vendor)


def lacking() -> str:
    """Why the host's processor cannot judge the emulator: instructions that it does not have."""
    lacks = sorted(FEATURES - set(processor().get("flags", "").split()))
    return f"this processor lacks {', '.join(lacks)}" if lacks else ""


class Seen(NamedTuple):
    """A case, and what came of it on the processor and in the emulator."""

    row: Row
    case: Any  # has code, and mostly registers
    cpu: Sequence[Any]  # PARTS
    emu: Sequence[Any]

    def vectors(self) -> tuple[int | None, int | None]:
        """Of their faults; None where there was none."""
        return (self.cpu[0] or (None,))[0], (self.emu[0] or (None,))[0]

    def same_place(self) -> bool:
        """Whether both faulted at the same rip."""
        return bool(self.cpu[0] and self.emu[0] and self.cpu[0][2] == self.emu[0][2])


@dataclass(frozen=True)
class Difference:
    """One row: what each maker does, where, and the parts of a result that show it."""

    name: str
    intel: str
    amd: str
    applies: Callable[[Seen], bool] = field(repr=False)
    parts: tuple[str, ...]


def opcode(row: Row) -> tuple[int, int]:
    """Its map and opcode."""
    return row.map, row.opcode


def unit(row: Row) -> int:
    """X87, MMX and so on, or 0."""
    return row.shape >> C["UNIT_SHIFT"] & C["UNIT"]


def _overridden(seen: Seen) -> bool:
    """Is there a prefix for ES, CS, SS or DS?"""
    prefixes = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3)
    for byte in seen.case.code:
        if byte in (0x26, 0x2E, 0x36, 0x3E):
            # Where the kernel executes it once more #GP may have become #UD.
            return {*seen.cpu[0][:1], *seen.emu[0][:1]} <= {UD, SS, GP} and seen.same_place()
        if byte not in prefixes and byte & 0xF0 != 0x40:
            break
    return False


def _gathers(seen: Seen) -> bool:
    """Both faulted alike, and nothing but the destination and the mask differ."""
    insn = decoder().out.insn
    mine = {start + 16 * number for number in (insn.reg, insn.src) for start in (160, 576)}
    differ = set(_differing(seen, 16))
    return seen.row.has("VSIB") and bool(seen.emu[0]) and differ <= mine


def _differing(seen: Seen, size: int) -> list[int]:
    """Where the states differ, in pieces of this size."""
    a, b = seen.cpu[4], seen.emu[4]
    return [at for at in range(0, len(a), size) if a[at : at + size] != b[at : at + size]]


def _is_nan(piece: bytes) -> bool:
    bits = 8 * len(piece)
    infinity = 0x7F800000 if bits == 32 else 0x7FF << 52
    return int.from_bytes(piece, "little") & ~(1 << bits - 1) > infinity


def _other_nans(seen: Seen) -> bool:
    """Nothing but NaNs differ, and they are NaNs on both."""
    size = 8 if seen.row.opcode == 0x41 else 4
    places = [(each[4], at) for each in (seen.cpu, seen.emu) for at in _differing(seen, size)]
    nans = all(_is_nan(state[at : at + size]) for state, at in places)
    return MAPS[seen.row.map].endswith("0f3a") and seen.row.opcode in (0x40, 0x41) and nans


def _stores_nothing(seen: Seen) -> bool:
    """The emulator has an exception pending now, and the processor looked at memory."""
    looked = unit(seen.row) == X87 and bool(seen.cpu[0]) and not seen.emu[0]
    return looked and bool(seen.emu[4][2] & 0x80)  # FSW.ES


def _marks_mmx(seen: Seen) -> bool:
    """Nothing but TOP, tags and what moves with TOP differ."""
    faulted = bool(seen.cpu[0]) and seen.same_place()
    differ = _differing(seen, 16)
    return unit(seen.row) == MMX and faulted and all(at < 160 for at in differ)


def _beyond_stack(seen: Seen) -> bool:
    """An operand that has to be aligned, through RSP or RBP; the kernel may have made it #UD."""
    aligned = unit(seen.row) in (SSE, SSE_FP, AVX) or opcode(seen.row) in IMAGES
    through_stack = decoder().out.insn.base in (4, 5)
    return (
        aligned and through_stack and seen.vectors() in ((SS, GP), (UD, GP)) and seen.same_place()
    )


STRINGS = (0xA4, 0xA5, 0xA6, 0xA7, *range(0xAA, 0xB0))


def _prefixes(code: bytes) -> bytes:
    """Those of 64-bit code, REX too."""
    known = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3, *range(0x40, 0x50))
    return bytes(takewhile(known.__contains__, code))


def _repeats_nothing(seen: Seen) -> bool:
    """A string instruction whose count of 32 bits is 0?"""
    prefixes = _prefixes(seen.case.code)
    repeats = 0xF2 in prefixes or 0xF3 in prefixes
    string = seen.row.map == 0 and seen.row.opcode in STRINGS
    return string and repeats and 0x67 in prefixes and not seen.case.registers[1] & 0xFFFF_FFFF


def _compares_up_to_a_fault(seen: Seen) -> bool:
    prefixes = _prefixes(seen.case.code)
    compares = opcode(seen.row) in ((0, 0xA6), (0, 0xA7), (0, 0xAE), (0, 0xAF))
    faults = bool(seen.cpu[0]) and seen.cpu[0] == seen.emu[0]
    return compares and faults and (0xF2 in prefixes or 0xF3 in prefixes)


def _calls_nowhere(seen: Seen) -> bool:
    near = opcode(seen.row) == (0, 0xFF) and seen.row.digit == 2
    return near and seen.vectors() == (GP, GP) and seen.same_place()


def _pops_a_segment(seen: Seen) -> bool:
    pops = opcode(seen.row) in ((1, 0xA1), (1, 0xA9))
    return pops and seen.vectors()[0] in (AC, SS, GP, PF) and seen.cpu[0] != seen.emu[0]


TABLE = [
    Difference(
        "gather that faults",
        intel="the mask is all ones or nothing in each element, and both registers are clear above",
        amd="elements to come and what lies above are as they were",
        applies=_gathers,
        parts=("state",),
    ),
    Difference(
        "DPPS and DPPD with several NaNs",
        intel="each element's sum begins with its own product, whose NaN counts",
        amd="one sum for all elements",
        applies=_other_nans,
        parts=("state",),
    ),
    Difference(
        "x87 store that an unmasked exception keeps from storing",
        intel="touches no memory",
        amd="the operand's fault first",
        applies=_stores_nothing,
        parts=("fault", "flags", "state"),
    ),
    Difference(
        "MMX store that faults",
        intel="leaves TOP and tags alone",
        amd="has gone to MMX state",
        applies=_marks_mmx,
        parts=("state",),
    ),
    Difference(
        "unaligned vectors of 16 and 32 bytes under alignment checks",
        intel="no #AC",
        amd="#AC",
        applies=lambda s: unit(s.row) in VECTORS and s.cpu[0][:1] == (AC,),
        parts=PARTS,
    ),
    Difference(
        "XSAVE and its kin, misaligned, under alignment checks",
        intel="#AC where the address is no doubleword's",
        amd="#GP",
        applies=lambda s: opcode(s.row) in IMAGES and s.vectors() == (GP, AC),
        parts=("fault",),
    ),
    Difference(
        "misaligned operand beyond SS",
        intel="#GP, for its alignment",
        amd="#SS",
        applies=_beyond_stack,
        parts=("fault",),
    ),
    Difference(
        "REP with a 32-bit address size and count 0",
        intel="clears the upper half of RCX, and of the pointers of MOVS and STOS",
        amd="leaves the registers alone",
        applies=_repeats_nothing,
        parts=("registers",),
    ),
    Difference(
        "REPE and REPNE with CMPS and SCAS that fault",
        intel="the flags from before the instruction",
        amd="the flags of the last comparison",
        applies=_compares_up_to_a_fault,
        parts=("flags",),
    ),
    Difference(
        "F3 and REX.B before 90",
        intel="PAUSE",
        amd="XCHG R8, RAX",
        applies=lambda s: opcode(s.row) == (0, 0x90) and s.row.has("PF3"),
        parts=("registers",),
    ),
    Difference(
        "near CALL to an address that is not canonical",
        intel="has stored the return address at its #GP",
        amd="has stored nothing",
        applies=_calls_nowhere,
        parts=("memory",),
    ),
    Difference(
        "POP FS and POP GS",
        intel="read two bytes",
        amd="read eight bytes, with their #AC, #SS and #PF",
        applies=_pops_a_segment,
        parts=("fault", "flags", "registers"),
    ),
    Difference(
        "MOVSXD with 66",
        intel="reads two bytes",
        amd="reads four bytes, with their faults",
        applies=lambda s: (
            opcode(s.row) == (0, 0x63) and 0x66 in _prefixes(s.case.code) and bool(s.cpu[0])
        ),
        parts=("fault", "flags", "registers"),
    ),
    Difference(
        "segment override that is ignored",
        intel="an address that is not canonical: #SS or #GP by the base register",
        amd="#SS or #GP by the prefix for ES, CS, SS or DS",
        applies=_overridden,
        parts=("fault",),
    ),
    Difference(
        "MONITOR and MWAIT at CPL 3",
        intel="#UD",
        amd="#GP",
        applies=lambda s: opcode(s.row) == (1, 0x01) and s.vectors() == (GP, UD),
        parts=("fault",),
    ),
    Difference(
        "MOV to a segment register that does not exist",
        intel="#UD before its operand is read",
        amd="the operand's fault first",
        applies=lambda s: opcode(s.row) == (0, 0x8E) and bool(s.cpu[0]) and s.emu[0][:1] == (UD,),
        parts=("fault",),
    ),
]


def row_of(code: bytes) -> Row | None:
    """The row that some bytes are, in 64-bit code."""
    found = decoder()
    found.length(64, code.ljust(LONGEST, b"\x90"))
    index = found.row()
    return None if index is None else found.table[index]


def named(case: Any, cpu: Sequence[Any], emu: Sequence[Any], by: str) -> str:
    """The name of the difference that two results show, if processors of this maker have it."""
    row = row_of(case.code)
    if by == FOLLOWED or row is None:
        return ""
    seen = Seen(row, case, cpu, emu)
    differ = {name for name, a, b in zip(PARTS, cpu, emu, strict=True) if a != b}
    for each in TABLE:
        if differ <= set(each.parts) and each.applies(seen):
            return each.name
    return ""
