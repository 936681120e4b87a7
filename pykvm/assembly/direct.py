"""Instructions that pykvm encodes itself: branches, strings, and those of its tables.

Each function gives None for an instruction that is not its own. They are the ones that
keystone lacks or gets wrong, and those whose bytes depend on where they lie.
"""

from __future__ import annotations

from pykvm.assembly import tables
from pykvm.assembly.expression import Lookup, Problem, evaluate
from pykvm.assembly.instruction import Instruction, no_instruction
from pykvm.assembly.operands import Far, Immediate, Register
from pykvm.assembly.values import fit, immediate


def plain(instruction: Instruction) -> bytes | None:
    """Instructions without operands: strings, and those of the table."""
    bits, mnemonic = instruction.bits, instruction.mnemonic
    if mnemonic in tables.MISSING:
        raise Problem(tables.MISSING[mnemonic])
    size = tables.STRING_BITS.get(mnemonic[-1:], 0)
    string = tables.STRINGS.get(mnemonic[:-1], 0) if size else 0
    if instruction.operands:
        if (
            mnemonic in tables.STRINGS
            or mnemonic == "xlatb"
            or (string and not _is_sse(instruction))
        ):
            raise Problem("a string instruction has a suffix and no operands: rep movsb")
        return None
    if string:
        return _sized(bits, size, string if size == 8 else string + 1)
    if mnemonic in tables.ONLY_64 and bits != 64:
        raise Problem(no_instruction(mnemonic, bits))
    if mnemonic == "iretd":
        return _sized(bits, 32, 0xCF)
    return bytes.fromhex(tables.PLAIN.get(mnemonic, "")) or None


def _is_sse(instruction: Instruction) -> bool:
    """Whether MOVSD or CMPSD is the one of floating point, which has the same name."""
    return instruction.mnemonic in ("movsd", "cmpsd") and any(
        isinstance(each, Register) and each.name.startswith("xmm") for each in instruction.operands
    )


def _sized(bits: int, size: int, opcode: int) -> bytes:
    """An opcode with the prefix that gives it an operand of `size` bits."""
    if size == 64:
        if bits != 64:
            raise Problem(f"there are no 64-bit operands in {bits}-bit code")
        return bytes([tables.REX_W, opcode])
    default = 16 if bits == 16 else 32
    return bytes([opcode] if size in (8, default) else [tables.OPERAND_SIZE, opcode])


def branch(
    instruction: Instruction, lookup: Lookup, address: int, least_bytes: int
) -> bytes | None:
    """Branches to a target: short where it reaches and nothing asks for more, else near."""
    forms = _branch_forms(instruction.mnemonic)
    if forms is None or not instruction.operands:
        return None
    bits, operand = instruction.bits, instruction.operands[0]
    if len(instruction.operands) > 1 or not isinstance(operand, Immediate):
        return None
    short, near = forms
    if instruction.mnemonic in tables.COUNTER_JUMPS:
        short = _counter_prefix(instruction) + short
    target = evaluate(operand.value, lookup).number
    distance = target - address - len(short) - 1
    if short and -0x80 <= distance < 0x80 and (least_bytes <= len(short) + 1 or not near):
        return short + distance.to_bytes(1, "little", signed=True)
    if not near or operand.short:
        raise Problem(f"the target is {distance} bytes away; 127 is the farthest")
    width = 2 if bits == 16 else 4
    distance = _wrap(target, address + len(near) + width, bits)
    return near + distance.to_bytes(width, "little", signed=True)


def _branch_forms(mnemonic: str) -> tuple[bytes, bytes] | None:
    """The opcodes of a branch's short and near form; empty where it has none."""
    if mnemonic == "jmp":
        return b"\xeb", b"\xe9"
    if mnemonic == "call":
        return b"", b"\xe8"
    if mnemonic in tables.LOOPS:
        return bytes([tables.LOOPS[mnemonic]]), b""
    if mnemonic in tables.COUNTER_JUMPS:
        return b"\xe3", b""
    condition = tables.CONDITIONS.get(mnemonic[1:], -1)
    if mnemonic[:1] != "j" or condition < 0:
        return None
    return bytes([0x70 + condition]), bytes([0x0F, 0x80 + condition])


def _counter_prefix(instruction: Instruction) -> bytes:
    size = tables.COUNTER_JUMPS[instruction.mnemonic]
    if size == instruction.bits:
        return b""
    if size == 64 or {size, instruction.bits} == {16, 64}:
        raise Problem(no_instruction(instruction.mnemonic, instruction.bits))
    return bytes([tables.ADDRESS_SIZE])


def _wrap(target: int, end: int, bits: int) -> int:
    """The distance from `end`, around the end of the code's address space where it has one."""
    size = {16: 1 << 16, 32: 1 << 32, 64: 1 << 64}[bits]
    reach = min(size, 1 << 32) // 2
    distance = target - end
    if target // size == end // size:
        distance = (distance + size // 2) % size - size // 2
    return fit(distance, -reach, reach, "the distance ")


def far(instruction: Instruction, lookup: Lookup) -> bytes | None:
    """`ljmp selector:offset` and `lcall selector:offset`."""
    mnemonic = instruction.mnemonic
    if not instruction.operands or not isinstance(instruction.operands[0], Far):
        return None
    if mnemonic.removeprefix("l") not in ("jmp", "call") or len(instruction.operands) > 1:
        raise Problem("only ljmp and lcall take selector:offset")
    if instruction.bits == 64:
        raise Problem("64-bit code has no far branch to selector:offset; push both and retfq")
    operand = instruction.operands[0]
    resized = tables.OPERAND_SIZE in instruction.prefixes
    width = 2 if (instruction.bits == 16) != resized else 4
    selector = fit(evaluate(operand.selector, lookup).number, 0, 1 << 16, "the selector ")
    offset = fit(evaluate(operand.offset, lookup).number, 0, 1 << 8 * width, "the offset ")
    opcode = b"\xea" if mnemonic.endswith("jmp") else b"\x9a"
    return opcode + offset.to_bytes(width, "little") + selector.to_bytes(2, "little")


def push16(instruction: Instruction, lookup: Lookup) -> bytes | None:
    """PUSH of a value in 16-bit code, which keystone makes 32 bits wide."""
    operands = instruction.operands
    if instruction.bits != 16 or instruction.mnemonic != "push" or len(operands) != 1:
        return None
    if not isinstance(operands[0], Immediate):
        return None
    value = immediate(instruction, 0, operands[0], lookup)
    if -0x80 <= value < 0x80:
        return b"\x6a" + value.to_bytes(1, "little", signed=True)
    return b"\x68" + (value & 0xFFFF).to_bytes(2, "little")
