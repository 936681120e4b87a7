"""What a VM died of, in words: the exit, the code, the registers, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.asm import Program
from pykvm.culprit import code_base, culprit, linear_rip
from pykvm.disasm import MAX_INSTRUCTION_BYTES, Instruction, disassemble
from pykvm.hints import hints
from pykvm.machine import Machine
from pykvm.paging import read_linear
from pykvm.registers import (
    CONTROL,
    CR0_PE,
    GENERAL,
    SEGMENTS,
    TABLES,
    Registers,
    Segment,
    SpecialRegisters,
)
from pykvm.result import Result
from pykvm.text import printable, shorten
from pykvm.trace import Trace

CODE_BEFORE, CODE_AFTER = 16, 16  # bytes
COLUMNS = 4

# Bits of rflags by name, Intel SDM vol. 1 §3.4.3.
_FLAGS = {
    0: "CF", 2: "PF", 4: "AF", 6: "ZF", 7: "SF", 8: "TF", 9: "IF", 10: "DF", 11: "OF",
    14: "NT", 16: "RF", 17: "VM", 18: "AC",
}  # fmt: skip


def render(machine: Machine, result: Result) -> str:
    """The report of a run: several lines, without a newline at the end.

    Args:
        machine: that ran it, not closed yet and not run again since.
        result: how it ended.

    Raises:
        ClosedError: the machine is closed.
    """
    vcpu = machine.vcpus[result.vcpu]
    registers, special = vcpu.get_registers(), vcpu.get_special()
    found = culprit(vcpu, machine.memory, result.exit)
    sections = {
        "code": _code(machine, registers, special, found),
        "registers": [*_general(registers), *_special(special)],
        "last exits": _recent(machine),
        "what to do": hints(machine, result),
    }
    lines = list(_headlines(machine, result, special))
    for title, body in sections.items():
        if body:
            lines += [f"{title}:", *(f"  {line}" for line in body)]
    return "\n".join(map(printable, lines))


def place(machine: Machine, result: Result) -> str:
    """Where a run ended, in one line: processor, address, symbol, instruction."""
    vcpu = machine.vcpus[result.vcpu]
    found = culprit(vcpu, machine.memory, result.exit)
    if found is None:
        rip = linear_rip(vcpu.get_registers(), vcpu.get_special())
        return f"vCPU {result.vcpu} at {rip:#x}, where nothing is mapped"
    symbol = _symbol(machine, found.address)
    return printable(f"vCPU {result.vcpu} at {found.address:#x}{symbol}: {found}")


def _headlines(machine: Machine, result: Result, special: SpecialRegisters) -> Iterator[str]:
    name = machine.image.name if machine.image else "the guest"
    yield f"{name}: {result.reason}"
    if result.output_dropped_bytes:
        kept = len(result.output)
        yield f"it printed more than is kept: {result.output_dropped_bytes} bytes beyond {kept}"
    cpl = special.ss.dpl if special.cr0 & CR0_PE else 0
    count = sum(result.exits.values())
    yield (
        f"vCPU {result.vcpu} in {special.bits}-bit code at CPL {cpl} on {machine.backend.name}, "
        f"after {count} exits; the last: {result.exit}"
    )


# The code.


def _code(
    machine: Machine, registers: Registers, special: SpecialRegisters, found: Instruction | None
) -> list[str]:
    """The instruction, an arrow before it, and its neighbours."""
    if found is None:
        return [f"{linear_rip(registers, special):#x} is not mapped"]
    lines = [
        f"{'->' if each.address == found.address else '  '} {each.address:#010x}  "
        f"{each.code.hex(' '):<30} {each}"
        for each in _neighbours(machine, special, found)
    ]
    if origin := f"{_symbol(machine, found.address)} {_source(machine, found.address)}".strip():
        lines.append(f"from {origin}")
    return lines


def _neighbours(
    machine: Machine, special: SpecialRegisters, found: Instruction
) -> Iterator[Instruction]:
    """Instructions around one; before it, those of the longest run that leads right to it."""
    first, end = _piece(machine, found.address)
    base = code_base(special)
    for start in range(max(first, found.address - CODE_BEFORE), found.address):
        before = read_linear(machine.memory, special, start, found.address - start)
        run = disassemble(before, start, special.bits, base)
        if before and run[-1].address + len(run[-1].code) == found.address and not _bad(run):
            yield from run
            break
    yield found
    behind = found.address + len(found.code)
    size_bytes = max(0, min(CODE_AFTER + MAX_INSTRUCTION_BYTES, end - behind))
    after = read_linear(machine.memory, special, behind, size_bytes)
    for each in disassemble(after, behind, special.bits, base):
        if each.address < behind + CODE_AFTER:
            yield each


def _piece(machine: Machine, address: int) -> tuple[int, int]:
    """The bounds of what was loaded around an address; none where the guest runs elsewhere."""
    for gpa, data in machine.image.pieces if machine.image else ():
        if gpa <= address < gpa + len(data):
            return gpa, gpa + len(data)
    return 0, 1 << 64


def _bad(run: list[Instruction]) -> bool:
    return any(each.mnemonic == "(bad)" for each in run)


def _symbol(machine: Machine, address: int) -> str:
    """The label at or before an address, as " <label+0x12>"; nothing where there is none."""
    symbols = machine.image.symbols if machine.image else {}
    below = [(value, name) for name, value in symbols.items() if value <= address]
    if not below:
        return ""
    value, name = max(below)
    name = shorten(name)
    return f" <{name}+{address - value:#x}>" if address > value else f" <{name}>"


def _source(machine: Machine, address: int) -> str:
    """The line of an assembled guest that became this instruction."""
    if isinstance(machine.image, Program):
        for line in machine.image.listing:
            if line.code and line.address <= address < line.address + len(line.code):
                return f"{line.path}:{line.line}: {shorten(line.text.strip())}"
    return ""


# Registers.


def _general(registers: Registers) -> Iterator[str]:
    cells = [f"{name:>6} {getattr(registers, name):016x}" for name in GENERAL]
    for start in range(0, len(cells), COLUMNS):
        yield " ".join(cells[start : start + COLUMNS])
    flags = [name for bit, name in _FLAGS.items() if registers.rflags >> bit & 1]
    yield f" flags {' '.join(flags) or 'none'}, IOPL {registers.rflags >> 12 & 3}"


def _special(special: SpecialRegisters) -> Iterator[str]:
    for name in SEGMENTS:
        yield _segment(name, getattr(special, name))
    for name in TABLES:
        table = getattr(special, name)
        yield f"{name:>6}      base {table.base:016x} limit {table.limit:08x}"
    cells = [f"{name} {getattr(special, name):x}" for name in CONTROL]
    yield "  " + "  ".join(cells)


def _segment(name: str, segment: Segment) -> str:
    state = "unusable" if segment.unusable else f"dpl {segment.dpl} type {segment.type:#x}"
    size = " l" * segment.l + " db" * segment.db
    return (
        f"{name:>6} {segment.selector:04x} base {segment.base:016x} "
        f"limit {segment.limit:08x} {state}{size}"
    )


# Exits before.


def _recent(machine: Machine) -> list[str]:
    """What a trace kept; one that was written to a stream has been read there."""
    observer = machine.observer
    if isinstance(observer, Trace) and observer.stream is None:
        return observer.recent
    return []
