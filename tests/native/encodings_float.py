"""The floating-point instructions of SSE and AVX that the differential tester draws from.

The table is as in encodings_simd.
"""

from __future__ import annotations

from encodings_simd import parse

ARITHMETIC = """
sqrt np.0f.51.lvy 66.0f.51.lvy f3.0f.51.lvnsa f2.0f.51.lvnsa
rsqrt np.0f.52.lvy f3.0f.52.lvnsa
rcp np.0f.53.lvy f3.0f.53.lvnsa
add np.0f.58.lvyn 66.0f.58.lvyn f3.0f.58.lvnsa f2.0f.58.lvnsa
mul np.0f.59.lvyn 66.0f.59.lvyn f3.0f.59.lvnsa f2.0f.59.lvnsa
sub np.0f.5c.lvyn 66.0f.5c.lvyn f3.0f.5c.lvnsa f2.0f.5c.lvnsa
min np.0f.5d.lvyn 66.0f.5d.lvyn f3.0f.5d.lvnsa f2.0f.5d.lvnsa
div np.0f.5e.lvyn 66.0f.5e.lvyn f3.0f.5e.lvnsa f2.0f.5e.lvnsa
max np.0f.5f.lvyn 66.0f.5f.lvyn f3.0f.5f.lvnsa f2.0f.5f.lvnsa
hadd 66.0f.7c.lvyn f2.0f.7c.lvyn
hsub 66.0f.7d.lvyn f2.0f.7d.lvyn
addsub 66.0f.d0.lvyn f2.0f.d0.lvyn
round 66.3a.08.lvyi 66.3a.09.lvyi 66.3a.0a.lvnsai 66.3a.0b.lvnsai
dp 66.3a.40.lvyni 66.3a.41.lvni
"""

COMPARES = """
cmp np.0f.c2.lvyni 66.0f.c2.lvyni f3.0f.c2.lvnsai f2.0f.c2.lvnsai
ucomi np.0f.2e.lvsa 66.0f.2e.lvsa
comi np.0f.2f.lvsa 66.0f.2f.lvsa
"""

CONVERSIONS = """
cvtsi2 f3.0f.2a.lvnsa f2.0f.2a.lvnsa
cvtt2si f3.0f.2c.lvsa f2.0f.2c.lvsa
cvt2si f3.0f.2d.lvsa f2.0f.2d.lvsa
cvtps2pd np.0f.5a.lvya
cvtpd2ps 66.0f.5a.lvy
cvtss2sd f3.0f.5a.lvnsa
cvtsd2ss f2.0f.5a.lvnsa
cvtdq2ps np.0f.5b.lvy
cvtps2dq 66.0f.5b.lvy
cvttps2dq f3.0f.5b.lvy
cvttpd2dq 66.0f.e6.lvy
cvtdq2pd f3.0f.e6.lvya
cvtpd2dq f2.0f.e6.lvy
cvtpi2 np.0f.2a.la 66.0f.2a.la
cvtt2pi np.0f.2c.la 66.0f.2c.l
cvt2pi np.0f.2d.la 66.0f.2d.l
cvtph2ps 66.38.13.vyw
cvtps2ph 66.3a.1d.vywi
"""


def _fma() -> str:
    """Three orders of operands of each: the low digit of the opcode is the operation."""
    lines = []
    for low in range(6, 16):
        letters = "vyn" if low in (6, 7) or low % 2 == 0 else "vns"
        encodings = [f"66.38.{high:x}{low:x}.{letters}" for high in (9, 0xA, 0xB)]
        lines.append(" ".join([f"fma{low:x}", *encodings]))
    return "\n".join(lines)


ROWS = parse(ARITHMETIC + COMPARES + CONVERSIONS + _fma())
