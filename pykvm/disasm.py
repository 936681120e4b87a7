"""capstone out: instructions as text, and which one caused an exit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pykvm.errors import UsageError
from pykvm.exits import Exit, MmioRead, MmioWrite, PortIn, PortOut

MAX_INSTRUCTION_BYTES = 15  # Intel SDM vol. 2A §2.3.11
_PORT_READS, _PORT_WRITES = ("in", "ins"), ("out", "outs")


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


def culprit(
    read: Callable[[int, int], bytes], rip: int, bits: int, exit: Exit
) -> Instruction | None:
    """The instruction that caused an exit.

    KVM leaves rip at the instruction for reads, and behind it for writes where its emulator
    ran it. So the instruction at rip is taken if it could have caused the exit, else the
    longest one that ends there and could.

    Args:
        read: gives up to n bytes of code at a linear address, fewer where unmapped.
        rip: linear address of the instruction pointer.
    """
    at_rip = _first(read(rip, MAX_INSTRUCTION_BYTES), rip, bits)
    if not isinstance(exit, PortOut | MmioWrite) or (at_rip and _could_cause(at_rip, exit)):
        return at_rip
    for size in range(MAX_INSTRUCTION_BYTES, 0, -1):
        code = read(rip - size, size)
        found = _first(code, rip - size, bits) if len(code) == size else None
        if found and len(found.code) == size and _could_cause(found, exit):
            return found
    return at_rip


def _first(code: bytes, address: int, bits: int) -> Instruction | None:
    return next(iter(disassemble(code, address, bits)), None) if code else None


def _could_cause(instruction: Instruction, exit: Exit) -> bool:
    name = instruction.mnemonic.split()[-1]
    match exit:
        case PortIn():
            return name.startswith(_PORT_READS) and not name.startswith("inc")
        case PortOut(port, size):
            return name.startswith(_PORT_WRITES) and _port_fits(instruction.operands, port, size)
        case MmioRead() | MmioWrite():
            first = instruction.operands.split(",")[0]
            return "[" in (first if isinstance(exit, MmioWrite) else instruction.operands)
    return True


def _port_fits(operands: str, port: int, size: int) -> bool:
    """`out dx, al` may mean any port, `out 0xe9, al` one; al, ax, eax tell the width."""
    target, _, source = operands.partition(", ")
    widths = {"al": 1, "ax": 2, "eax": 4}
    if widths.get(source, size) != size:
        return False
    return target == "dx" or not target.startswith("0x") or int(target, 16) == port
