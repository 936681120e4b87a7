"""The real processor as oracle for every row of the emulator's decoder.

A case is a row's register or memory form with random prefixes, operands and state, as `generate`
makes them; 512 of them run at a time. `campaign` does so from the command line.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache

import differential
import generate
import rules
from cases import EDGE_KINDS, EDGES, FILL, FS_BASE, GS_BASE, LANDING, SCRATCH, XSAVE_BYTES, Case
from differential import (
    CODE,
    DONE_PORT,
    HANDLERS,
    IDT,
    R_CR2,
    R_ERROR,
    R_FLAGS,
    R_RIP,
    R_VECTOR,
    RAM_BYTES,
    RECORD_BYTES,
    RECORDS,
    SAFE_STACK,
    VARIABLES,
)
from emulib import GPRS
from rows import Row, decoder

from pykvm import layout
from pykvm.exits import PortOut
from pykvm.loader import entry
from pykvm.loader.image import Mode
from pykvm.registers import Table

BATCH = 512
LOW_TABLE, HIGH_TABLE = 0x3_0000, 0x3_1000
STATES_IN, STATES_OUT, STATE_BYTES = 0x40_0000, 0x50_0000, 1024
AREAS, AREAS_END = SCRATCH - 512, EDGES + 0x4_0000
R_FS, R_GS = 168, 176
PAD = 160
# What of RFLAGS is stored: status flags, DF, NT, AC and ID.
FLAGS = 0x8D5 | 0x400 | 0x4000 | 0x4_0000 | 0x20_0000
CR4_FSGSBASE, EFER_SCE, CR0_AM = 1 << 16, 1, 1 << 18
_LOAD = struct.Struct("<" + "2sQ" * 16)
_MOVES = [bytes([0x48 | r >> 3, 0xB8 | r & 7]) for r in range(16)]


def tables() -> list[tuple[int, bytes]]:
    """Pages of 4 KiB for the first 4 MiB: no case reaches the tables or changes its code.

    The page behind an area at EDGES is absent, read-only, the supervisor's, or like any other.
    """
    low = [page << 12 | 3 for page in range(512)]
    for page in (VARIABLES >> 12, *range(0x60, 0x70)):
        low[page] |= 4
    for page in range(CODE >> 12, 512):
        low[page] = page << 12 | 5
    high = [page << 12 | 7 for page in range(512, 1024)]
    for slot in range(BATCH // 16):
        page = (EDGES >> 12) + 2 * slot + 1
        high[page - 512] = page << 12 | (0, 5, 3, 7)[slot % EDGE_KINDS]
    pointers = struct.pack("<QQ", LOW_TABLE | 7, HIGH_TABLE | 7)
    pack = struct.Struct("<512Q").pack
    return [(layout.PD_BASE, pointers), (LOW_TABLE, pack(*low)), (HIGH_TABLE, pack(*high))]


def _set(register: int, number: int) -> bytes:
    return _MOVES[register] + struct.pack("<Q", number)


def _store(register: int, offset: int) -> bytes:
    """To [rax + offset]."""
    code = bytes([0x48 | (register >> 3) << 2, 0x89, 0x80 | (register & 7) << 3])
    return code + struct.pack("<i", offset)


_ALL = b"\xb8\x07\x00\x00\x00\x31\xd2"  # mov eax, 7; xor edx, edx


@cache
def _head(number: int, heavy: bool) -> bytes:
    code = _set(4, SAFE_STACK) + _set(0, RECORDS + number * RECORD_BYTES)
    code += b"\x48\xa3" + struct.pack("<Q", VARIABLES)
    if heavy:  # xrstor64 [rbx]
        code += _set(3, STATES_IN + number * STATE_BYTES) + _ALL + b"\x48\x0f\xae\x2b"
    return code


@cache
def _tail(number: int, heavy: bool, bases: bool) -> bytes:
    record = RECORDS + number * RECORD_BYTES
    code = b"\x48\xa3" + struct.pack("<Q", record) + _set(0, record)
    for register in range(1, 16):
        code += _store(register, 8 * register)
    code += (
        _set(4, SAFE_STACK) + b"\x9c\x5b\x81\xe3" + struct.pack("<I", FLAGS) + _store(3, R_FLAGS)
    )
    if bases:  # rdfsbase rbx, rdgsbase rbx; put them back
        code += (
            b"\xf3\x48\x0f\xae\xc3" + _store(3, R_FS) + b"\xf3\x48\x0f\xae\xcb" + _store(3, R_GS)
        )
        code += (
            _set(0, FS_BASE) + b"\xf3\x48\x0f\xae\xd0" + _set(0, GS_BASE) + b"\xf3\x48\x0f\xae\xd8"
        )
    if heavy:  # xsave64 [rbx]
        code += _set(3, STATES_OUT + number * STATE_BYTES) + _ALL + b"\x48\x0f\xae\x23"
    return code


def changes_bases(row: Row) -> bool:
    """Whether FS and GS may be others afterwards."""
    if row.map == 0:
        return row.opcode == 0x8E
    return row.map == 1 and (
        row.opcode in (0xA1, 0xA9, 0xB4, 0xB5) or (row.opcode == 0xAE and row.has("PF3"))
    )


def stub(case: Case, at: int) -> bytes:
    """The code around one case's instruction, which is to lie at `at`."""
    heavy = bool(case.xsave)
    head = _head(case.number, heavy)
    load = [part for pair in zip(_MOVES, case.registers, strict=True) for part in pair]
    body = b"\x68" + struct.pack("<I", case.flags) + b"\x9d" + _LOAD.pack(*load)
    behind = b""
    if case.pads:
        body += b"\xe9" + struct.pack("<i", PAD) + bytes([FILL]) * PAD
        behind = b"\xe9" + struct.pack("<i", PAD) + bytes([FILL]) * PAD
    before = len(head) + 20 + len(body)
    gap = b""
    if case.cross:
        distance = -(at + before + case.cross) % 4096
        if distance < 5:
            distance += 4096
        gap = b"\xe9" + struct.pack("<i", distance - 5) + bytes([FILL]) * (distance - 5)
    case.start = at + len(gap) + before
    code = case.code
    if case.relative is not None:
        disp = struct.pack("<i", case.target - case.start - len(code))
        code = code[: case.relative] + disp + code[case.relative + 4 :]
        case.code = code
    resume = case.start + len(code) + len(behind)
    note = _set(0, resume) + b"\x48\xa3" + struct.pack("<Q", VARIABLES + 8)
    row = decoder().table[case.row]
    return gap + head + note + body + code + behind + _tail(case.number, heavy, changes_bases(row))


def image(cases: list[Case]) -> list[tuple[int, bytes]]:
    """What lies where in memory before the batch."""
    code = bytearray()
    for case in cases:
        code += stub(case, CODE + len(code))
    code += b"\xe6" + bytes([DONE_PORT])
    assert CODE + len(code) < LANDING, "the cases' code is too long"
    states, areas = bytearray(BATCH * STATE_BYTES), bytearray(AREAS_END - AREAS)
    for case in cases:
        areas[case.area - AREAS : case.area - AREAS + len(case.memory)] = case.memory
        if case.xsave:
            states[case.number * STATE_BYTES : case.number * STATE_BYTES + XSAVE_BYTES] = case.xsave
    return [
        *tables(),
        *_fixed(),
        (CODE, bytes(code)),
        (AREAS, bytes(areas)),
        (STATES_IN, bytes(states)),
    ]


@cache
def _fixed() -> list[tuple[int, bytes]]:
    empty = (bytes(R_VECTOR) + b"\xff" * 8).ljust(RECORD_BYTES, b"\0") * BATCH
    gates = bytearray(differential.gates())
    for vector in (1, 3, 4):
        gates[16 * vector + 5] |= 0x60  # for users too
    return [
        (IDT, bytes(gates)),
        (HANDLERS, differential.handlers()),
        (RECORDS, empty),
        (LANDING, bytes([FILL]) * (0x20_0000 - LANDING)),
        (STATES_OUT, bytes(BATCH * STATE_BYTES)),
    ]


class Refused(Exception):
    """KVM came out of the batch with something else than its end."""

    def __init__(self, rip: int, why: str) -> None:
        super().__init__(f"KVM stopped at {rip:#x}: {why}")
        self.rip = rip


class RowOracle(differential.Oracle):
    """The two machines, with this module's cases."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[Case] = []

    def run(self, cases: list) -> None:  # type: ignore[type-arg]
        """Run a batch on both and leave the results in the cases, but for those KVM refuses."""
        while cases:
            try:
                self._run(cases)
                return
            except Refused as error:
                culprit = next((case for case in cases if case.start == error.rip), None)
                culprit = culprit or self._astray(cases)
                self.refused.append(culprit)
                cases.remove(culprit)

    def _astray(self, cases: list[Case]) -> Case:
        """The first one after which KVM does not come to the batch's end."""
        low, high = 0, len(cases)  # the first `low` are well, the first `high` are not
        while high - low > 1:
            middle = (low + high) // 2
            try:
                self._run(cases[:middle])
                low = middle
            except Refused:
                high = middle
        return cases[low]

    def _run(self, cases: list[Case]) -> None:
        self._prepare(cases)
        exit = next(iter(self.kvm.exits(timeout=20)))
        if not isinstance(exit, PortOut) or exit.port != DONE_PORT:
            raise Refused(self.kvm.vcpu.get_registers().rip, str(exit))
        self._emulate(cases)
        self._collect(cases, "kvm", self.kvm.memory.read)

    def _prepare(self, cases: list[Case]) -> None:
        memory, vcpu = self.kvm.memory, self.kvm.vcpu
        entry.enter(memory, vcpu, Mode.USER, CODE)
        for gpa, data in image(cases):
            memory.write(gpa, data)
        special = vcpu.get_special()
        special.idt = Table(IDT, 32 * 16 - 1)
        special.cr4 |= differential.CR4_OSXSAVE | CR4_FSGSBASE
        special.efer |= EFER_SCE
        special.cr0 |= CR0_AM
        special.fs.base, special.gs.base = FS_BASE, GS_BASE
        vcpu.set_special(special)
        self.emu.write(0, memory.read(0, RAM_BYTES))
        self.emu.set_state(self._state())

    def _emulate(self, cases: list[Case]) -> None:
        kind = self.emu.run()
        assert kind == "PORT_OUT", f"the emulator stopped for {kind} at {self.emu.reg('rip'):#x}"
        self._collect(cases, "emu", self.emu.read)

    def _collect(self, cases: list[Case], name: str, read: Callable[[int, int], bytes]) -> None:
        records = read(RECORDS, BATCH * RECORD_BYTES)
        areas = read(AREAS, AREAS_END - AREAS)
        states = read(STATES_OUT, BATCH * STATE_BYTES)
        for case in cases:
            n, at = case.number, case.area - AREAS
            case.results[name] = (
                records[n * RECORD_BYTES : (n + 1) * RECORD_BYTES],
                areas[at : at + len(case.memory)],
                states[n * STATE_BYTES : n * STATE_BYTES + XSAVE_BYTES] if case.xsave else b"",
            )


class Emulator(RowOracle):
    """The emulator alone, for cases whose right results are known: needs no KVM."""

    BACKEND = "emu"

    def _run(self, cases: list[Case]) -> None:
        self._prepare(cases)
        self._emulate(cases)


def _word(record: bytes, offset: int) -> int:
    return int(struct.unpack_from("<Q", record, offset)[0])


def result(case: Case, name: str) -> rules.Result:
    """Fault (vector, error code, rip, CR2), flags, registers with segment bases, memory, state."""
    record, memory, state = case.results[name]
    row, osize = decoder().table[case.row], operand_size(case)
    fault: tuple[int, ...] = ()
    vector = _word(record, R_VECTOR)
    if vector != 2**64 - 1:
        fault = (vector, _word(record, R_ERROR), _word(record, R_RIP))
        fault += (_word(record, R_CR2),) if vector == 14 else ()
    flags = _word(record, R_FLAGS)
    if not fault:
        flags &= ~rules.undefined(row, case, osize)
    registers = rules.mask_registers(row, struct.unpack_from("<16Q", record)) + struct.unpack_from(
        "<2Q", record, R_FS
    )
    memory = rules.mask_memory(row, case, osize, memory)
    return fault, flags, registers, memory, rules.mask_state(state) if state else b""


def operand_size(case: Case) -> int:
    """In bytes: 1, 2, 4 or 8."""
    d = decoder()
    d.length(64, case.code)
    return 1 << (d.out.insn.prefix >> 5 & 3)


def verdict(case: Case) -> str | None:
    """Empty where both results are the same, else why they may differ; None: they may not."""
    if case.results["kvm"] == case.results["emu"]:
        return ""
    return rules.excused(case, result(case, "kvm"), result(case, "emu"))


def landed(case: Case) -> bool:
    """Did it get through: no fault, or none but that of the landing place?"""
    record = case.results["emu"][0]
    vector, rip = _word(record, R_VECTOR), _word(record, R_RIP)
    return vector == 2**64 - 1 or vector in (1, 3) or (vector == 6 and rip != case.start)


def difference(case: Case) -> tuple[object, ...]:
    """In what the results differ: the faults, and which parts."""
    kvm, emu = result(case, "kvm"), result(case, "emu")
    return kvm[0][:2], emu[0][:2], [x != y for x, y in zip(kvm, emu, strict=True)]


Pair = tuple[Row, bool]


@cache
def pairs() -> list[Pair]:
    """Every row's forms, but for those that are not drawn."""
    found = []
    for row in decoder().rows:
        if rules.excluded(row) is None:
            found += [(row, False)] if row.register else []
            found += [(row, True)] if row.memory else []
    return found


def batch(seed: int, among: list[Pair] | None = None) -> list[Case]:
    """The cases of a seed; seeds that follow each other go through all rows and forms in turn."""
    rng = random.Random(seed)
    among = among or pairs()
    chosen = (among[(seed * BATCH + number) % len(among)] for number in range(BATCH))
    return [generate.make(rng, *pair, number) for number, pair in enumerate(chosen)]


def describe(case: Case) -> str:
    """A case: what went in, and where the two differ."""
    kvm, emu = result(case, "kvm"), result(case, "emu")
    lines = [f"{case.code.hex()} ({disassemble(case)}) of row {decoder().table[case.row]}"]
    before = zip(GPRS, case.registers, strict=True)
    lines += ["  " + " ".join([f"flags={case.flags:x}"] + [f"{n}={v:x}" for n, v in before if v])]
    for name, a, b in (("fault", kvm[0], emu[0]), ("flags", kvm[1:2], emu[1:2])):
        if a != b:
            lines.append(f"  {name}: cpu {[*map(hex, a)]} emulator {[*map(hex, b)]}")
    for name, x, y in zip([*GPRS, "fs", "gs"], kvm[2], emu[2], strict=True):
        if x != y:
            lines.append(f"  {name}: cpu {x:#x} emulator {y:#x}")
    for name, what, start in (("memory at", 3, case.area), ("state", 4, 0)):
        for at, length in _runs(kvm[what], emu[what]):  # type: ignore[arg-type]
            x, y = (each[what][at : at + length].hex() for each in (kvm, emu))  # type: ignore[index]
            lines.append(f"  {name} {start + at:#x}: cpu {x} emulator {y}")
    return "\n".join(lines)


def _runs(a: bytes, b: bytes) -> list[tuple[int, int]]:
    """Where two byte strings differ, in pieces of eight."""
    return [(at, 8) for at in range(0, len(a), 8) if a[at : at + 8] != b[at : at + 8]]


def disassemble(case: Case) -> str:
    """By capstone, or why not."""
    import capstone

    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    found = next(engine.disasm_lite(case.code, case.start), None)
    return f"{found[2]} {found[3]}".strip() if found else "not disassembled"
