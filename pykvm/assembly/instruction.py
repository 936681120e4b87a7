"""Instructions as read: prefixes, mnemonic, operands."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pykvm.assembly import tables
from pykvm.assembly.expression import Problem
from pykvm.assembly.operands import Far, Immediate, Memory, Operand, parse

MAX_BYTES = 15  # Intel SDM vol. 2A §2.3.11
_WORD = re.compile(r"([A-Za-z]\w*)(?:\s+|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction as written, for code of `bits` bits."""

    bits: int
    prefixes: bytes
    mnemonic: str
    operands: tuple[Operand, ...]


def parse_instruction(text: str, bits: int) -> Instruction:
    """Read a statement that is neither label, directive nor macro.

    Raises:
        Problem: it cannot be read.
    """
    prefixes = bytearray()
    while word := _WORD.match(text):
        if len(prefixes) == MAX_BYTES:
            raise Problem(f"an instruction is {MAX_BYTES} bytes long at most")
        name, rest = word[1].lower(), text[word.end() :]
        if name in tables.PREFIXES:
            prefixes.append(tables.PREFIXES[name])
        elif name in tables.SIZE_PREFIXES:
            value, own = tables.SIZE_PREFIXES[name]
            if own == bits:
                raise Problem(f"{name!r} is what {bits}-bit code has anyway")
            prefixes.append(value)
        else:
            mnemonic = tables.ALIASES.get(name, name)
            return _checked(Instruction(bits, bytes(prefixes), mnemonic, tuple(parse(rest))))
        text = rest
    raise Problem("an instruction is missing" if not text else f"cannot read {text.split()[0]!r}")


def _checked(instruction: Instruction) -> Instruction:
    instruction = _far_form(instruction)
    values = any(isinstance(operand, Immediate) for operand in instruction.operands)
    if values and tables.OPERAND_SIZE in instruction.prefixes:
        raise Problem("data16 and data32 do not go with a value; name the operand's size")
    return instruction


def _far_form(instruction: Instruction) -> Instruction:
    """`jmp far ptr [...]` as keystone's `ljmp [...]`, `ljmp 8, x` as `ljmp 8:x`."""
    name = instruction.mnemonic.removeprefix("l")
    if name not in ("jmp", "call"):
        return instruction
    match instruction.operands:
        case (Immediate(selector), Immediate(offset)):
            return replace(instruction, mnemonic="l" + name, operands=(Far(selector, offset),))
        case (Memory(size="fword") as operand,):
            return replace(instruction, mnemonic="l" + name, operands=(replace(operand, size=""),))
        case (Memory(size=size),) if size and name != instruction.mnemonic:
            raise Problem(f"{instruction.mnemonic!r} takes a far ptr")
    return instruction


def no_instruction(mnemonic: str, bits: int) -> str:
    """What to say of an instruction that this kind of code does not have."""
    return f"{mnemonic!r} is no instruction of {bits}-bit code"
