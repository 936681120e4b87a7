"""Which instruction an exit comes from.

For most exits it is the one at rip. After a write or HLT rip may already be behind it, as
KVM's instruction emulator leaves it; then the bytes before rip are searched for one that
writes where and what the exit says.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pykvm import paging
from pykvm.backend.protocol import Vcpu
from pykvm.disasm import MAX_INSTRUCTION_BYTES, Instruction, disassemble
from pykvm.exits import Exit, Halt, MmioWrite, PortOut, Timeout
from pykvm.memory import GuestMemory
from pykvm.registers import ALIASES, Registers, SpecialRegisters
from pykvm.state import MpState

_HLT = 0xF4
_OUT_IMMEDIATE, _OUT_DX = (0xE6, 0xE7), (0xEE, 0xEF, 0x6E, 0x6F)
_REPEATS = (b"\xf2", b"\xf3")
_REX = tuple(bytes([each]) for each in range(0x40, 0x50))
_STRINGS = (b"\x6e", b"\x6f", b"\xa4", b"\xa5", b"\xaa", b"\xab")  # OUTS, MOVS, STOS
_PAGE_OFFSET = 0xFFF


def culprit(vcpu: Vcpu, memory: GuestMemory, exit: Exit) -> Instruction | None:
    """The instruction that caused the vCPU's last exit; None where rip is not mapped."""
    if isinstance(exit, Timeout) and vcpu.get_mp_state() is MpState.HALTED:
        exit = Halt()  # it sleeps behind its HLT, which was no exit
    return culprit_of(vcpu.get_registers(), vcpu.get_special(), memory, exit)


def culprit_of(
    registers: Registers, special: SpecialRegisters, memory: GuestMemory, exit: Exit
) -> Instruction | None:
    """The same for a vCPU that has gone on, by the registers that it had."""
    rip = linear_rip(registers, special)
    before, code = _code_around(memory, special, rip)
    repeating = code[:1] in _REPEATS and code[1:2] in _STRINGS  # rip stays until it is done
    if isinstance(exit, Halt | PortOut | MmioWrite) and not repeating:
        size = _fitting_end(before, rip, special.bits, registers, exit)
        if size:
            return _instruction(before[-size:], rip - size, special.bits, code_base(special))
    return _instruction(code, rip, special.bits, code_base(special)) if code else None


def linear_rip(registers: Registers, special: SpecialRegisters) -> int:
    """Where the processor fetches: CS.base + rIP."""
    if special.bits == 64:
        return registers.rip
    return code_base(special) + registers.rip & 0xFFFF_FFFF


def code_base(special: SpecialRegisters) -> int:
    """What is added to rIP."""
    return 0 if special.bits == 64 else special.cs.base


def _code_around(memory: GuestMemory, special: SpecialRegisters, rip: int) -> tuple[bytes, bytes]:
    """The longest instruction's worth of bytes before rip, as far as mapped, and from it on."""
    start = max(0, rip - MAX_INSTRUCTION_BYTES)
    around = paging.read_linear(memory, special, start, rip - start + MAX_INSTRUCTION_BYTES)
    if len(around) < rip - start:  # the page before rip's is not mapped
        start = rip & ~_PAGE_OFFSET
        around = paging.read_linear(memory, special, start, rip - start + MAX_INSTRUCTION_BYTES)
    return around[: rip - start], around[rip - start :]


def _fitting_end(before: bytes, rip: int, bits: int, registers: Registers, exit: Exit) -> int:
    """Size of the instruction that ends `before` and fits the exit; 0 for none.

    It is the shortest, since a byte in front that looks like a prefix may be anything, but
    for prefixes that are unlikely to fit by chance: REP, and REX of a memory access.
    """

    def fits(size: int) -> bool:
        decoded = _decode(before[-size:], rip - size, bits)
        return bool(decoded and decoded.size == size and _fits(decoded, registers, exit))

    size = next(filter(fits, range(1, len(before) + 1)), 0)
    prefix = before[-size - 1 : -size]
    is_repeat = prefix in _REPEATS and before[-size:][:1] in _STRINGS
    is_rex = prefix in _REX and isinstance(exit, MmioWrite) and fits(size + 1)
    return size + (is_repeat or is_rex)


def _fits(decoded: Any, registers: Registers, exit: Exit) -> bool:
    match exit:
        case Halt():
            return bool(decoded.opcode[0] == _HLT)
        case PortOut(port, size):
            return _is_out(decoded, registers, port, size)
        case MmioWrite(gpa, size):
            return any(_writes(decoded, each, registers, gpa, size) for each in decoded.operands)
    return False


def _is_out(decoded: Any, registers: Registers, port: int, size: int) -> bool:
    opcode = decoded.opcode[0]
    if opcode in _OUT_IMMEDIATE:
        written_port = decoded.operands[0].imm & 0xFF
    elif opcode in _OUT_DX:
        written_port = registers.rdx & 0xFFFF
    else:
        return False
    return bool(written_port == port and decoded.operands[1].size == size)


def _writes(decoded: Any, operand: Any, registers: Registers, gpa: int, size: int) -> bool:
    """Whether it stores `size` bytes at an address with the page offset of `gpa`.

    A store across two pages, or of more than 8 bytes, exits in parts.
    """
    import capstone

    if operand.type != capstone.x86.X86_OP_MEM or not operand.access & capstone.CS_AC_WRITE:
        return False
    if bytes(decoded.opcode[:1]) in _STRINGS:  # rDI has moved on
        return bool(operand.size == size)
    where = operand.mem
    address = where.disp + _value(decoded, where.base, registers)
    address += where.scale * _value(decoded, where.index, registers)
    offset = gpa - address & _PAGE_OFFSET
    if operand.size > 8 or (address & _PAGE_OFFSET) + operand.size > _PAGE_OFFSET + 1:
        return bool(offset + size <= operand.size)
    return (offset, size) == (0, operand.size)


def _value(decoded: Any, register: int, registers: Registers) -> int:
    if not register:
        return 0
    name: str = decoded.reg_name(register)
    if name in ("rip", "eip"):
        return int(decoded.address + decoded.size)
    full, shift, bits = ALIASES.get(name, (name, 0, 64))
    value: int = getattr(registers, full, 0)
    return value >> shift & (1 << bits) - 1


@lru_cache(maxsize=4096)
def _instruction(code: bytes, address: int, bits: int, base: int) -> Instruction:
    """The first instruction of `code`; kept, since guests exit at the same places again."""
    return disassemble(code, address, bits, base)[0]


@lru_cache(maxsize=4096)
def _decode(code: bytes, address: int, bits: int) -> Any:
    """capstone's view of the instruction at the start of `code`; None where it is none."""
    import capstone

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    decoder.detail = True
    return next(decoder.disasm(code, address, 1), None)
