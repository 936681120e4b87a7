"""The vector instructions that the differential tester draws from, with their encodings.

A line is a name, then encodings: prefix.map.opcode and letters. l: legacy SSE, v: VEX.128,
y: VEX.256, x: MMX (no prefix); n: VEX.vvvv is an operand; m: no register form, r: no memory
form; i: immediate byte; 0 to 7 after a slash: extension of the opcode; w, W: VEX.W (legacy
forms: REX.W) is 0, 1, otherwise it is either; s: scalar, VEX.L is either; a: the legacy form's
memory need not be aligned; g: gathers, with a vector index; d: stores at DS:RDI; k: VEX forms'
memory is aligned; p: explicit lengths in RAX and RDX; z: no ModRM;
o: VEX.256 belongs to a set that is not emulated; b: memory is aligned (AMD's processors take
other SHA operands, where Intel's manual demands #GP); t: likewise, VEX.W is not varied.
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
ptest 66.38.17.lvy
vtestps 66.38.0e.vyw
vtestpd 66.38.0f.vyw
xor np.0f.57.lvyn 66.0f.57.lvyn 66.0f.ef.lvyn np.0f.ef.x
"""

INTEGER = """
paddb 66.0f.fc.lvyn np.0f.fc.x
paddw 66.0f.fd.lvyn np.0f.fd.x
paddd 66.0f.fe.lvyn np.0f.fe.x
paddq 66.0f.d4.lvyn np.0f.d4.x
psubb 66.0f.f8.lvyn np.0f.f8.x
psubw 66.0f.f9.lvyn np.0f.f9.x
psubd 66.0f.fa.lvyn np.0f.fa.x
psubq 66.0f.fb.lvyn np.0f.fb.x
paddusb 66.0f.dc.lvyn np.0f.dc.x
paddusw 66.0f.dd.lvyn np.0f.dd.x
psubusb 66.0f.d8.lvyn np.0f.d8.x
psubusw 66.0f.d9.lvyn np.0f.d9.x
paddsb 66.0f.ec.lvyn np.0f.ec.x
paddsw 66.0f.ed.lvyn np.0f.ed.x
psubsb 66.0f.e8.lvyn np.0f.e8.x
psubsw 66.0f.e9.lvyn np.0f.e9.x
pcmpeqb 66.0f.74.lvyn np.0f.74.x
pcmpeqw 66.0f.75.lvyn np.0f.75.x
pcmpeqd 66.0f.76.lvyn np.0f.76.x
pcmpgtb 66.0f.64.lvyn np.0f.64.x
pcmpgtw 66.0f.65.lvyn np.0f.65.x
pcmpgtd 66.0f.66.lvyn np.0f.66.x
pminub 66.0f.da.lvyn np.0f.da.x
pmaxub 66.0f.de.lvyn np.0f.de.x
pminsw 66.0f.ea.lvyn np.0f.ea.x
pmaxsw 66.0f.ee.lvyn np.0f.ee.x
pavgb 66.0f.e0.lvyn np.0f.e0.x
pavgw 66.0f.e3.lvyn np.0f.e3.x
pmullw 66.0f.d5.lvyn np.0f.d5.x
pmulhw 66.0f.e5.lvyn np.0f.e5.x
pmulhuw 66.0f.e4.lvyn np.0f.e4.x
pmuludq 66.0f.f4.lvyn np.0f.f4.x
pmaddwd 66.0f.f5.lvyn np.0f.f5.x
psadbw 66.0f.f6.lvyn np.0f.f6.x
psignb 66.38.08.lvyn np.38.08.x
psignw 66.38.09.lvyn np.38.09.x
psignd 66.38.0a.lvyn np.38.0a.x
pmulhrsw 66.38.0b.lvyn np.38.0b.x
pmaddubsw 66.38.04.lvyn np.38.04.x
phaddw 66.38.01.lvyn np.38.01.x
phaddd 66.38.02.lvyn np.38.02.x
phaddsw 66.38.03.lvyn np.38.03.x
phsubw 66.38.05.lvyn np.38.05.x
phsubd 66.38.06.lvyn np.38.06.x
phsubsw 66.38.07.lvyn np.38.07.x
pabsb 66.38.1c.lvy np.38.1c.x
pabsw 66.38.1d.lvy np.38.1d.x
pabsd 66.38.1e.lvy np.38.1e.x
pcmpeqq 66.38.29.lvyn
pcmpgtq 66.38.37.lvyn
pminsb 66.38.38.lvyn
pmaxsb 66.38.3c.lvyn
pminuw 66.38.3a.lvyn
pmaxuw 66.38.3e.lvyn
pminud 66.38.3b.lvyn
pmaxud 66.38.3f.lvyn
pminsd 66.38.39.lvyn
pmaxsd 66.38.3d.lvyn
pmulld 66.38.40.lvyn
pmuldq 66.38.28.lvyn
mpsadbw 66.3a.42.lvyni
phminposuw 66.38.41.lv
"""

SHIFTS = """
psllw 66.0f.f1.lvyn np.0f.f1.x 66.0f.71.lvynri/6 np.0f.71.xri/6
pslld 66.0f.f2.lvyn np.0f.f2.x 66.0f.72.lvynri/6 np.0f.72.xri/6
psllq 66.0f.f3.lvyn np.0f.f3.x 66.0f.73.lvynri/6 np.0f.73.xri/6
psrlw 66.0f.d1.lvyn np.0f.d1.x 66.0f.71.lvynri/2 np.0f.71.xri/2
psrld 66.0f.d2.lvyn np.0f.d2.x 66.0f.72.lvynri/2 np.0f.72.xri/2
psrlq 66.0f.d3.lvyn np.0f.d3.x 66.0f.73.lvynri/2 np.0f.73.xri/2
psraw 66.0f.e1.lvyn np.0f.e1.x 66.0f.71.lvynri/4 np.0f.71.xri/4
psrad 66.0f.e2.lvyn np.0f.e2.x 66.0f.72.lvynri/4 np.0f.72.xri/4
psrldq 66.0f.73.lvynri/3
pslldq 66.0f.73.lvynri/7
palignr 66.3a.0f.lvyni np.3a.0f.xi
psllv 66.38.47.vynw 66.38.47.vynW
psrlv 66.38.45.vynw 66.38.45.vynW
psravd 66.38.46.vynw
"""

PACKS = """
punpcklbw 66.0f.60.lvyn np.0f.60.x
punpcklwd 66.0f.61.lvyn np.0f.61.x
punpckldq 66.0f.62.lvyn np.0f.62.x
punpckhbw 66.0f.68.lvyn np.0f.68.x
punpckhwd 66.0f.69.lvyn np.0f.69.x
punpckhdq 66.0f.6a.lvyn np.0f.6a.x
packsswb 66.0f.63.lvyn np.0f.63.x
packuswb 66.0f.67.lvyn np.0f.67.x
packssdw 66.0f.6b.lvyn np.0f.6b.x
punpcklqdq 66.0f.6c.lvyn
punpckhqdq 66.0f.6d.lvyn
unpckl np.0f.14.lvyn 66.0f.14.lvyn
unpckh np.0f.15.lvyn 66.0f.15.lvyn
packusdw 66.38.2b.lvyn
pmovsxbw 66.38.20.lvya
pmovzxbw 66.38.30.lvya
pmovsxbd 66.38.21.lvya
pmovzxbd 66.38.31.lvya
pmovsxbq 66.38.22.lvya
pmovzxbq 66.38.32.lvya
pmovsxwd 66.38.23.lvya
pmovzxwd 66.38.33.lvya
pmovsxwq 66.38.24.lvya
pmovzxwq 66.38.34.lvya
pmovsxdq 66.38.25.lvya
pmovzxdq 66.38.35.lvya
"""

SHUFFLES = """
pshuf 66.0f.70.lvyi f3.0f.70.lvyi f2.0f.70.lvyi np.0f.70.xi
shuf np.0f.c6.lvyni 66.0f.c6.lvyni
pshufb 66.38.00.lvyn np.38.00.x
vpermilps 66.38.0c.vynw 66.3a.04.vyiw
vpermilpd 66.38.0d.vynw 66.3a.05.vyiw
pblendw 66.3a.0e.lvyni
blendps 66.3a.0c.lvyni
blendpd 66.3a.0d.lvyni
vpblendd 66.3a.02.vyniw
pblendvb 66.38.10.l 66.3a.4c.vyniw
blendvps 66.38.14.l 66.3a.4a.vyniw
blendvpd 66.38.15.l 66.3a.4b.vyniw
pinsrb 66.3a.20.lvnia
pinsrw 66.0f.c4.lvnia np.0f.c4.xi
pinsr 66.3a.22.lvnia
pextrb 66.3a.14.lvia
pextrw 66.3a.15.lvia 66.0f.c5.lvri np.0f.c5.xri
pextr 66.3a.16.lvia
extractps 66.3a.17.lvia
insertps 66.3a.21.lvnia
"""

LANES = """
vbroadcastss 66.38.18.vywa
vbroadcastsd 66.38.19.yw
vbroadcast128 66.38.1a.ymw 66.38.5a.ymw
vpbroadcastb 66.38.78.vyw
vpbroadcastw 66.38.79.vyw
vpbroadcastd 66.38.58.vyw
vpbroadcastq 66.38.59.vyw
vpermq 66.3a.00.yiWt 66.3a.01.yiWt
vpermd 66.38.36.ynw 66.38.16.ynw
vperm2 66.3a.06.yniw 66.3a.46.yniw
vinsert 66.3a.18.yniw 66.3a.38.yniw
vextract 66.3a.19.yiw 66.3a.39.yiw
vmaskmov 66.38.2c.vynmw 66.38.2d.vynmw 66.38.2e.vynmw 66.38.2f.vynmw
vpmaskmov 66.38.8c.vynmw 66.38.8c.vynmW 66.38.8e.vynmw 66.38.8e.vynmW
vpgather 66.38.90.vynmgw 66.38.90.vynmgW 66.38.91.vynmgw 66.38.91.vynmgW
vgather 66.38.92.vynmgw 66.38.92.vynmgW 66.38.93.vynmgw 66.38.93.vynmgW
vzero np.0f.77.vyz
"""

SPECIAL = """
pcmpestrm 66.3a.60.lvipa
pcmpestri 66.3a.61.lvipa
pcmpistrm 66.3a.62.lvia
pcmpistri 66.3a.63.lvia
aes 66.38.dc.lvno 66.38.dd.lvno 66.38.de.lvno 66.38.df.lvno 66.38.db.lv
aeskeygenassist 66.3a.df.lvi
pclmulqdq 66.3a.44.lvnio
sha1 np.38.c8.lb np.38.c9.lb np.38.ca.lb np.3a.cc.lib
sha256 np.38.cb.lb np.38.cc.lb np.38.cd.lb
"""

ROWS = parse(MOVES + LOGIC + INTEGER + SHIFTS + PACKS + SHUFFLES + LANES + SPECIAL)
