"""capstone out: instructions as text."""

from __future__ import annotations

from dataclasses import dataclass

from pykvm.errors import UsageError

MAX_INSTRUCTION_BYTES = 15  # Intel SDM vol. 2A §2.3.11
_PREFIXES = b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3"
_OPERAND_SIZE = 0x66
_RELATIVE = frozenset((*range(0x70, 0x80), *range(0xE0, 0xE4), 0xE8, 0xE9, 0xEB))
RUN = 64  # instructions decoded at once, so that bad bytes do not copy all that follows them


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction; `(bad)` where there is none."""

    address: int
    code: bytes
    mnemonic: str
    operands: str

    def __str__(self) -> str:
        return f"{self.mnemonic} {self.operands}".strip()


def disassemble(
    code: bytes, address: int = 0, bits: int = 64, segment_base: int = 0
) -> list[Instruction]:
    """Decode all of `code`; bytes that are no instruction stand alone as `(bad)`.

    Args:
        code: The bytes.
        address: Linear address of the first one.
        bits: 16, 32 or 64.
        segment_base: Where the code segment begins, in which targets of branches lie.
    """
    import capstone

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    if bits not in modes:
        raise UsageError(f"code has 16, 32 or 64 bits, not {bits}")
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    found: list[Instruction] = []
    position = 0
    while position < len(code):
        piece = code[position : position + RUN * MAX_INSTRUCTION_BYTES]
        run = list(decoder.disasm_lite(piece, address + position, RUN)) or [(0, 1, "(bad)", "")]
        for _, size, mnemonic, operands in run:
            data = code[position : position + size]
            if bits != 64 and operands and _is_relative(data):
                operands = _target(data, int(operands, 0), bits, segment_base)
            found.append(Instruction(address + position, data, mnemonic, operands))
            position += size
    return found


def _is_relative(code: bytes) -> bool:
    """Is this a near branch by a displacement?"""
    opcode = code.lstrip(_PREFIXES)
    return opcode[0] in _RELATIVE or (opcode[0] == 0x0F and opcode[1] & 0xF0 == 0x80)


def _target(code: bytes, address: int, bits: int, segment_base: int) -> str:
    """Where a near branch leads: IP has as many bits as the operand. Intel SDM vol. 2A, Jcc."""
    prefixes = code[: len(code) - len(code.lstrip(_PREFIXES))]
    narrow = (bits == 16) != (_OPERAND_SIZE in prefixes)
    offset = (address - segment_base) & (0xFFFF if narrow else 0xFFFF_FFFF)
    linear = (segment_base + offset) & 0xFFFF_FFFF
    return f"{linear:#x}" if linear > 9 else str(linear)
