"""The comparison with the real processor for SSE and AVX floating point.

python tests/native/differential_float.py SEED BATCHES [NAME...]

Set EMU_CFLAGS to "-O2 -DEMU_FP_PORTABLE" to compare what computes without the host's help.
RCPxx and RSQRTxx are the host's own instructions elsewhere; there they are not compared.
"""

from __future__ import annotations

import functools
import os
import random
import struct
import sys

import differential
import differential_simd
from differential import FX
from encodings_float import ROWS
from encodings_simd import VectorRow

PORTABLE = "EMU_FP_PORTABLE" in os.environ.get("EMU_CFLAGS", "")
APPROXIMATE = ("rcp", "rsqrt")
MASKS, FLAGS = 0x1F80, 0x3F
LAYOUT = {16: (5, 10), 32: (8, 23), 64: (11, 52)}  # bits of exponent and fraction


def number(rng: random.Random, bits: int) -> int:
    """A float's bits: anything, but mostly near what makes a difference."""
    exponent_bits, fraction_bits = LAYOUT[bits]
    top, full = (1 << exponent_bits) - 1, (1 << fraction_bits) - 1
    bias = top >> 1
    exponent = rng.choice(
        [0, top, top - 1, 1, bias + rng.randrange(-4, 5), bias + rng.randrange(70)]
        + [rng.randrange(top + 1)] * 3
    )
    fraction = rng.choice(
        [0, 1, full, 1 << (fraction_bits - 1), 1 << rng.randrange(fraction_bits)]
        + [rng.getrandbits(fraction_bits), full << rng.randrange(fraction_bits) & full] * 2
    )
    return rng.getrandbits(1) << (bits - 1) | min(exponent, top) << fraction_bits | fraction


def vector(rng: random.Random) -> bytes:
    """Thirty-two bytes of floats, seldom of integers."""
    if rng.random() < 0.1:
        return differential_simd.vector(rng, 32)
    bits = rng.choice([32, 32, 32, 64, 64, 64, 16])
    few = [number(rng, bits) for _ in range(2)]
    numbers = [
        rng.choice(few) if rng.random() < 0.2 else number(rng, bits) for _ in range(256 // bits)
    ]
    return b"".join(value.to_bytes(bits // 8, "little") for value in numbers)


def control(rng: random.Random) -> int:
    """An MXCSR: all masked, as programs have it, or some exceptions unmasked."""
    value = rng.getrandbits(16) & ~MASKS
    value &= ~FLAGS if rng.random() < 0.5 else ~0
    return value | (rng.choice([0, rng.getrandbits(16)]) & MASKS if rng.random() < 0.4 else MASKS)


def make_case(rng: random.Random, index: int, rows: list[VectorRow]) -> differential.Case:
    """A random instruction on random floats."""
    case = differential_simd.make_case(rng, index, rows)
    same = vector(rng)
    area = bytearray(case.vectors)
    for register in range(16):
        area[32 * register : 32 * register + 32] = same if rng.random() < 0.2 else vector(rng)
    struct.pack_into("<I", area, FX + 24, control(rng))
    case.vectors = bytes(area)
    case.scratch = b"".join(vector(rng) for _ in range(len(case.scratch) // 32))
    case.skip = PORTABLE and case.row.name in APPROXIMATE
    return case


def maker(rows: list[VectorRow]) -> differential.Make:
    """For differential.failures: draws from these rows."""
    return functools.partial(make_case, rows=rows)


def main() -> None:
    """Run batches from the command line."""
    names = sys.argv[3:]
    differential.main(maker([row for row in ROWS if not names or row.name in names]))


if __name__ == "__main__":
    main()
