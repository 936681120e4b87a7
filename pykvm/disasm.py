"""capstone out: instructions as text."""

from __future__ import annotations

from dataclasses import dataclass

from pykvm.errors import UsageError

MAX_INSTRUCTION_BYTES = 15  # Intel SDM vol. 2A §2.3.11


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction; `(bad)` where there is none."""

    address: int
    code: bytes
    mnemonic: str
    operands: str

    def __str__(self) -> str:
        return f"{self.mnemonic} {self.operands}".strip()


def disassemble(code: bytes, address: int = 0, bits: int = 64) -> list[Instruction]:
    """Decode all of `code`; bytes that are no instruction stand alone as `(bad)`.

    Args:
        bits: 16, 32 or 64.
    """
    import capstone

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    if bits not in modes:
        raise UsageError(f"code has 16, 32 or 64 bits, not {bits}")
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    found: list[Instruction] = []
    position = 0
    while position < len(code):
        for at, size, mnemonic, operands in decoder.disasm_lite(
            code[position:], address + position
        ):
            piece = code[at - address : at - address + size]
            found.append(Instruction(at, piece, mnemonic, operands))
            position = at - address + size
        if position < len(code):
            found.append(
                Instruction(address + position, code[position : position + 1], "(bad)", "")
            )
            position += 1
    return found
