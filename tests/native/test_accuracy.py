"""What is only approximately defined, held to the manual's bounds by mpmath's numbers: the x87
unit's transcendental functions and RCP and RSQRT; by the host's own units and without them."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import emulib
import mpmath
import pytest
from asm import assemble
from cffi import FFI
from emulib import Machine

CONTROL = 0x37F  # all masked, to nearest, 64 bits
CASES, FULL = 300, 30_000
BIAS = 0x3FFF
BUILDS = {"fast": ["-O2"], "portable": emulib.PORTABLE}
FP80 = """
    struct emu_st { uint64_t mantissa; uint16_t exponent; };
    uint16_t fp80_function(uint16_t control, int function, struct emu_st st[2]);
"""
QUARTER_PI, FYL2XP1_MAX = 0.7853, 1 - math.sqrt(2) / 2

mpmath.mp.prec = 256
mp: Any = mpmath.mp


@pytest.fixture(scope="module", params=BUILDS)
def build(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def library(build: str) -> tuple[FFI, Any]:
    """The emulator with its inner functions."""
    ffi = FFI()
    ffi.cdef(emulib.declarations() + FP80)
    return ffi, ffi.dlopen(str(emulib.build(BUILDS[build])))


@pytest.fixture
def machine(library: tuple[FFI, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(emulib, "load", lambda: library)
    with Machine() as machine:
        yield machine


def number(mantissa: int, exponent: int) -> Any:
    """What the bits of a register are."""
    sign = -1 if exponent & 0x8000 else 1
    return sign * mp.ldexp(mp.mpf(mantissa), (exponent & 0x7FFF) - BIAS - 63)


def bits(rng: random.Random, low: int, high: int, limit: float) -> tuple[int, int]:
    """A register's bits: 2^low to 2^high in size, not above the limit, of any sign."""
    while True:
        mantissa, exponent = 1 << 63 | rng.getrandbits(63), BIAS + rng.randrange(low, high)
        if number(mantissa, exponent) <= limit:
            return mantissa, exponent | rng.choice([0, 0x8000])


def ulps(result: tuple[int, int], exact: Any) -> float:
    """How far a result is from the exact number, in units of that one's last place."""
    _, exponent = mp.frexp(exact)
    return float(abs(number(*result) - exact) / mp.ldexp(1, exponent - 64))


# By the low bits of D9 F0 to D9 FF: name, operands (sizes and limit of st0 and st1), the
# functions that st0 and st1 come to be. Ranges: Intel SDM vol. 1 §8.3.8 to 8.3.10, vol. 2A;
# beyond a quarter of pi a processor's own value of pi is seen.
Range = tuple[int, int, float]
SMALL: Range = (-60, 0, QUARTER_PI)
WIDE: Range = (-60, 62, math.inf)
FUNCTIONS: dict[str, tuple[int, Range, Range | None, tuple[Callable[..., Any], ...]]] = {
    "f2xm1": (0, (-60, 0, 1.0), None, (lambda x: mp.expm1(x * mp.ln(2)),)),
    "fyl2x": (1, (-200, 200, math.inf), (-60, 60, math.inf), (lambda x, y: y * mp.log(x, 2),)),
    "fyl2x near 1": (1, (-1, 1, math.inf), (-60, 60, math.inf), (lambda x, y: y * mp.log(x, 2),)),
    "fptan": (2, SMALL, None, (lambda x: mp.mpf(1), mp.tan)),
    "fpatan": (3, (-60, 60, math.inf), (-60, 60, math.inf), (lambda x, y: mp.atan2(y, x),)),
    "fyl2xp1": (9, (-60, -1, FYL2XP1_MAX), (-60, 60, math.inf), (
        lambda x, y: y * mp.log1p(x) / mp.ln(2),
    )),
    "fsincos": (11, SMALL, None, (mp.cos, mp.sin)),
    "fsin": (14, SMALL, None, (mp.sin,)),
    "fcos": (15, SMALL, None, (mp.cos,)),
}  # fmt: skip
CIRCULAR = ("fptan", "fsincos", "fsin", "fcos")


@pytest.mark.timeout(1200)  # it builds the emulator
@pytest.mark.parametrize("name", FUNCTIONS)
def test_x87_functions_are_within_one_ulp(
    name: str, build: str, library: tuple[FFI, Any], full: bool
) -> None:
    ffi, lib = library
    function, first, second, exact = FUNCTIONS[name]
    if build == "portable" and name in CIRCULAR:
        first = WIDE
    rng, worst = random.Random(name), 0.0
    for _ in range(FULL if full else CASES):
        st = [bits(rng, *first), bits(rng, *(second or first))]
        if function == 1:
            st[0] = st[0][0], st[0][1] & 0x7FFF
        operands = [number(*each) for each in st[: 2 if second else 1]]
        registers = ffi.new("struct emu_st[2]", st)
        lib.fp80_function(CONTROL, function, registers)
        for register, value in zip(registers, exact, strict=False):
            error = ulps((register.mantissa, register.exponent), value(*operands))
            assert error <= 1, f"{error} ulp at {operands}"
            worst = max(worst, error)
    print(f"{name}, {build}: {worst:.4f} ulp")


LOOP = """
again:
    movups xmm0, [rsi]
    rcpps xmm1, xmm0
    rsqrtps xmm2, xmm0
    rcpss xmm3, xmm0
    rsqrtss xmm4, xmm0
    movups [rsi + 0x10000], xmm1
    movups [rsi + 0x20000], xmm2
    movss [rsi + 0x30000], xmm3
    movss [rsi + 0x34000], xmm4
    add rsi, 16
    dec ecx
    jnz again
    hlt
"""
FLOATS, COUNT = 0x4_0000, 4096


def approximations(machine: Machine, floats: bytes) -> dict[str, list[float]]:
    """What RCP and RSQRT make of floats; of the scalar forms, every fourth."""
    machine.write(0x8000, assemble(LOOP, 0x8000))
    machine.write(FLOATS, floats)
    machine.enter("long", 0x8000, rsi=FLOATS, rcx=COUNT // 4)
    assert machine.run() == "HALT"
    offsets = {"rcpps": 0x10000, "rsqrtps": 0x20000, "rcpss": 0x30000, "rsqrtss": 0x34000}
    return {
        name: list(struct.unpack(f"{COUNT}f", machine.read(FLOATS + offset, 4 * COUNT)))
        for name, offset in offsets.items()
    }


def test_approximations_are_within_the_manual_s_bound(machine: Machine, build: str) -> None:
    rng = random.Random(0)
    raw = [(127 + rng.randrange(-125, 126)) << 23 | rng.getrandbits(23) for _ in range(COUNT)]
    floats = struct.pack(f"{COUNT}I", *raw)
    operands = struct.unpack(f"{COUNT}f", floats)
    results, bound = approximations(machine, floats), 1.5 * 2**-12
    for index, x in enumerate(operands):
        scalar = index % 4 == 0
        for name in ("rcpps", "rcpss")[: 2 if scalar else 1]:
            assert abs(results[name][index] * x - 1) <= bound, (name, x)
        for name in ("rsqrtps", "rsqrtss")[: 2 if scalar else 1]:
            assert abs(results[name][index] * math.sqrt(x) - 1) <= bound, (name, x)


def test_approximations_of_special_values(machine: Machine) -> None:
    specials = [0.0, -0.0, math.inf, -math.inf, 2.0**-140, -(2.0**-140), math.nan, -1.0]
    floats = struct.pack(f"{COUNT}f", *specials * (COUNT // 8))
    results = approximations(machine, floats)
    inf = math.inf
    assert results["rcpps"][:6] == [inf, -inf, 0.0, -0.0, inf, -inf]
    assert [math.copysign(1, x) for x in results["rcpps"][2:4]] == [1, -1]
    assert results["rsqrtps"][:3] == [inf, -inf, 0.0] and results["rsqrtps"][4:6] == [inf, -inf]
    assert all(math.isnan(results["rsqrtps"][n]) for n in (3, 6, 7))
    assert math.isnan(results["rcpps"][6])
