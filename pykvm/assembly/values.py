"""Values that instructions hold, each checked to fit."""

from __future__ import annotations

from pykvm.assembly.expression import Lookup, Problem, evaluate
from pykvm.assembly.instruction import Instruction
from pykvm.assembly.operands import SIZES, Immediate, Memory, Register


def immediate(instruction: Instruction, position: int, operand: Immediate, lookup: Lookup) -> int:
    """The value of an operand that holds one.

    Raises:
        Problem: it does not fit. Of 64-bit operands, only a register that MOV loads has room
            for more than 32 bits; the others extend the sign.
    """
    value = evaluate(operand.value, lookup).number
    bits = _bits(instruction, position)
    fit(value, -1 << bits - 1, 1 << bits)
    to_register = isinstance(instruction.operands[0], Register)
    has_room = instruction.mnemonic in ("mov", "movabs") and to_register
    extends = bits == instruction.bits == 64 and not has_room
    if extends and not (-1 << 31 <= value < 1 << 31 or value >> 31 == (1 << 33) - 1):
        raise Problem(f"{value:#x} does not fit in a signed 32-bit value; load it by mov first")
    return value


def _bits(instruction: Instruction, position: int) -> int:
    """How wide a value may be: as wide as the first operand, but for a few."""
    if position == 0:
        default = {"push": instruction.bits, "ret": 16, "retf": 16, "retfq": 16, "enter": 16}
        return default.get(instruction.mnemonic, 8)
    first = instruction.operands[0]
    if isinstance(first, Register):
        return first.bits or 8
    if isinstance(first, Memory):
        return min(SIZES.get(first.size, 64), 64)
    return 8


def fit(value: int, least: int, end: int, what: str = "") -> int:
    """The value itself, if least <= value < end.

    Raises:
        Problem: it is not; `what` names it.
    """
    if not least <= value < end:
        bits = max((end - 1).bit_length(), (-least - 1).bit_length() + 1 if least else 0)
        raise Problem(f"{what}{value:#x} does not fit in {bits} bits")
    return value
