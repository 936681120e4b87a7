"""capstone out: instructions as text."""

from __future__ import annotations

from dataclasses import dataclass

from pykvm.errors import UsageError

MAX_INSTRUCTION_BYTES = 15  # Intel SDM vol. 2A §2.3.11
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
        piece = code[position : position + RUN * MAX_INSTRUCTION_BYTES]
        run = list(decoder.disasm_lite(piece, address + position, RUN)) or [(0, 1, "(bad)", "")]
        for _, size, mnemonic, operands in run:
            data = code[position : position + size]
            found.append(Instruction(address + position, data, mnemonic, operands))
            position += size
    return found
