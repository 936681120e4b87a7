"""The comparison with the real processor for vector instructions.

python tests/native/differential_simd.py SEED BATCHES [NAME...]
"""

from __future__ import annotations

import functools
import random
import struct
import sys

import differential
from differential import SCRATCH, SCRATCH_BYTES, STATUS_FLAGS, VECTOR_BYTES, Case
from encodings_simd import PREFIXES, ROWS, VectorRow

# One byte, word, doubleword or quadword of a vector.
EDGES = [0, 1, 2, 0x7F, 0x80, 0x81, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000]
EDGES += [(1 << 32) - 1, 1 << 63, (1 << 63) - 1, (1 << 64) - 1, 0x3F800000, 0x3FF << 52]
UNMAPPED, NOT_CANONICAL = 0x7F_0000_0000, 0x8000_0001_0000


def vector(rng: random.Random, size: int) -> bytes:
    """Random bytes, edges, small numbers, or few values often repeated (for comparisons)."""
    kind = rng.randrange(6)
    if kind < 2:
        return rng.randbytes(size)
    width = rng.choice([1, 2, 4, 8])
    mask = (1 << 8 * width) - 1
    if kind == 2:
        numbers = [rng.choice(EDGES) & mask for _ in range(size // width)]
    elif kind == 3:
        numbers = [rng.randrange(-40, 70) & mask for _ in range(size // width)]
    elif kind == 4:
        few = [rng.getrandbits(8 * width) for _ in range(3)]
        numbers = [rng.choice([*few, 0]) for _ in range(size // width)]
    else:
        numbers = [rng.getrandbits(8 * width)] * (size // width)
    return b"".join(number.to_bytes(width, "little") for number in numbers)


def _area(rng: random.Random, mxcsr: int) -> bytes:
    """Registers before the case, as differential.VECTORS_IN holds them."""
    same = vector(rng, 32)
    ymm = b"".join(same if rng.random() < 0.15 else vector(rng, 32) for _ in range(16))
    mmx = b"".join(vector(rng, 8).ljust(16, b"\0") for _ in range(8))
    return (ymm + bytes(24) + struct.pack("<II", mxcsr, 0) + mmx).ljust(VECTOR_BYTES, b"\0")


def _vex(row: VectorRow, rex: int, vvvv: int, long: int) -> bytes:
    """The two-byte form where it can say it; its W is 0."""
    pp = list(PREFIXES).index(row.prefix)
    last = (~vvvv & 15) << 3 | long << 2 | pp
    if row.map == 1 and not rex & 0xB and rex & 0x40:
        return bytes([0xC5, (0 if rex & 4 else 0x80) | last])
    return bytes([0xC4, (~rex & 7) << 5 | row.map, (0x80 if rex & 8 else 0) | last])


def make_case(rng: random.Random, number: int, rows: list[VectorRow], mxcsr: int = 0x1F80) -> Case:
    """A random vector instruction and state; now and then one that is not allowed."""
    row = rng.choice(rows)
    letters = row.letters
    form = rng.choice([c for c in letters if c in "lvyx"])
    base = SCRATCH + number * SCRATCH_BYTES
    registers = [differential.value(rng) for _ in range(16)]
    registers[4] = base + 128
    wide = 1 if "W" in letters else 0 if "w" in letters else rng.randrange(2)
    if rng.random() < 0.02 and "t" not in letters:
        wide ^= 1
    reg = rng.randrange(16) if row.extension is None else row.extension
    rex = (4 if reg & 8 else 0) | wide << 3
    memory = "m" in letters or ("r" not in letters and rng.random() < 0.4)
    # A kernel that emulates may take register forms of MOVNT* for something.
    if rng.random() < 0.01 and row.name != "movnt":
        memory = not memory
    area = bytearray(_area(rng, mxcsr))
    if memory and "g" not in letters:
        align = 32 if "b" in letters or (form != "x" and rng.random() < 0.7) else 1
        bits, modrm, tail = differential.memory_operand(rng, base, registers, reg, align)
        rex |= bits
        fault = rng.random()
        if fault < 0.03 and "b" not in letters:
            number_ = modrm[0] & 7 if len(modrm) == 1 else modrm[1] & 7
            registers[number_ | (rex & 1) << 3] = UNMAPPED if fault < 0.015 else NOT_CANONICAL
    elif memory:
        bits, modrm, tail = _gather(rng, base, registers, reg, row, area, form)
        rex |= bits
    else:
        rm = rng.randrange(16)
        rex |= 1 if rm & 8 else 0
        modrm, tail = bytes([0xC0 | (reg & 7) << 3 | (rm & 7)]), b""
    if "z" in letters:
        modrm, tail = b"", b""
    if "d" in letters:
        registers[7] = base + rng.randrange(64, 128)
    if "p" in letters:  # explicit lengths
        registers[0], registers[2] = rng.randrange(-20, 20), rng.randrange(-20, 20)
        registers[0] &= 2**64 - 1
        registers[2] &= 2**64 - 1
    immediate = bytes([rng.choice([rng.randrange(256), rng.randrange(256), rng.randrange(20)])])
    if "i" not in letters:
        immediate = b""
    if form in "vy":
        vvvv = rng.randrange(16) if "n" in letters else 0
        if rng.random() < 0.01:
            vvvv = rng.randrange(16)
        long = rng.randrange(2) if "s" in letters else int(form == "y")
        if rng.random() < 0.01 and "o" not in letters:
            long ^= 1
        if not rex & 8 and rng.random() < 0.5:
            rex |= 0x40
        code = _vex(row, rex, vvvv, long) + bytes([row.opcode])
        if rng.random() < 0.01:
            code = rng.choice([b"\x66", b"\xf3", b"\xf2", b"\xf0", b"\x48"]) + code
    else:
        code = PREFIXES[row.prefix] + (bytes([0x40 | rex]) if rex else b"") + b"\x0f"
        code += {1: b"", 2: b"\x38", 3: b"\x3a"}[row.map] + bytes([row.opcode])
        if rng.random() < 0.01:
            code = b"\xf0" + code
    flags = rng.getrandbits(12) & STATUS_FLAGS | 2
    scratch = b"".join(vector(rng, 32) for _ in range(SCRATCH_BYTES // 32))
    case = Case(row, code + modrm + tail + immediate, registers, flags, scratch, 0)
    case.vectors = bytes(area)
    return case


def _gather(
    rng: random.Random,
    base: int,
    registers: list[int],
    reg: int,
    row: VectorRow,
    area: bytearray,
    form: str,
) -> tuple[int, bytes, bytes]:
    """A vector of small indexes, and now and then one that faults."""
    index, pointer, scale = rng.randrange(16), rng.randrange(16), rng.randrange(4)
    registers[pointer] = base + 96
    width = 4 if row.opcode & 1 == 0 else 8
    for at in range(0, 32, width):
        number = rng.randrange(-64, 64) >> scale
        if rng.random() < 0.04 and (width == 8 or scale == 3):  # beyond what the tables map
            number = UNMAPPED if width == 8 else 0x7F000000 + rng.getrandbits(20)
        number &= (1 << 8 * width) - 1
        area[32 * index + at : 32 * index + at + width] = number.to_bytes(width, "little")
    disp = rng.randrange(-16, 16)
    rex = (1 if pointer & 8 else 0) | (2 if index & 8 else 0)
    sib = scale << 6 | (index & 7) << 3 | pointer & 7
    return rex, bytes([0x44 | (reg & 7) << 3, sib]), struct.pack("<b", disp)


def maker(rows: list[VectorRow]) -> differential.Make:
    """For differential.failures: draws from these rows."""
    return functools.partial(make_case, rows=rows)


def main() -> None:
    """Run batches from the command line."""
    names = sys.argv[3:]
    differential.main(maker([row for row in ROWS if not names or row.name in names]))


if __name__ == "__main__":
    main()
