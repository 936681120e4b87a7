"""Instructions and states for `differential_rows`, drawn from the emulator's own rows.

Whatever a row leaves open is drawn: prefixes in any order, superfluous ones too, registers,
addressing forms, sizes, immediates; then a state in which it mostly does something.
"""

from __future__ import annotations

import random
import struct

from cases import (
    AC,
    ANCHOR,
    AREA_BYTES,
    AVX,
    AVX_FP,
    DF,
    FS_BASE,
    GS_BASE,
    ID,
    MASK32,
    MASK64,
    NOT_CANONICAL,
    SSE,
    SSE_FP,
    STATUS,
    UNMAPPED,
    X87,
    Case,
)
from rows import LONGEST, VEX, C, Row, decoder
from special import Redraw, special
from states import pick, pools, state_image


def is_near_branch(row: Row) -> bool:
    """Jumps, calls and returns of the same segment."""
    if row.map == 0:
        return row.opcode in (
            *range(0x70, 0x80),
            *range(0xE0, 0xE4),
            0xE8,
            0xE9,
            0xEB,
            0xC2,
            0xC3,
        ) or (row.opcode == 0xFF and row.digit in (2, 4))
    return row.map == 1 and row.opcode >> 4 == 8


def ignores_lock(row: Row) -> bool:
    """Where AMD's processors take LOCK, and Intel's manual demands #UD."""
    hint = row.map == 1 and (row.opcode in (0x0D, *range(0x18, 0x20)))
    return hint or (row.map, row.opcode) in ((0, 0xCF), (1, 0x00), (1, 0x07), (1, 0xAE))


STACK = (*range(0x50, 0x60), 0x68, 0x6A, 0x8F, 0x9C, 0x9D, 0xC2, 0xC3, 0xC8, 0xC9, 0xCA, 0xCB)
STACK += (0xCF, 0xE8)
SHA = (*range(0xC8, 0xCE),)  # AMD's processors take misaligned operands there
LOOPS = (0xE0, 0xE1)  # F2 and F3 choose the condition on AMD's processors
STRINGS = (*range(0xA4, 0xA8), *range(0xAA, 0xB0))


def checks_alignment(row: Row) -> bool:
    """Where the emulator knows which accesses #AC is about: not where there are several parts."""
    far = row.map == 0 and (
        row.opcode in (0xA6, 0xA7, 0xCA, 0xCB, 0xCF) or (row.opcode == 0xFF and row.digit in (3, 5))
    )
    others = (0xAE, 0xB2, 0xB4, 0xB5, 0xC7)  # the XSAVE family, LSS and its kin
    return not far and not (row.map == 1 and row.opcode in others)


def has_far_operand(row: Row) -> bool:
    """Far pointers in memory: AMD's processors ignore REX.W, and know no m16:64."""
    if row.map == 1:
        return row.opcode in (0xB2, 0xB4, 0xB5)
    return (row.map, row.opcode) == (0, 0xFF) and row.digit in (3, 5)


def uses_stack(row: Row) -> bool:
    """Whether RSP is an operand."""
    if row.map == 1:
        return row.opcode in (0xA0, 0xA1, 0xA8, 0xA9)
    return row.map == 0 and (row.opcode in STACK or (row.opcode == 0xFF and row.digit in (2, 3, 6)))


class Maker:
    """The making of one case."""

    def __init__(self, rng: random.Random, row: Row, memory: bool, number: int) -> None:
        self.rng, self.row, self.memory = rng, row, memory
        self.unit = row.shape >> C["UNIT_SHIFT"] & C["UNIT"]
        self.registers = rng.choices(pools().values, k=16)
        self.case = Case(number, b"", self.registers, row=row.index)
        self.anchor = self.case.area + ANCHOR
        self.near = is_near_branch(row)
        self.segment = self.asize = False
        self.segment_base = 0
        self.opsize = self.rex = self.repeat = 0
        self.reg = self.rm = 0
        self.used: tuple[int | None, ...] = ()  # registers that an address is made of
        self.data = bytearray(self._blob())
        self.registers[4] = self.anchor + rng.choice((0, 0, 0, 8, -16, 2, -7))

    def _blob(self) -> bytes:
        pool, unit = pools(), self.unit
        blob = pool.floats if unit in (SSE_FP, AVX_FP) else pool.vectors
        return pick(self.rng, pool.operands if unit == X87 else blob, AREA_BYTES)

    def poke(self, address: int, data: bytes) -> None:
        """Put bytes into the case's memory, as far as they lie in it."""
        at = address - self.case.area
        if 0 <= at <= AREA_BYTES - len(data):
            self.data[at : at + len(data)] = data

    def prefixes(self) -> bytes:
        """Those of a legacy encoding, the superfluous included; notes what matters."""
        rng, row = self.rng, self.row
        chance, found = rng.random, []
        mandatory = row.match & (C["NP"] | C["P66"] | C["PF3"] | C["PF2"])
        if row.has("PF3") or row.has("PF2"):
            self.repeat = 0xF3 if row.has("PF3") else 0xF2
            found = [b"\xf3" if row.has("PF3") else b"\xf2"]
            if chance() < 0.05:
                found.insert(0, b"\xf2" if row.has("PF3") else b"\xf3")
            if chance() < 0.08:
                found.append(b"\x66")
                self.opsize = 1
        elif row.has("P66"):
            found, self.opsize = [b"\x66"], 1
        elif not mandatory:
            sized = row.shape & (C["SIZE_V"] | C["SIZE_D64"] | C["SIZE_Z"])
            if not self.near and chance() < (0.3 if sized else 0.04):
                found, self.opsize = [b"\x66"], 1
            repeated = row.map == 0 and row.opcode in STRINGS
            if chance() < (0.6 if repeated else 0 if row.opcode in LOOPS else 0.04):
                self.repeat = rng.choice((0xF2, 0xF3))
                found.append(bytes([self.repeat]))
        found += self._address_prefixes()
        lockable = row.has("LOCKABLE") and self.memory
        if chance() < (0.25 if lockable else 0 if ignores_lock(row) else 0.01):
            found.append(b"\xf0")
        if found and chance() < 0.06:
            found.append(rng.choice([p for p in found if p not in (b"\xf2", b"\xf3")] or [b"\x2e"]))
        if len(found) > 1 and not (b"\xf2" in found and b"\xf3" in found):
            rng.shuffle(found)
        code = b"".join(found)
        if code and chance() < 0.02:  # a REX that does not stand last is as if absent
            code = bytes([0x40 | rng.getrandbits(4)]) + code
        return code

    def _address_prefixes(self) -> list[bytes]:
        chance, found = self.rng.random, []
        reaches = self.memory or self.row.has("IMPLICIT") or self.row.immediate == C["IMM_OFFS"]
        if chance() < (0.1 if reaches else 0.02):
            found.append(b"\x67")
            self.asize = True
        if chance() < 0.05:
            found.append(self.rng.choice((b"\x26", b"\x2e", b"\x36", b"\x3e")))
        if chance() < (0.1 if reaches else 0.02):
            fs = chance() < 0.5
            found = [p for p in found if p == b"\x67"] + [b"\x64" if fs else b"\x65"]
            self.segment_base = FS_BASE if fs else GS_BASE
        return found

    def target(self) -> int:
        """The linear address of the memory operand, seldom one that faults."""
        rng, row = self.rng, self.row
        kind = rng.random()
        if kind < 0.02 and not self.asize:
            return UNMAPPED if kind < 0.012 else NOT_CANONICAL
        if row.map == 1 and row.opcode in (0xAE, 0xC7) and not row.has("MOD_R"):
            whole = row.opcode == 0xAE and row.digit in (0, 1)  # the kernel does misaligned ones
            if whole or (rng.random() < 0.95 and not (row.opcode == 0xAE and row.digit in (2, 3))):
                return (self.case.area + 63 & ~63) + 64 * rng.randrange(2)
        legacy = self.unit in (SSE, SSE_FP) and row.map < VEX
        if row.map in (2, 3) and row.opcode in SHA:
            return self.anchor + (rng.randrange(-80, 70) & -16)
        aligned = rng.random() < (0.7 if legacy or self.unit in (AVX, AVX_FP) else 0.15)
        offset = rng.randrange(-80, 70)
        return self.anchor + (offset & -32 if aligned else offset)

    def take_registers(self, reg: int, rm: int) -> bytes:
        """A register form's ModRM."""
        self.rex |= (4 if reg & 8 else 0) | (1 if rm & 8 else 0)
        return bytes([0xC0 | (reg & 7) << 3 | rm & 7])

    def take_memory(self, reg: int) -> bytes:
        """ModRM, SIB and displacement that lead to the target, and registers for that."""
        rng, row = self.rng, self.row
        self.rex |= 4 if reg & 8 else 0
        self.case.operand = linear = self.target()
        size = MASK32 if self.asize else MASK64
        effective = linear - self.segment_base & size
        middle = (reg & 7) << 3
        form = rng.random()
        if row.has("VSIB"):
            return self._gather(middle, effective)
        if form < 0.05 and effective < 1 << 31:
            return bytes([middle | 4, 0x25]) + struct.pack("<I", effective)
        if form < 0.15 and effective < 1 << 31:
            self.case.relative, self.case.target = 1, effective
            return bytes([middle | 5]) + bytes(4)
        base = rng.randrange(16)
        if base == 4 and uses_stack(row):
            base = 12
        index = rng.choice((None, rng.randrange(16)))
        index = None if index in (4, base) else index
        self.used = (base, index)
        disp = rng.choice((0, rng.randrange(-128, 128), rng.randrange(-4096, 4096)))
        scale, offset = rng.randrange(4), 0
        if index is not None:
            # A host without VT-x and AMD-V dislikes an RSP that is not canonical.
            times = (
                rng.randrange(-6, 7)
                if rng.random() < 0.7 or base == 4
                else rng.choice(pools().values)
            )
            self.registers[index] = times & MASK64
            offset = times << scale
        self.registers[base] = effective - disp - offset & size
        if self.asize:
            self.registers[base] |= rng.getrandbits(32 if base != 4 else 14) << 32
        self.rex |= (1 if base & 8 else 0) | (2 if index is not None and index & 8 else 0)
        return self._address(middle, base, index, scale, disp)

    def _address(self, middle: int, base: int, index: int | None, scale: int, disp: int) -> bytes:
        if disp == 0 and base & 7 != 5:
            mod, tail = 0, b""
        elif -128 <= disp < 128:
            mod, tail = 0x40, struct.pack("<b", disp)
        else:
            mod, tail = 0x80, struct.pack("<i", disp)
        if index is None and base & 7 != 4:
            return bytes([mod | middle | base & 7]) + tail
        sib = scale << 6 | (4 if index is None else index & 7) << 3 | base & 7
        return bytes([mod | middle | 4, sib]) + tail

    def _gather(self, middle: int, effective: int) -> bytes:
        """The vector of indexes is whatever lies there, made small: see `finish_gather`."""
        rng = self.rng
        base, index, self.scale = rng.randrange(16), rng.randrange(16), rng.randrange(4)
        self.index, self.used = index, (base,)
        self.registers[base] = effective
        if self.asize:
            self.registers[base] |= rng.getrandbits(32) << 32
        self.rex |= (1 if base & 8 else 0) | (2 if index & 8 else 0)
        return self._address(middle, base, index, self.scale, rng.randrange(-16, 16))

    def finish_gather(self) -> None:
        """Indexes within the case's memory, seldom others."""
        rng, image = self.rng, bytearray(self.case.xsave)
        width = 8 if self.row.opcode & 1 else 4
        numbers = [rng.randrange(-64, 64) >> self.scale for _ in range(32 // width)]
        if rng.random() < 0.1 and (width == 8 or self.scale == 3):
            numbers[rng.randrange(len(numbers))] = UNMAPPED if width == 8 else 0x7F000000
        data = b"".join(n.to_bytes(width, "little", signed=True) for n in numbers)
        image[160 + 16 * self.index : 176 + 16 * self.index] = data[:16]
        image[576 + 16 * self.index : 592 + 16 * self.index] = data[16:]
        self.case.xsave = bytes(image)

    def immediate(self, osize: int) -> bytes:
        """Its bytes; `osize` is 2, 4 or 8."""
        rng, kind = self.rng, self.row.immediate
        word = 2 if osize == 2 else 4
        value = rng.choice(pools().values)
        if kind in (C["IMM_8"], C["IMM_U8"]):
            return bytes([rng.choice((value & 0xFF, rng.getrandbits(8), rng.getrandbits(4)))])
        if kind == C["IMM_REL8"]:
            return struct.pack(
                "<b", rng.choice((0, rng.randrange(-128, -40), rng.randrange(5, 128)))
            )
        if kind == C["IMM_RELZ"]:
            return struct.pack(
                "<i", rng.choice((0, rng.randrange(-150, -40), rng.randrange(5, 150)))
            )
        if kind == C["IMM_OFFS"]:
            self.case.operand = linear = self.target()
            size = MASK32 if self.asize else MASK64
            return (linear - self.segment_base & size).to_bytes(4 if self.asize else 8, "little")
        sizes = {C["IMM_16"]: 2, C["IMM_Z"]: word, C["IMM_V"]: osize, C["IMM_FAR"]: word + 2}
        if kind == C["IMM_16_8"]:  # ENTER
            return struct.pack(
                "<HB", rng.randrange(0, 200), rng.choice((0, 1, 2, rng.getrandbits(8)))
            )
        size = sizes.get(kind, 0)
        return (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def operand_bytes(self) -> int:
        """2, 4 or 8."""
        row, wide = self.row, bool(self.rex & 8)
        if row.has("SIZE_F64"):
            return 8
        if row.has("SIZE_Y"):
            return 8 if wide else 4
        if wide and not row.has("SIZE_Z"):
            return 8
        if not self.opsize:
            return 8 if row.has("SIZE_D64") else 4
        return 2

    def legacy(self) -> bytes:
        """Prefixes, REX and opcode: ModRM is made between the two, as it decides REX."""
        row, rng = self.row, self.rng
        prefixes = self.prefixes()
        free = not row.has("W0") and not has_far_operand(row)
        wide = row.has("W1") or (free and rng.random() < 0.4)
        opcode = row.opcode
        self.rex = 8 if wide else 0
        if row.has("OPREG"):
            number = rng.randrange(16)
            opcode |= number & 7
            self.rex |= 1 if number & 8 else 0
        modrm = self.modrm()
        byte = row.shape & (C["BYTE_E"] | C["BYTE_G"] | C["SIZE_B"])
        free = self.rex | (
            rng.getrandbits(3) & 7 if not row.has("MODRM") and rng.random() < 0.05 else 0
        )
        if row.has("OPREG") or row.has("MODRM"):
            free = self.rex
        if free or rng.random() < (0.5 if byte else 0.05):
            prefixes += bytes([0x40 | free])
        prefixes += (b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a")[row.map] + bytes([opcode])
        self.shift = len(prefixes)
        return prefixes + modrm

    def vex(self) -> bytes:
        """A VEX encoding, of two bytes where that can say it and chance wills."""
        row, rng = self.row, self.rng
        chance = rng.random
        prefixes = b"".join(self._address_prefixes())
        if chance() < 0.01:
            prefixes += rng.choice((b"\x66", b"\xf3", b"\xf2", b"\xf0", b"\x48"))
        wide = row.has("W1") or (not row.has("W0") and chance() < 0.5)
        self.rex = 8 if wide else 0
        modrm = self.modrm()
        long = row.has("L1") or (not row.has("L0") and chance() < 0.5)
        vvvv = 0 if row.has("VVVV0") else rng.randrange(16)
        pp = 1 if row.has("P66") else 2 if row.has("PF3") else 3 if row.has("PF2") else 0
        last = (~vvvv & 15) << 3 | long << 2 | pp
        if row.map == VEX and not self.rex & 0xB and chance() < 0.6:
            prefixes += bytes([0xC5, (0 if self.rex & 4 else 0x80) | last])
        else:
            first = (~self.rex & 7) << 5 | row.map - VEX + 1
            prefixes += bytes([0xC4, first, (0x80 if self.rex & 8 else 0) | last])
        prefixes += bytes([row.opcode])
        self.shift = len(prefixes)
        return prefixes + modrm

    def modrm(self) -> bytes:
        """ModRM with all that belongs to it, or nothing."""
        row, rng = self.row, self.rng
        if not row.has("MODRM"):
            return b""
        reg = rng.randrange(16) if row.digit is None else row.digit | (rng.getrandbits(1) << 3)
        self.reg = reg
        if self.memory:
            return self.take_memory(reg)
        rm = rng.randrange(16) if row.low is None else row.low | (rng.getrandbits(1) << 3)
        code = self.take_registers(reg, rm)
        self.rm = rm
        return (
            bytes([code[0] & rng.getrandbits(8) | code[0] & 0x3F]) if row.has("MOD_ANY") else code
        )

    def make(self) -> Case:
        """All of it."""
        case, rng, row = self.case, self.rng, self.row
        case.flags = rng.getrandbits(12) & STATUS | 2
        if rng.random() < 0.3:
            case.flags |= rng.choice((DF, DF, DF, ID, AC if checks_alignment(row) else DF))
        code = self.vex() if row.map >= VEX else self.legacy()
        if case.relative is not None:
            case.relative = self.shift + 1
        case.code = code + self.immediate(self.operand_bytes())
        if self.unit or (row.map == 1 and row.opcode in (0xAE, 0xC7) and self.memory):
            case.xsave = state_image(rng, self.unit)
            if row.has("VSIB"):
                self.finish_gather()
        case.pads = self.near and row.immediate in (C["IMM_REL8"], C["IMM_RELZ"])
        if rng.random() < 0.08 and len(case.code) > 1:
            case.cross = rng.randrange(1, len(case.code))
        special(self)
        case.memory = bytes(self.data)
        self.note_row()
        return case

    def note_row(self) -> None:
        """Which row it really is: an earlier one of the same opcode may have caught it."""
        found = decoder()
        found.length(64, self.case.code.ljust(LONGEST, b"\x90"))
        index = found.row()
        if index is not None:
            self.case.row = index
            if index != self.row.index and found.is_defined():
                self.memory = bool(found.out.is_memory)
        self.case.form = self.memory


def make(rng: random.Random, row: Row, memory: bool, number: int) -> Case:
    """A case of a row's register or memory form."""
    while True:
        try:
            return Maker(rng, row, memory, number).make()
        except Redraw:
            continue
