"""Operands as keystone gets them: spelled anew, and none that it takes for something else."""

from __future__ import annotations

import re

from pykvm.assembly import tables
from pykvm.assembly.expression import Lookup, Problem, evaluate
from pykvm.assembly.instruction import Instruction
from pykvm.assembly.operands import HIGH_BYTES, REGISTERS, Far, Memory, Register
from pykvm.assembly.values import fit

_NEEDS_REX = re.compile(r"r(8|9|1[0-5])|[sb]pl|[sd]il")


def check_operands(instruction: Instruction) -> None:
    """Refuse what ends keystone's process, or what it silently takes for something else."""
    bits = instruction.bits
    registers = [each.name for each in instruction.operands if isinstance(each, Register)]
    wide = [each for each in instruction.operands if isinstance(each, Register) and each.bits == 64]
    named = list(registers)
    for operand in instruction.operands:
        if isinstance(operand, Far):
            raise Problem("only ljmp and lcall take selector:offset")
        if isinstance(operand, Memory):
            if operand.size == "qword" and bits != 64 and instruction.mnemonic in tables.GENERAL:
                raise Problem(f"there are no 64-bit operands in {bits}-bit code")
            named += [operand.base, operand.index]
    rex = [name for name in named if _NEEDS_REX.match(name)] + [each.name for each in wide]
    high = [name for name in registers if name in HIGH_BYTES]
    if high and rex:
        raise Problem(f"{high[0]!r} cannot be used together with {rex[0]!r}")
    if any(name in ("rip", "eip") for name in registers):
        raise Problem("rip is read by lea: lea rax, [rip + label]")


def spell_memory(instruction: Instruction, operand: Memory, lookup: Lookup) -> tuple[str, int, int]:
    """The operand for keystone with {disp} in it; the displacement; the labels in that."""
    value, labels = evaluate(operand.disp, lookup) if operand.disp else (0, 0)
    scale = evaluate(operand.scale, lookup).number
    if operand.index and scale not in (1, 2, 4, 8):
        raise Problem(f"an index is scaled by 1, 2, 4 or 8, not {scale}")
    if operand.index and not operand.base and instruction.bits == 16:
        raise Problem("in 16-bit code an index needs a base")  # keystone drops it without
    if REGISTERS.get(operand.index) == 0 and "gather" not in instruction.mnemonic:
        raise Problem(f"only gathers take {operand.index!r} as an index")
    if operand.base == "rip" and (instruction.bits != 64 or labels not in (0, 1)):
        raise Problem("[rip + label] is an address in 64-bit code")
    if not (operand.base == "rip" and labels):
        value = _displacement(instruction, operand, value)
    terms = [operand.base] if operand.base else []
    if operand.index:
        terms.append(f"{operand.index}*{scale}")
    elif not operand.base and instruction.bits == 64 and instruction.mnemonic != "movabs":
        terms.append("riz*1")  # or else keystone makes the address relative to rip
    size = f"{operand.size} ptr " if operand.size else ""
    segment = f"{operand.segment}:" if operand.segment else ""
    return f"{size}{segment}[{' + '.join([*terms, '{disp}'])}]", value, labels


def _displacement(instruction: Instruction, operand: Memory, value: int) -> int:
    if instruction.mnemonic == "movabs":
        return fit(value, 0, 1 << 64, "the address ")
    name = operand.base or operand.index
    if not name:
        if instruction.bits == 16:
            return fit(value, 0, 1 << 16, "put the address into a register: ")
        return fit(value, -1 << 31, 1 << 32, "put the address into a register: ")
    if name in ("bx", "bp", "si", "di"):
        return fit(value, -1 << 15, 1 << 16, "the displacement ")
    narrow = name[0] == "e"
    return fit(value, -1 << 31, 1 << 32 if narrow else 1 << 31, "the displacement ")
