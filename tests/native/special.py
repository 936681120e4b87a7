"""What some instructions need to do anything: operands that stand in no ModRM, targets, images."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from cases import (
    AREA_BYTES,
    DF,
    ID,
    LANDING,
    MASK64,
    NOT_CANONICAL,
    STATUS,
    UNMAPPED,
    USER_CODE,
    USER_DATA,
    edge_kind,
)
from rows import VEX
from states import pools, state_image

if TYPE_CHECKING:
    from generate import Maker

# Those that the host's own table answers alike.
SELECTORS = (0, 1, 3, 0x28, USER_DATA, USER_DATA, 0x30, USER_CODE, 0x13, 0xFFFF)


class Redraw(Exception):
    """This case would tell nothing."""


def landing(m: Maker) -> int:
    """Where an indirect branch leads; seldom nowhere."""
    kind = m.rng.random()
    if kind < 0.1:
        return UNMAPPED if kind < 0.05 else NOT_CANONICAL
    return LANDING + m.rng.randrange(0x4000)


def operand(m: Maker, value: int, size: int) -> None:
    """Make operand E this value."""
    if m.memory:
        m.poke(m.case.operand, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
    else:
        m.registers[m.rm] = value & MASK64


def pointer(m: Maker, register: int, spread: int = 40) -> None:
    """Let an implicit pointer lead into the case's memory."""
    base = m.segment_base if register != 7 or not is_string(m) else 0
    linear = m.anchor + m.rng.randrange(-spread, spread)
    m.registers[register] = linear - base & (0xFFFFFFFF if m.asize else MASK64)
    if m.asize:
        m.registers[register] |= m.rng.getrandbits(32) << 32


def is_string(m: Maker) -> bool:
    """MOVS and its kin: their RDI takes no segment override."""
    return m.row.map == 0 and m.row.opcode >> 4 == 0xA


def string(m: Maker) -> None:
    pointer(m, 6)
    pointer(m, 7)
    if m.repeat:
        m.registers[1] = m.rng.randrange(7)
        if m.asize:
            m.registers[1] |= m.rng.getrandbits(32) << 32
    if m.rng.random() < 0.3:
        m.case.flags |= DF


def xlat(m: Maker) -> None:
    pointer(m, 3)


def leave(m: Maker) -> None:
    m.registers[5] = m.anchor + m.rng.randrange(-64, 64)


def enter(m: Maker) -> None:
    m.registers[4] = m.anchor + m.rng.randrange(180, 220)
    m.registers[5] = m.anchor + m.rng.randrange(250, 300)


def ret(m: Maker) -> None:
    m.poke(m.registers[4], struct.pack("<Q", landing(m)))


def branch(m: Maker) -> None:
    operand(m, landing(m), 8)


def far_pointer(m: Maker, size: int) -> bytes:
    """Offset and selector."""
    offset = landing(m) & (1 << 8 * size) - 1
    selector = USER_CODE if m.rng.random() < 0.6 else m.rng.choice(SELECTORS)
    if selector in (0x13, 0x30):
        selector = USER_CODE
    return offset.to_bytes(size, "little") + struct.pack("<H", selector)


def far_branch(m: Maker) -> None:
    m.poke(m.case.operand, far_pointer(m, m.operand_bytes()))


def far_return(m: Maker) -> None:
    size = m.operand_bytes()
    words = far_pointer(m, size)
    m.poke(m.registers[4], words[:size] + words[size:].ljust(size, b"\0"))


def iret(m: Maker) -> None:
    size, rng = m.operand_bytes(), m.rng
    flags = rng.getrandbits(16) & (STATUS | DF) | 2
    # AMD's processors take a target that is not canonical and fault there.
    target = LANDING + rng.randrange(0x4000)
    words = [target, USER_CODE, flags, m.anchor + rng.randrange(-64, 64), USER_DATA]
    if rng.random() < 0.15:
        # They take any SS that there is, too.
        at = rng.choice((1, 4))
        words[at] = rng.choice((0, 3, 0xFFFF, USER_DATA if at == 1 else 0))
    mask = (1 << 8 * size) - 1
    m.poke(m.registers[4], b"".join((w & mask).to_bytes(size, "little") for w in words))


def popf(m: Maker) -> None:
    allowed = STATUS | DF | ID | 2
    m.poke(m.registers[4], struct.pack("<Q", m.rng.getrandbits(32) & allowed))


def selector(m: Maker) -> None:
    operand(m, m.rng.choice(SELECTORS) | m.rng.getrandbits(32) << 16, 2)


def pop_segment(m: Maker) -> None:
    m.poke(m.registers[4], struct.pack("<Q", m.rng.choice(SELECTORS)))


def load_far(m: Maker) -> None:
    size = m.operand_bytes()
    data = m.rng.randbytes(size) + struct.pack("<H", m.rng.choice(SELECTORS))
    m.poke(m.case.operand, data)


def compare_exchange(m: Maker) -> None:
    """Let it find what it compares with, half of the time."""
    if not m.memory or 0 in m.used or m.rng.random() < 0.5:
        return
    at = m.case.operand - m.case.area
    if 0 <= at < AREA_BYTES - 8:
        m.registers[0] = int.from_bytes(m.data[at : at + 8], "little")


def compare_exchange_pair(m: Maker) -> None:
    at = m.case.operand - m.case.area
    if {0, 2} & set(m.used) or m.rng.random() < 0.5 or not 0 <= at < AREA_BYTES - 16:
        return
    half = 8 if m.rex & 8 else 4
    m.registers[0] = int.from_bytes(m.data[at : at + half], "little")
    m.registers[2] = int.from_bytes(m.data[at + half : at + 2 * half], "little")


def bit_offset(m: Maker) -> None:
    if not m.memory:
        return
    if m.reg in m.used:
        raise Redraw
    m.registers[m.reg] = m.rng.randrange(-800, 800) & MASK64


def shift_by_cl(m: Maker) -> None:
    if 1 not in m.used and m.rng.random() < 0.8:
        m.registers[1] = m.rng.randrange(72)


def double_shift(m: Maker) -> None:
    """With 16 bits and a count beyond that the result is undefined: SDM vol. 2B, SHLD, SHRD."""
    shift_by_cl(m)
    count = m.case.code[-1] if m.row.immediate else m.registers[1]
    if m.operand_bytes() == 2 and count & 31 > 16:
        raise Redraw


def divide(m: Maker) -> None:
    if 2 not in m.used and m.rng.random() < 0.7:
        m.registers[2] = m.rng.choice((0, 0, 1, m.rng.getrandbits(20), MASK64))


def mask_move(m: Maker) -> None:
    """Whether bytes that are masked out may fault is the processor's choice: SDM vol. 2B."""
    pointer(m, 7)
    if edge_kind(m.case.number) is not None:
        m.registers[7] -= 64


def string_lengths(m: Maker) -> None:
    for register in (0, 2):
        if register not in m.used and m.rng.random() < 0.8:
            m.registers[register] = m.rng.randrange(-20, 20) & MASK64


def load_mxcsr(m: Maker) -> None:
    value = m.rng.choice(pools().controls) if m.rng.random() < 0.9 else m.rng.getrandbits(32)
    m.poke(m.case.operand, struct.pack("<I", value & ~(1 << 17)))  # AMD has a bit there


def restore(m: Maker) -> None:
    """An image to load: whole, or with something of its header wrong."""
    image = bytearray(state_image(m.rng, m.unit))
    image[512] = m.rng.getrandbits(3)
    if m.rng.random() < 0.1:
        image[m.rng.randrange(513, 576)] = m.rng.getrandbits(3)
    m.poke(m.case.operand, bytes(image[: 512 if m.row.digit == 1 else 832]))
    save(m)


def save(m: Maker) -> None:
    """Parts to save: no others, as the host may have more than the guest."""
    if {0, 2} & set(m.used):
        raise Redraw
    m.registers[0] = m.rng.getrandbits(3) | m.rng.getrandbits(32) << 32
    m.registers[2] = m.rng.getrandbits(32) << 32


def segment_base(m: Maker) -> None:
    value = m.rng.getrandbits(64)
    if m.rng.random() < 0.9:
        value = value >> 17 if m.rng.random() < 0.7 else value | 0x1FFFF << 47
    m.registers[m.rm] = value


Hook = Callable[["Maker"], None]
ONE: dict[int, Hook] = {
    0xD7: xlat, 0xC8: enter, 0xC9: leave, 0xC2: ret, 0xC3: ret, 0xCA: far_return,
    0xCB: far_return, 0xCF: iret, 0x9D: popf, 0x8E: selector, 0xD2: shift_by_cl, 0xD3: shift_by_cl,
}  # fmt: skip
ONE |= dict.fromkeys((*range(0xA4, 0xA8), *range(0xAA, 0xB0)), string)
TWO: dict[int, Hook] = {
    0x02: selector, 0x03: selector, 0xA1: pop_segment, 0xA9: pop_segment, 0xB2: load_far,
    0xB4: load_far, 0xB5: load_far, 0xB0: compare_exchange, 0xB1: compare_exchange,
    0xA3: bit_offset, 0xAB: bit_offset, 0xB3: bit_offset, 0xBB: bit_offset, 0xA4: double_shift,
    0xA5: double_shift, 0xAC: double_shift, 0xAD: double_shift, 0xF7: mask_move,
}  # fmt: skip
GROUPS: dict[tuple[int, int, int | None], Hook] = {
    (0, 0xFF, 2): branch, (0, 0xFF, 4): branch, (0, 0xFF, 3): far_branch, (0, 0xFF, 5): far_branch,
    (0, 0xF6, 6): divide, (0, 0xF6, 7): divide, (0, 0xF7, 6): divide, (0, 0xF7, 7): divide,
    (1, 0x00, 4): selector, (1, 0x00, 5): selector, (1, 0xC7, 1): compare_exchange_pair,
}  # fmt: skip


def _state_group(m: Maker) -> Hook | None:
    """0F AE, and the XSAVE family in 0F C7."""
    digit, opcode = m.row.digit, m.row.opcode
    if opcode == 0xAE and not m.memory:
        return segment_base if m.row.has("PF3") else None
    if opcode == 0xAE:
        return (None, restore, load_mxcsr, None, save, restore, save, None)[digit or 0]
    return restore if digit == 3 else save if digit in (4, 5) else None


def special(m: Maker) -> None:
    """Apply what the row's instruction wants."""
    row = m.row
    hook: Hook | None = None
    if row.map == 0:
        hook = ONE.get(row.opcode) or GROUPS.get((0, row.opcode, row.digit))
    elif row.map == 1:
        hook = TWO.get(row.opcode) or GROUPS.get((1, row.opcode, row.digit))
        if row.opcode == 0xAE or (row.opcode == 0xC7 and m.memory and hook is None):
            hook = _state_group(m)
    elif row.map == VEX and row.opcode == 0xF7:
        hook = mask_move
    elif row.map == VEX and row.opcode == 0xAE and row.digit == 2:
        hook = load_mxcsr
    elif row.map in (3, VEX + 2):
        hook = string_lengths if row.opcode in (0x60, 0x61) else None
    if hook:
        hook(m)
