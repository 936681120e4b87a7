"""The vector instructions that the differential tester draws from, with their encodings.

A line is a name, then encodings: prefix.map.opcode and letters. l: legacy SSE, v: VEX.128,
y: VEX.256, x: MMX (no prefix); n: VEX.vvvv is an operand; m: no register form, r: no memory
form; i: immediate byte; 0 to 7 after a slash: extension of the opcode; w, W: VEX.W (legacy
forms: REX.W) is 0, 1, otherwise it is either; s: scalar, VEX.L is either; a: the legacy form's
memory need not be aligned; g: gathers, with a vector index; d: stores at DS:RDI; k: VEX forms'
memory is aligned; p: explicit lengths in RAX and RDX.
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIXES = {"np": b"", "66": b"\x66", "f3": b"\xf3", "f2": b"\xf2"}
MAPS = {"0f": 1, "38": 2, "3a": 3}


@dataclass(frozen=True)
class VectorRow:
    """One opcode with a mandatory prefix."""

    name: str
    prefix: str
    map: int
    opcode: int
    letters: str
    extension: int | None
    undefined: int = 0


def parse(table: str) -> list[VectorRow]:
    """The rows of a table as above."""
    rows = []
    for line in filter(None, table.splitlines()):
        name, *encodings = line.split()
        for encoding in encodings:
            prefix, map_, opcode, letters = encoding.split(".")
            letters, _, digit = letters.partition("/")
            extension = int(digit) if digit else None
            rows.append(VectorRow(name, prefix, MAPS[map_], int(opcode, 16), letters, extension))
    return rows


MOVES = """
movups np.0f.10.lvya np.0f.11.lvya
movupd 66.0f.10.lvya 66.0f.11.lvya
movss f3.0f.10.lvsnra f3.0f.10.lvsma f3.0f.11.lvsnra f3.0f.11.lvsma
movsd f2.0f.10.lvsnra f2.0f.10.lvsma f2.0f.11.lvsnra f2.0f.11.lvsma
movaps np.0f.28.lvyk np.0f.29.lvyk
movapd 66.0f.28.lvyk 66.0f.29.lvyk
movdqa 66.0f.6f.lvyk 66.0f.7f.lvyk
movdqu f3.0f.6f.lvya f3.0f.7f.lvya
lddqu f2.0f.f0.lvyma
movhlps np.0f.12.lvnra
movlps np.0f.12.lvnma np.0f.13.lvma
movlpd 66.0f.12.lvnma 66.0f.13.lvma
movlhps np.0f.16.lvnra
movhps np.0f.16.lvnma np.0f.17.lvma
movhpd 66.0f.16.lvnma 66.0f.17.lvma
movsldup f3.0f.12.lvy
movshdup f3.0f.16.lvy
movddup f2.0f.12.lva f2.0f.12.y
movd 66.0f.6e.lva 66.0f.7e.lva np.0f.6e.x np.0f.7e.x
movq f3.0f.7e.lva 66.0f.d6.lva np.0f.6f.x np.0f.7f.x
movdq2q f2.0f.d6.xr
movq2dq f3.0f.d6.xr
movnt np.0f.2b.lvymk 66.0f.2b.lvymk 66.0f.e7.lvymk np.0f.c3.xm np.0f.e7.xm 66.38.2a.lvymk
movmsk np.0f.50.lvyr 66.0f.50.lvyr
pmovmskb 66.0f.d7.lvyr np.0f.d7.xr
maskmov 66.0f.f7.lvrd np.0f.f7.xrd
"""

LOGIC = """
and np.0f.54.lvyn 66.0f.54.lvyn 66.0f.db.lvyn np.0f.db.x
andn np.0f.55.lvyn 66.0f.55.lvyn 66.0f.df.lvyn np.0f.df.x
or np.0f.56.lvyn 66.0f.56.lvyn 66.0f.eb.lvyn np.0f.eb.x
xor np.0f.57.lvyn 66.0f.57.lvyn 66.0f.ef.lvyn np.0f.ef.x
"""

ROWS = parse(MOVES + LOGIC)
