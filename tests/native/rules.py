"""What the comparison of `differential_rows` leaves out, and why."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any

import makers
from cases import AREA_BYTES, Case
from encodings_x86 import ROWS, SHIFTS, undefined_flags
from encodings_x86 import Row as Encoding
from makers import GP, PF, UD
from rows import MAPS, VEX, Row

from pykvm import host

# Rows that are not drawn: map, opcode, ModRM.reg (None: any), ModRM.rm (None: any), why.
OWNER = "a port: the answer is the owner's, and hosts without VT-x and AMD-V keep no IOPL"
HOST = "shows a register of the host's where the kernel of KVM's guest is emulated"
TIME = "depends on time, on chance, or on the processor's name"
EXCLUDED: list[tuple[int, int, int | None, int | None, str]] = [
    *((0, opcode, None, None, OWNER) for opcode in (*range(0x6C, 0x70), *range(0xE4, 0xE8))),
    *((0, opcode, None, None, OWNER) for opcode in range(0xEC, 0xF0)),
    (0, 0xCD, None, None, "INT n: without VT-x and AMD-V it reaches the host's gates"),
    (1, 0x05, None, None, "SYSCALL: without VT-x and AMD-V it enters whatever EFER.SCE says"),
    (1, 0x34, None, None, "SYSENTER: #UD in long mode on AMD's processors"),
    (1, 0x35, None, None, "SYSEXIT: #UD in long mode on AMD's processors"),
    (0, 0xFA, None, None, "CLI: hosts without VT-x and AMD-V keep no IOPL"),
    (0, 0xFB, None, None, "STI: hosts without VT-x and AMD-V keep no IOPL"),
    (0, 0xF1, None, None, "INT1: without VT-x and AMD-V it is a fault, not a trap"),
    (1, 0x00, 0, None, HOST),
    (1, 0x00, 1, None, HOST),
    (1, 0x01, 0, None, HOST),
    (1, 0x01, 1, None, HOST),
    (1, 0x01, 4, None, HOST),
    (1, 0x01, 2, 0, HOST),
    (1, 0x01, 0, 1, "VMCALL: a hypercall"),
    (1, 0x01, 3, 1, "VMMCALL: a hypercall"),
    (1, 0x01, 5, 6, "RDPKRU: #UD, as the models here have no protection keys"),
    (1, 0x01, 5, 7, "WRPKRU: #UD, as the models here have no protection keys"),
    (1, 0x01, 7, 1, TIME),
    (1, 0x31, None, None, TIME),
    (1, 0xA2, None, None, TIME),
    (1, 0xC7, 6, None, TIME),
    (1, 0xC7, 7, None, TIME),
]


def excluded(row: Row) -> str | None:
    """Why a row is not drawn."""
    for map_, opcode, digit, low, why in EXCLUDED:
        if (row.map, row.opcode) != (map_, opcode):
            continue
        if digit in (None, row.digit) and (low == row.low or (low is None and digit is None)):
            return why
        if digit == row.digit and low is None and row.low is None:
            return why
    return None


@functools.cache
def _encodings() -> dict[tuple[str, str, int | None], list[Encoding]]:
    found: dict[tuple[str, str, int | None], list[Encoding]] = {}
    for each in ROWS:
        map_ = {0: "", 1: "vex.0f", 2: "vex.0f38", 3: "vex.0f3a"}[each.vex_map]
        text = each.opcode.hex()
        if not each.vex_map:
            map_ = text[:-2]
        digit = next((int(c) for c in each.operands if c.isdigit()), None)
        found.setdefault((map_, text[-2:], digit), []).append(each)
    return found


def undefined(row: Row, case: Case, osize: int) -> int:
    """The flags that are not compared: `encodings_x86` has them with the manual's sections."""
    table = _encodings()
    key = (MAPS[row.map], f"{row.opcode:02x}")
    candidates = table.get((*key, row.digit)) or table.get((*key, None)) or []
    mandatory = {b"\x66": "P66", b"\xf3": "PF3", b"\xf2": "PF2"}
    for each in candidates:
        if row.map >= VEX or each.name in ("tzcnt", "lzcnt", "bsf", "bsr", "popcnt"):
            wanted = mandatory.get(each.prefix, "NP")
            if wanted != "NP" and not row.has(wanted):
                continue
            if wanted == "NP" and (row.has("PF3") or row.has("PF2") or row.has("P66")):
                continue
        return undefined_flags(each, 8 * osize, shift_count(row, case, osize, each))
    return 0


def shift_count(row: Row, case: Case, osize: int, each: Encoding) -> int:
    """A shift's count as it is used."""
    if each.name not in SHIFTS:
        return 0
    count = case.code[-1] if row.immediate else 1
    if row.opcode in (0xD2, 0xD3) or (row.map == 1 and row.opcode in (0xA5, 0xAD)):
        count = case.registers[1]
    return count & (63 if osize == 8 else 31)


# RFLAGS on the stack: hosts without VT-x and AMD-V keep neither IF nor IOPL.
_PUSHED = ~0x3200 & 0xFFFF


def mask_registers(row: Row, registers: tuple[int, ...]) -> tuple[int, ...]:
    """Without a segment register's value: where the host has no VT-x or AMD-V it is the host's."""
    if (row.map, row.opcode) != (0, 0x8C):
        return registers
    return tuple(value & ~0xFFFF for value in registers)


def mask_memory(row: Row, case: Case, osize: int, data: bytes) -> bytes:
    """A case's memory without what differs between processors of the same architecture."""
    out = bytearray(data)
    if row.map == 0 and row.opcode == 0x9C:
        at = case.registers[4] - osize - case.area
        word = struct.unpack_from("<H", out, at)[0] & _PUSHED
        struct.pack_into("<H", out, at, word)
    if row.map == 1 and row.opcode in (0xA0, 0xA8):
        at = case.registers[4] - osize - case.area
        out[at : at + 2] = bytes(2)
    at = case.operand - case.area
    if not 0 <= at < AREA_BYTES:
        return data if out == data else bytes(out)
    if row.map == 0 and row.opcode == 0x8C:
        out[at : at + 2] = bytes(2)
    if row.map == 0 and row.opcode in (0xD9, 0xDD) and row.digit == 6:
        size = 2 if osize == 2 else 4
        out[at + 3 * size : at + 7 * size] = bytes(4 * size)
    if row.map == 1 and row.opcode in (0xAE, 0xC7) and case.operand % 16 == 0:
        out[at + 6 : at + 24] = bytes(18)  # pointers: see mask_state
        out[at + 28 : at + 32] = bytes(4)  # MXCSR_MASK
        if row.digit != 0 or row.opcode == 0xC7:
            out[at + 512 : at + 520] = bytes(8)  # which parts are in use
    return bytes(out)


def mask_state(image: bytes) -> bytes:
    """An XSAVE image without pointers to the last x87 instruction and operand, which AMD's
    processors keep only while an exception is pending, and without the header's bits of use."""
    return (
        image[:6] + bytes(18) + image[24:28] + bytes(4) + image[32:416] + bytes(160) + image[576:]
    )


Result = tuple[tuple[int, ...], int, tuple[int, ...], bytes, bytes]
# What the kernel does not know, beside vectors, x87 and the maps 0F38 and 0F3A: VERR, LAR, LSL, the
# XSAVE family, MOV from a segment register and far returns with some prefixes.
UNKNOWN = ((1, 0x00), (1, 0x02), (1, 0x03), (1, 0xAE), (1, 0xC7), (0, 0x8C), (0, 0xCA), (0, 0xCB))
UNKNOWN += ((0, 0xFF), (1, 0xB8))
# MOV to a segment register, IRET, RETF: the error code is lost, or #UD or #PF comes of it.
REPEATED = ((0, 0x8E), (0, 0xCA), (0, 0xCB), (0, 0xCF))


def excused(case: Any, cpu: Sequence[Any], emu: Sequence[Any]) -> str | None:
    """Why results that are not the same are right; empty where they are the same after all.

    Makers' differences stand in `makers`; the rest is what the host's kernel adds where it executes
    anew whatever raised #GP. Results are what `makers.PARTS` says.
    """
    row = makers.row_of(case.code)
    cpu, emu = ordered(row, cpu, emu)
    if row and cpu[0][:2] != emu[0][:2] and host.emulates_cpl0():
        why = repeated_by_kernel(row, cpu[0], emu[0])
        cpu = (emu[0], *cpu[1:]) if why else cpu
    else:
        why = ""
    if cpu == emu:
        return why
    return makers.named(case, cpu, emu, makers.maker()) or None


Pair = tuple[tuple[Any, ...], tuple[Any, ...]]


def ordered(row: Row | None, a: Sequence[Any], b: Sequence[Any]) -> Pair:
    """Two results without what hangs on the order of accesses, where processors choose that."""
    if row and has_several_accesses(row) and a[0][:1] == b[0][:1] == (PF,):
        a, b = (((PF, 0, each[0][2]), *each[1:3], b"", each[4]) for each in (a, b))
    return tuple(a), tuple(b)


def repeated_by_kernel(row: Row, cpu: tuple[int, ...], emu: tuple[int, ...]) -> str:
    """Why a fault may be another where KVM's kernel has executed the instruction once more."""
    if not cpu or not emu or cpu[2] != emu[2] or emu[0] != GP:
        return ""
    if cpu[:2] == (UD, 0) and emu[1] == 0 and unknown_to_kernel(row):
        return "#GP at an instruction that the kernel does not know"
    if makers.opcode(row) in REPEATED and (cpu[:2] in ((UD, 0), (GP, 0)) or cpu[0] == PF):
        return "#GP that the kernel raises anew"
    if emu[1] == 0 and cpu[0] == PF and is_fxsave(row):
        return "FXSAVE or FXRSTOR that the kernel executes"
    return ""


def has_several_accesses(row: Row) -> bool:
    """Where the manuals leave the order of accesses open: not compared after #PF are CR2, error
    code and memory. CMPS, far branches, IRET, x87 environments, what saves and restores state."""
    if row.map == 0 and row.opcode in (0xA6, 0xA7):
        return True
    if row.map == 0 and row.opcode in (0xD9, 0xDD):
        return row.digit in (4, 6)
    far = row.map == 0 and (
        row.opcode in (0xCA, 0xCB, 0xCF) or (row.opcode == 0xFF and row.digit in (3, 5))
    )
    return far or (row.map == 1 and row.opcode in (0xAE, 0xC7))


def is_fxsave(row: Row) -> bool:
    """Or FXRSTOR: where they raise #GP the kernel executes them by itself."""
    return (row.map, row.opcode) == (1, 0xAE) and row.digit in (0, 1)


def unknown_to_kernel(row: Row) -> bool:
    """Where the host has no VT-x or AMD-V its kernel executes what raised #GP by itself, and makes
    it #UD where it does not know the instruction."""
    return bool(makers.unit(row)) or row.map >= 2 or makers.opcode(row) in UNKNOWN


# Rows that do nothing but fault at CPL 3.
PRIVILEGED = {
    (0, 0xF4),
    (1, 0x06),
    (1, 0x07),
    (1, 0x08),
    (1, 0x09),
    (1, 0x30),
    (1, 0x32),
    (1, 0x33),
}
PRIVILEGED |= {(1, opcode) for opcode in range(0x20, 0x24)} | {(2, 0x82)}
UNDEFINED = {(1, 0x0B), (1, 0xB9), (1, 0xFF)}


def always_faults(row: Row) -> bool:
    """Whether no case of a row can get through."""
    key = (row.map, row.opcode)
    if key in PRIVILEGED | UNDEFINED:
        return True
    if row.map != 1:
        return False
    groups = {0x00: (2, 3), 0x01: (1, 2, 3, 6, 7), 0xC7: (3, 5)}
    return row.digit in groups.get(row.opcode, ()) and (row.opcode != 0xC7 or not row.register)
