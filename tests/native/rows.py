"""The emulator's own table of encodings: what its decoder accepts, row by row, through cffi.

A row is an opcode with its conditions; `Decoder` lists them and says which one some bytes are.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import emulib

LONGEST = 15
# EMU_MODE_* of native/emu/cpu.h: size of code and stack; protected, with SSE and AVX enabled.
MODES = {16: 0x0, 32: 0x1 | 0x4, 64: 0x2 | 0x8}
USER, ENABLED = 0x10, 0x20 | 0x400 | 0x800
MAPS = ("", "0f", "0f38", "0f3a", "vex.0f", "vex.0f38", "vex.0f3a")
VEX = 4  # the first map with a VEX prefix
UD2 = bytes.fromhex("0f0b").ljust(LONGEST, b"\0")


def constants() -> dict[str, int]:
    """The numbers of insn.h: EMU_MOD_R and so on."""
    text = (emulib.NATIVE / "emu/insn.h").read_text()
    found = {}
    for name, low, shift in re.findall(
        r"^#define EMU_(\w+) \(?(\w+?)u?(?: << (\d+))?\)?\s", text, re.M
    ):
        if re.fullmatch(r"0x[0-9a-f]+|\d+", low):
            found[name] = int(low, 0) << int(shift or 0)
    kinds = re.search(r"enum emu_imm \{(.*?)\};", text, re.S)
    assert kinds
    names = re.findall(r"EMU_(IMM_\w+),", kinds[1])
    return found | {name: number for number, name in enumerate(names)}


C = constants()


@dataclass(frozen=True)
class Row:
    """One row of the emulator, as far as it can be in 64-bit code."""

    index: int
    map: int
    opcode: int
    match: int
    shape: int
    register: bool  # has a form without a memory operand in ModRM
    memory: bool

    def has(self, name: str) -> bool:
        """Whether match or shape has a flag of insn.h."""
        return bool((self.match if name in _MATCHES else self.shape) & C[name])

    @property
    def digit(self) -> int | None:
        """ModRM.reg where the row demands one."""
        return self.match & 7 if self.match & 8 else None

    @property
    def low(self) -> int | None:
        """ModRM.rm where the row demands one."""
        return self.match >> 4 & 7 if self.match & 0x80 else None

    @property
    def immediate(self) -> int:
        """One of IMM_*."""
        return self.shape & C["IMM_MASK"]

    def __str__(self) -> str:
        parts = [MAPS[self.map], f"{self.opcode:02x}"]
        parts += [f"/{self.digit}"] if self.digit is not None else []
        parts += [f"rm{self.low}"] if self.low is not None else []
        parts += [name.lower() for name in _MATCHES if self.match & C[name]]
        return " ".join(filter(None, parts))


_MATCHES = ("MOD_R", "MOD_M", "NP", "P66", "PF3", "PF2", "ONLY64", "NO64", "W0", "W1")
_MATCHES += ("L0", "L1", "PROTECTED", "VVVV0")


class Decoder:
    """The emulator's decoder by itself."""

    def __init__(self) -> None:
        text = (emulib.NATIVE / "emu/insn.h").read_text()
        structs = re.findall(r"^struct emu_(?:insn|forms|row|decoded) \{.*?^\};", text, re.M | re.S)
        self.ffi = emulib.FFI()
        self.ffi.cdef(
            "typedef void emu_op;" + "".join(structs) + "void emu_decode_init(void);"
            "int emu_decode(const void *features, uint32_t mode, const uint8_t *bytes,"
            " uint32_t available, struct emu_decoded *);"
            "const struct emu_row *const *emu_rows(uint32_t map, uint8_t opcode);"
        )
        self.lib = self.ffi.dlopen(str(emulib.library()))
        self.lib.emu_decode_init()
        self.out = self.ffi.new("struct emu_decoded *")
        self.length(64, UD2)
        self.undefined = self.out.insn.op
        self._index: dict[int, int] = {}
        self.table = self._list()
        self.rows = [row for row in self.table if not row.has("NO64")]  # those of 64-bit code

    def _list(self) -> list[Row]:
        rows = []
        for place in range(len(MAPS) * 256):
            table = self.lib.emu_rows(place >> 8, place & 0xFF)
            at = 0
            while table[at]:
                key = int(self.ffi.cast("uintptr_t", table[at]))
                if key not in self._index:
                    self._index[key] = len(rows)
                    rows.append(self._row(len(rows), table[at]))
                at += 1
        return rows

    def _row(self, index: int, row) -> Row:  # type: ignore[no-untyped-def]
        has_modrm = bool(row.shape & C["MODRM"])
        register = any(row.forms.r) and not row.match & C["MOD_M"]
        memory = any(row.forms.m) and has_modrm and not row.match & C["MOD_R"]
        if not has_modrm:
            register = True
        return Row(index, row.map, row.opcode, row.match, row.shape, register, memory)

    def length(self, bits: int, code: bytes) -> int:
        """Bytes of the instruction at hand in `out`; 0 where these are too few."""
        mode = MODES[bits] | ENABLED
        if self.lib.emu_decode(
            self.ffi.NULL, mode, self.ffi.from_buffer(code), len(code), self.out
        ):
            return 0
        return int(self.out.insn.length)

    def is_defined(self) -> bool:
        """Whether the last one was an instruction."""
        return bool(self.out.insn.op != self.undefined)

    def row(self) -> int | None:
        """The index of the row of the last one."""
        return self._index[int(self.ffi.cast("uintptr_t", self.out.row))] if self.out.row else None


@functools.cache
def decoder() -> Decoder:
    """The one that tests share."""
    return Decoder()
