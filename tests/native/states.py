"""The states that `generate` puts its instructions into: pools of values, images of registers."""

from __future__ import annotations

import functools
import random
import struct

import differential
import differential_float
import differential_simd
import differential_x87
from cases import AVX_FP, CLEAN_X87, FWAIT, MMX, SSE_FP, X87


class Pools:
    """Values that are dear to make, for cases to draw from."""

    def __init__(self) -> None:
        rng = random.Random(20)
        self.values = [differential.value(rng) for _ in range(8192)]
        vectors = [differential_simd.vector(rng, 32) for _ in range(8192)]
        floats = [differential_float.vector(rng) for _ in range(8192)]
        self.low, self.high = [v[:16] for v in vectors], [v[16:] for v in vectors]
        self.float_low, self.float_high = [v[:16] for v in floats], [v[16:] for v in floats]
        self.vectors, self.floats = b"".join(vectors), b"".join(floats)
        self.x87 = [differential_x87.image_before(rng)[:160] for _ in range(4096)]
        kinds = [differential_x87._operand(rng, rng.randrange(11)) for _ in range(16384)]
        self.operands = b"".join(kind[:10].ljust(10, b"\0") for kind in kinds)
        self.controls = [differential_float.control(rng) for _ in range(4096)]


@functools.cache
def pools() -> Pools:
    """Made when first asked for."""
    return Pools()


def pick(rng: random.Random, blob: bytes, size: int) -> bytes:
    """A piece of a pool."""
    at = int(rng.random() * (len(blob) - size))
    return blob[at & ~15 : (at & ~15) + size]


def state_image(rng: random.Random, unit: int) -> bytes:
    """An XSAVE image in which a unit's instructions find something."""
    pool = pools()
    floats = unit in (SSE_FP, AVX_FP) and rng.random() < 0.9
    low, high = (pool.float_low, pool.float_high) if floats else (pool.low, pool.high)
    head, st = CLEAN_X87, bytes(128)
    if unit in (X87, FWAIT, MMX, 0) or rng.random() < 0.1:
        image = rng.choice(pool.x87)
        head, st = image[:24], image[32:160]
        if unit == MMX:
            head = head if rng.random() < 0.3 else CLEAN_X87
            st = b"".join(rng.choice(pool.low)[:8] + bytes(8) for _ in range(8))
    mxcsr = rng.choice(pool.controls) if unit in (SSE_FP, AVX_FP, 0) else 0x1F80
    if rng.random() < 0.15:  # equal registers
        same = rng.randrange(len(low))
        lows, highs = [low[same]] * 16, [high[same]] * 16
    else:
        lows, highs = rng.choices(low, k=16), rng.choices(high, k=16)
    legacy = head + struct.pack("<II", mxcsr, 0xFFFF) + st + b"".join(lows) + bytes(96)
    return legacy + struct.pack("<Q56x", 7) + b"".join(highs)
