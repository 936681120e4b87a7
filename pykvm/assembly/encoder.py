"""One instruction to its bytes: branches and the tables' own here, the rest by keystone.

keystone crashes, hangs or writes wrong code for a good many things that a typing error makes.
It therefore sees one instruction at a time, in a process of its own, spelled anew from parsed
operands, with every number checked to fit; no label, directive or address of code reaches it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec

from pykvm.assembly import keystone_process, tables
from pykvm.assembly.expression import Lookup, Problem, evaluate
from pykvm.assembly.keystone_process import Reply
from pykvm.assembly.operands import (
    HIGH_BYTES,
    SEGMENTS,
    SIZES,
    Far,
    Immediate,
    Memory,
    Operand,
    Register,
    parse,
)
from pykvm.errors import PykvmError

BATCH = 1000
TIMEOUT_S = 5.0
_MARK = 0x7E57_C0DE  # stands for a distance until the instruction's size is known
_WORD = re.compile(r"([A-Za-z]\w*)(?:\s+|$)", re.ASCII)
_INVALID_OPERAND, _MISSING_FEATURE, _INVALID_MNEMONIC = 512, 513, 514  # KS_ERR_ASM_*
_SSE = ("movsd", "cmpsd")  # with operands these are no string instructions
_NEEDS_REX = re.compile(r"r(8|9|1[0-5])|[sb]pl|[sd]il")


class _NotLearnedError(Exception):
    """keystone has not been asked for this instruction yet."""


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


class Encoder:
    """Makes bytes of instructions.

    What keystone is to encode it gathers first, and asks for all of it at once by `learn`.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], bytes | str] = {}  # the bytes, or what is wrong
        self._wanted: dict[tuple[int, str], None] = {}

    def encode(
        self, instruction: Instruction, lookup: Lookup, address: int, least_bytes: int
    ) -> bytes:
        """The bytes of an instruction; as long as it is not learned, bytes that are no more.

        Args:
            lookup: gives the value of a name.
            address: where it will lie.
            least_bytes: branches with two forms take none shorter than this.

        Raises:
            Problem: there is no such instruction, or a value does not fit.
        """
        prefixes = instruction.prefixes
        address += len(prefixes)
        try:
            body = (
                _plain(instruction)
                or _branch(instruction, lookup, address, least_bytes - len(prefixes))
                or _far(instruction, lookup)
                or _push16(instruction, lookup)
                or self._by_keystone(instruction, lookup, address)
            )
        except _NotLearnedError:
            return bytes(max(least_bytes, 1))
        return prefixes + body

    def learn(self) -> bool:
        """Ask keystone for what was missing; False where nothing was.

        Raises:
            PykvmError: keystone is not installed.
        """
        if not self._wanted:
            return False
        for bits in (16, 32, 64):
            texts = [text for each, text in self._wanted if each == bits]
            for start in range(0, len(texts), BATCH):
                self._ask(bits, texts[start : start + BATCH])
        self._wanted.clear()
        return True

    def _ask(self, bits: int, texts: list[str]) -> None:
        try:
            replies = keystone_process.ask(bits, texts, TIMEOUT_S)
        except keystone_process.KeystoneDiedError as error:
            if find_spec("keystone") is None:
                raise PykvmError("assembling needs keystone-engine; install it") from None
            if len(texts) == 1:
                self._known[bits, texts[0]] = str(error)
                return
            middle = len(texts) // 2
            self._ask(bits, texts[:middle])
            self._ask(bits, texts[middle:])
            return
        for text, reply in zip(texts, replies, strict=True):
            self._known[bits, text] = bytes.fromhex(reply.code) or _explain(reply, text, bits)

    def _by_keystone(self, instruction: Instruction, lookup: Lookup, address: int) -> bytes:
        _check_operands(instruction)
        texts: list[str] = []
        prefix, target = b"", None
        for position, operand in enumerate(instruction.operands):
            if isinstance(operand, Memory):
                text, disp, labels = _memory(instruction, operand, lookup)
                if operand.base == "rip" and labels == 1:
                    target, disp = disp, _MARK
                elif not operand.base and not operand.index and instruction.bits == 64:
                    prefix = bytes([tables.ADDRESS_SIZE]) if disp >> 31 == 1 else b""
                texts.append(text.format(disp=f"{disp:#x}"))
            elif isinstance(operand, Immediate):
                texts.append(f"{_immediate(instruction, position, operand, lookup):#x}")
            elif isinstance(operand, Register):
                texts.append(operand.name)
        code = prefix + self._look_up(instruction, texts)
        if target is None:
            return code
        distance = _fit(target - address - len(code), -1 << 31, 1 << 31, "the distance ")
        at = code.index(_MARK.to_bytes(4, "little"))
        return code[:at] + distance.to_bytes(4, "little", signed=True) + code[at + 4 :]

    def _look_up(self, instruction: Instruction, operands: list[str]) -> bytes:
        bits, mnemonic = instruction.bits, instruction.mnemonic
        text = f"{mnemonic} {', '.join(operands)}"
        found = self._known.get((bits, text))
        if found is None:
            self._wanted[bits, text] = None
            raise _NotLearnedError
        if isinstance(found, str):
            raise Problem(found)
        return _correct(bits, mnemonic, operands, found)


def _explain(reply: Reply, text: str, bits: int) -> str:
    mnemonic = text.split()[0]
    unsized = "[" in text and " ptr " not in text
    size = "; say how wide the memory is: dword ptr [...]" if unsized else ""
    return {
        0: "keystone makes nothing of this",
        _INVALID_OPERAND: f"{mnemonic!r} does not take these operands{size}",
        _MISSING_FEATURE: _no_instruction(mnemonic, bits),
        _INVALID_MNEMONIC: f"there is no instruction {mnemonic!r} in {bits}-bit code",
    }.get(reply.errno, reply.error)


def _no_instruction(mnemonic: str, bits: int) -> str:
    return f"{mnemonic!r} is no instruction of {bits}-bit code"


def _correct(bits: int, mnemonic: str, operands: list[str], code: bytes) -> bytes:
    """Take the operand-size prefix away where keystone adds one to the mode's default."""
    segment = mnemonic in ("push", "pop") and operands[0] in SEGMENTS
    if mnemonic in tables.NEEDLESS_OPERAND_SIZE[bits] or segment:
        return code.removeprefix(bytes([tables.OPERAND_SIZE]))
    return code


# What pykvm encodes itself; each gives None for an instruction that is not its own.


def _sized(bits: int, size: int, opcode: int) -> bytes:
    """An opcode with the prefix that gives it an operand of `size` bits."""
    if size == 64:
        if bits != 64:
            raise Problem(f"there are no 64-bit operands in {bits}-bit code")
        return bytes([tables.REX_W, opcode])
    default = 16 if bits == 16 else 32
    return bytes([opcode] if size in (8, default) else [tables.OPERAND_SIZE, opcode])


def _plain(instruction: Instruction) -> bytes | None:
    """Instructions without operands: strings, and those of the table."""
    bits, mnemonic = instruction.bits, instruction.mnemonic
    if mnemonic in tables.MISSING:
        raise Problem(tables.MISSING[mnemonic])
    size = tables.STRING_BITS.get(mnemonic[-1:], 0)
    string = tables.STRINGS.get(mnemonic[:-1], 0) if size else 0
    if instruction.operands:
        if mnemonic in tables.STRINGS or mnemonic == "xlatb" or (string and mnemonic not in _SSE):
            raise Problem("a string instruction has a suffix and no operands: rep movsb")
        return None
    if string:
        return _sized(bits, size, string if size == 8 else string + 1)
    if mnemonic in tables.ONLY_64 and bits != 64:
        raise Problem(_no_instruction(mnemonic, bits))
    if mnemonic == "iretd":
        return _sized(bits, 32, 0xCF)
    return bytes.fromhex(tables.PLAIN.get(mnemonic, "")) or None


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


def _branch(
    instruction: Instruction, lookup: Lookup, address: int, least_bytes: int
) -> bytes | None:
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


def _counter_prefix(instruction: Instruction) -> bytes:
    size = tables.COUNTER_JUMPS[instruction.mnemonic]
    if size == instruction.bits:
        return b""
    if size == 64 or {size, instruction.bits} == {16, 64}:
        raise Problem(_no_instruction(instruction.mnemonic, instruction.bits))
    return bytes([tables.ADDRESS_SIZE])


def _wrap(target: int, end: int, bits: int) -> int:
    """The distance from `end`, around the end of the code's address space where it has one."""
    size = {16: 1 << 16, 32: 1 << 32, 64: 1 << 64}[bits]
    reach = min(size, 1 << 32) // 2
    distance = target - end
    if target // size == end // size:
        distance = (distance + size // 2) % size - size // 2
    return _fit(distance, -reach, reach, "the distance ")


def _far(instruction: Instruction, lookup: Lookup) -> bytes | None:
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
    selector = _fit(evaluate(operand.selector, lookup).number, 0, 1 << 16, "the selector ")
    offset = _fit(evaluate(operand.offset, lookup).number, 0, 1 << 8 * width, "the offset ")
    opcode = b"\xea" if mnemonic.endswith("jmp") else b"\x9a"
    return opcode + offset.to_bytes(width, "little") + selector.to_bytes(2, "little")


def _push16(instruction: Instruction, lookup: Lookup) -> bytes | None:
    """PUSH of a value in 16-bit code, which keystone makes 32 bits wide."""
    operands = instruction.operands
    if instruction.bits != 16 or instruction.mnemonic != "push" or len(operands) != 1:
        return None
    if not isinstance(operands[0], Immediate):
        return None
    value = _immediate(instruction, 0, operands[0], lookup)
    if -0x80 <= value < 0x80:
        return b"\x6a" + value.to_bytes(1, "little", signed=True)
    return b"\x68" + (value & 0xFFFF).to_bytes(2, "little")


# Operands for keystone.


def _check_operands(instruction: Instruction) -> None:
    """Refuse what ends keystone's process, or what it silently takes for something else."""
    registers = [each.name for each in instruction.operands if isinstance(each, Register)]
    wide = [each for each in instruction.operands if isinstance(each, Register) and each.bits == 64]
    named = list(registers)
    for operand in instruction.operands:
        if isinstance(operand, Far):
            raise Problem("only ljmp and lcall take selector:offset")
        if isinstance(operand, Memory):
            named += [operand.base, operand.index]
    rex = [name for name in named if _NEEDS_REX.match(name)] + [each.name for each in wide]
    high = [name for name in registers if name in HIGH_BYTES]
    if high and rex:
        raise Problem(f"{high[0]!r} cannot be used together with {rex[0]!r}")
    if any(name in ("rip", "eip") for name in registers):
        raise Problem("rip is read by lea: lea rax, [rip + label]")


def _memory(instruction: Instruction, operand: Memory, lookup: Lookup) -> tuple[str, int, int]:
    """The operand for keystone with {disp} in it; the displacement; the labels in that."""
    value, labels = evaluate(operand.disp, lookup) if operand.disp else (0, 0)
    scale = evaluate(operand.scale, lookup).number
    if operand.index and scale not in (1, 2, 4, 8):
        raise Problem(f"an index is scaled by 1, 2, 4 or 8, not {scale}")
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
        return _fit(value, 0, 1 << 64, "the address ")
    name = operand.base or operand.index
    if not name:
        if instruction.bits == 16:
            return _fit(value, 0, 1 << 16, "put the address into a register: ")
        return _fit(value, -1 << 31, 1 << 32, "put the address into a register: ")
    if name in ("bx", "bp", "si", "di"):
        return _fit(value, -1 << 15, 1 << 16, "the displacement ")
    narrow = name[0] == "e"
    return _fit(value, -1 << 31, 1 << 32 if narrow else 1 << 31, "the displacement ")


def _immediate(instruction: Instruction, position: int, operand: Immediate, lookup: Lookup) -> int:
    value = evaluate(operand.value, lookup).number
    bits = _immediate_bits(instruction, position)
    _fit(value, -1 << bits - 1, 1 << bits)
    to_register = isinstance(instruction.operands[0], Register)
    only_32 = (
        bits == 64
        and instruction.bits == 64
        and not (instruction.mnemonic in ("mov", "movabs") and to_register)
    )
    if only_32 and not (-1 << 31 <= value < 1 << 31 or value >> 31 == (1 << 33) - 1):
        raise Problem(f"{value:#x} does not fit in a signed 32-bit value; load it by mov first")
    return value


def _immediate_bits(instruction: Instruction, position: int) -> int:
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


def _fit(value: int, least: int, end: int, what: str = "") -> int:
    """The value itself, if least <= value < end."""
    if not least <= value < end:
        bits = max((end - 1).bit_length(), (-least - 1).bit_length() + 1 if least else 0)
        raise Problem(f"{what}{value:#x} does not fit in {bits} bits")
    return value
