"""The real processor as oracle: the same instructions at CPL 3 on KVM and in the emulator.

Cases are run in batches: one piece of code loads each case's registers, executes its
instruction and stores what came of it, so that a batch costs one exit. The same memory
image and registers start in both machines; afterwards their memories are compared.

    python tests/native/differential.py SEED BATCHES

runs until a mismatch, and prints the shortest failing case with its disassembly.
"""

from __future__ import annotations

import dataclasses
import random
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keystone
import rules
from emulib import GPRS, Machine
from encodings_x86 import ROWS, SHIFTS, Row, undefined_flags

from pykvm import Machine as KvmMachine
from pykvm.exits import PortOut
from pykvm.loader import entry
from pykvm.loader.image import Mode
from pykvm.registers import Segment, Table

RAM_BYTES = 6 << 20
IDT, HANDLERS, VARIABLES, SAFE_STACK = 0x2_0000, 0x2_1000, 0x2_2000, 0x6_8000
CODE, RECORDS, SCRATCH = 0x10_0000, 0x20_0000, 0x30_0000
VECTORS_IN, VECTORS_OUT = 0x40_0000, 0x50_0000
RECORD_BYTES, SCRATCH_BYTES = 256, 256
VECTOR_BYTES, FX = 1024, 512  # a case's YMM registers, then what FXSAVE would store
CR4_OSXSAVE, XCR0_ALL = 1 << 18, 7
BATCH = 512
DONE_PORT = 0x80
STATUS_FLAGS, DF = 0x8D5, 0x400
FAULTS_WITH_ERROR = (8, 10, 11, 12, 13, 14, 17)
R_FLAGS, R_VECTOR, R_ERROR, R_CR2, R_RIP = 128, 136, 144, 152, 160

SEGMENT_PARTS = [field.name for field in dataclasses.fields(Segment)]

EDGES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
EDGES += [1 << 63, (1 << 63) - 1, (1 << 64) - 1, (1 << 64) - 2, 0x5555555555555555]


@dataclass
class Case:
    """One instruction with the state before it."""

    row: Any  # anything with a name
    code: bytes
    registers: list[int]
    flags: int
    scratch: bytes
    size_bits: int
    count: int = 0
    skip: bool = False
    start: int = 0
    vectors: bytes = b""  # VECTOR_BYTES, or nothing
    results: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        import capstone

        text = ", ".join(
            f"{i.mnemonic} {i.op_str}".strip()
            for i in capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm(
                self.code, self.start
            )
        )
        before = " ".join(f"{n}={v:x}" for n, v in zip(GPRS, self.registers, strict=True))
        return f"{self.code.hex()} ({text}) flags={self.flags:x} {before}"


def value(rng: random.Random) -> int:
    """A register's worth: an edge, something small, or anything."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(EDGES)
    if kind == 1:
        return rng.getrandbits(rng.randrange(1, 17))
    return rng.getrandbits(64)


def memory_operand(
    rng: random.Random, case_scratch: int, registers: list[int], reg: int, align: int = 1
) -> tuple[int, bytes, bytes]:
    """A random addressing form that reaches scratch memory: rex bits, modrm.., the bytes."""
    base = rng.randrange(16)
    offset = rng.randrange(32, 160) & -align
    index = rng.choice([None, rng.randrange(16)])
    if index in (4, base):
        index = None
    scale = rng.randrange(4)
    disp = rng.choice([0, rng.randrange(-128, 128), rng.randrange(-4096, 4096)])
    registers[base] = case_scratch + offset - disp
    if index is not None:
        registers[index] = rng.randrange(-6, 7) & (2**64 - 1) if align == 1 else 0
    rex = (1 if base & 8 else 0) | (2 if index is not None and index & 8 else 0)
    if disp == 0 and base & 7 != 5:
        mod, tail = 0, b""
    elif -128 <= disp < 128:
        mod, tail = 1, struct.pack("<b", disp)
    else:
        mod, tail = 2, struct.pack("<i", disp)
    if index is None and base & 7 != 4:
        return rex, bytes([mod << 6 | (reg & 7) << 3 | (base & 7)]), tail
    sib = scale << 6 | ((4 if index is None else index & 7) << 3) | (base & 7)
    return rex, bytes([mod << 6 | (reg & 7) << 3 | 4, sib]), tail


def make_case(rng: random.Random, number: int) -> Case:
    """A random instruction and state; its memory operands lie in its own scratch bytes."""
    row = rng.choice(ROWS)
    scratch_base = SCRATCH + number * SCRATCH_BYTES
    registers = [value(rng) for _ in range(16)]
    registers[4] = scratch_base + 128 + rng.choice([0, 0, 8, 2])
    registers[5] = registers[5] if row.name != "leave" else scratch_base + 64
    operands, rex, modrm, tail = row.operands, 0, b"", b""
    sizes = {"b": [8], "y": [32, 64]}
    size = rng.choice(sizes.get(operands[0], [16, 32, 64]))
    if row.name in ("push", "pop", "pushf", "leave") and size == 32:
        size = 64
    if size == 64:
        rex |= 0x48
    opcode = bytearray(row.opcode)
    if "+" in operands:
        number_ = rng.randrange(16)
        opcode[-1] |= number_ & 7
        rex |= 0x41 if number_ & 8 else 0
    if "E" in operands:
        digit = next((int(c) for c in operands if c.isdigit()), None)
        reg = rng.randrange(16) if digit is None else digit
        rex |= 0x44 if reg & 8 else 0
        memory = "m" in operands or ("r" not in operands and rng.random() < 0.5)
        if memory:
            bits, modrm, tail = memory_operand(rng, scratch_base, registers, reg)
            rex |= 0x40 | bits if bits else 0
        else:
            rm = rng.randrange(16)
            rex |= 0x41 if rm & 8 else 0
            modrm = bytes([0xC0 | (reg & 7) << 3 | (rm & 7)])
    if size == 8 and rng.random() < 0.5:
        rex |= 0x40
    immediate = b""
    if "i" in operands:
        immediate = bytes([rng.choice([0, 1, 0x80, 0xFF, rng.randrange(256)])])
    elif "I" in operands:
        bits = 16 if size == 16 else 32
        immediate = (value(rng) & (2**bits - 1)).to_bytes(bits // 8, "little")
    prefixes = b"\x66" if size == 16 else b""
    count = 0
    if row.name in SHIFTS:
        if "c" in operands:
            registers[1] = (
                rng.choice([rng.randrange(72), value(rng)])
                if 1 not in _bases(modrm, rex, tail)
                else registers[1]
            )
            count = registers[1]
        else:
            count = immediate[0] if immediate else 1
        count &= 63 if size == 64 else 31
    if operands.endswith("s"):
        prefixes += rng.choice([b"", b"\xf3", b"\xf2"])
        registers[1] = rng.randrange(6)
        registers[6] = scratch_base + rng.randrange(96, 130)
        registers[7] = scratch_base + rng.randrange(96, 130)
    if row.name == "xlat":
        registers[3] = scratch_base
    if row.vex_map:
        code = vex(rng, row, rex) + bytes(opcode)
    else:
        code = prefixes + row.prefix + (bytes([rex | 0x40]) if rex else b"") + bytes(opcode)
    code += modrm + tail + immediate
    flags = rng.getrandbits(12) & STATUS_FLAGS | 2
    if operands.endswith("s") and rng.random() < 0.3:
        flags |= DF
    skip = row.name in ("shld", "shrd") and size == 16 and count > 16
    return Case(row, code, registers, flags, rng.randbytes(SCRATCH_BYTES), size, count, skip)


def vex(rng: random.Random, row: Row, rex: int) -> bytes:
    """A three-byte VEX prefix with a random source, now and then a wrong one."""
    source = rng.randrange(16) if "V" in row.operands or rng.random() < 0.02 else 0
    wide = rng.random() < 0.02
    prefix = {b"": 0, b"\x66": 1, b"\xf3": 2, b"\xf2": 3}[row.prefix]
    inverted = (rex & 4) << 5 | (rex & 2) << 5 | (rex & 1) << 5
    last = (rex & 8) << 4 | (~source & 15) << 3 | wide << 2 | prefix
    return bytes([0xC4, (inverted ^ 0xE0) | row.vex_map, last])


def _bases(modrm: bytes, rex: int, tail: bytes) -> set[int]:
    """Registers that a memory operand's address is made of."""
    if not modrm or modrm[0] >= 0xC0:
        return set()
    if len(modrm) == 2:
        return {modrm[1] & 7 | (rex & 1) << 3, modrm[1] >> 3 & 7 | (rex & 2) << 2}
    return {modrm[0] & 7 | (rex & 1) << 3}


def _store(register: int, offset: int) -> bytes:
    return bytes([0x48 | (register >> 3) << 2, 0x89, 0x80 | (register & 7) << 3]) + struct.pack(
        "<i", offset
    )


def _load_immediate(register: int, number: int) -> bytes:
    return bytes([0x48 | register >> 3, 0xB8 | register & 7]) + struct.pack("<Q", number)


def _vector_moves(store: bool) -> bytes:
    """Move YMM, MXCSR and MMX registers from or to the area at RAX."""
    code = b""
    for register in range(16):
        prefix = b"\xc5\xfe" if register < 8 else b"\xc5\x7e"
        opcode = 0x7F if store else 0x6F
        code += prefix + bytes([opcode, 0x80 | (register & 7) << 3])
        code += struct.pack("<i", 32 * register)
    code += bytes([0x0F, 0xAE, 0x98 if store else 0x90]) + struct.pack("<i", FX + 24)
    for register in range(8):
        code += bytes([0x0F, 0x7F if store else 0x6F, 0x80 | register << 3])
        code += struct.pack("<i", FX + 32 + 16 * register)
    return code


def stub(case: Case, number: int, at: int) -> bytes:
    """The code around one case's instruction."""
    record = RECORDS + number * RECORD_BYTES
    head = _load_immediate(4, SAFE_STACK)
    head += _load_immediate(0, record) + b"\x48\xa3" + struct.pack("<Q", VARIABLES)
    if case.vectors:
        head += _load_immediate(0, VECTORS_IN + number * VECTOR_BYTES) + _vector_moves(False)
    body = b"\x68" + struct.pack("<I", case.flags) + b"\x9d"
    for register in range(16):
        body += _load_immediate(register, case.registers[register])
    length = len(head) + 10 + 10 + len(body)
    case.start = at + length
    resume = case.start + len(case.code)
    head += _load_immediate(0, resume) + b"\x48\xa3" + struct.pack("<Q", VARIABLES + 8)
    tail = b"\x48\xa3" + struct.pack("<Q", record) + _load_immediate(0, record)
    for register in range(1, 16):
        tail += _store(register, 8 * register)
    tail += _load_immediate(4, SAFE_STACK) + b"\x9c\x5b" + _store(3, R_FLAGS)
    if case.vectors:
        tail += _load_immediate(0, VECTORS_OUT + number * VECTOR_BYTES) + _vector_moves(True)
    return head + body + case.code + tail


def _assemble(text: str, at: int) -> bytes:
    ks = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)
    return bytes(ks.asm(text, at)[0])


def handlers() -> bytes:
    """Thirty-two entries of 16 bytes, then what they share: note the fault and go on."""
    common = HANDLERS + 32 * 16
    code = b""
    for vector in range(32):
        push = "" if vector in FAULTS_WITH_ERROR else "push 0;"
        code += _assemble(f"{push} push {vector}; jmp {common}", HANDLERS + 16 * vector).ljust(
            16, b"\x90"
        )
    return code + _assemble(
        f"""push rax; push rbx; movabs rax, qword ptr [{VARIABLES}];
        mov rbx, qword ptr [rsp + 16]; mov qword ptr [rax + {R_VECTOR}], rbx;
        mov rbx, qword ptr [rsp + 24]; mov qword ptr [rax + {R_ERROR}], rbx;
        mov rbx, qword ptr [rsp + 32]; mov qword ptr [rax + {R_RIP}], rbx;
        mov rbx, cr2; mov qword ptr [rax + {R_CR2}], rbx;
        mov ebx, {VARIABLES + 8}; mov rbx, qword ptr [rbx]; mov qword ptr [rsp + 32], rbx;
        pop rbx; pop rax; add rsp, 16; iretq""",
        common,
    )


def gates() -> bytes:
    """An IDT of interrupt gates to `handlers`."""
    entries = b""
    for vector in range(32):
        target = HANDLERS + 16 * vector
        entries += struct.pack("<HHBBHIxxxx", target & 0xFFFF, 0x10, 0, 0x8E, target >> 16, 0)
    return entries


def image(cases: list[Case]) -> list[tuple[int, bytes]]:
    """What lies where in memory before the batch."""
    code = b""
    for number, case in enumerate(cases):
        code += stub(case, number, CODE + len(code))
    code += b"\xe6" + bytes([DONE_PORT])
    scratch = b"".join(case.scratch for case in cases)
    empty = (b"\0" * R_VECTOR + b"\xff" * 8).ljust(RECORD_BYTES, b"\0") * len(cases)
    return [
        (IDT, gates()),
        (HANDLERS, handlers()),
        (CODE, code),
        (RECORDS, empty),
        (SCRATCH, scratch),
        (VECTORS_IN, b"".join(case.vectors.ljust(VECTOR_BYTES, b"\0") for case in cases)),
        (VECTORS_OUT, bytes(VECTOR_BYTES * len(cases))),
    ]


class Oracle:
    """A machine on KVM and an emulated one, started alike for each batch."""

    image = staticmethod(image)
    results = staticmethod(lambda *args: _results(*args))
    BACKEND = "kvm"

    def __init__(self) -> None:
        self.kvm = KvmMachine(RAM_BYTES, backend=self.BACKEND, devices=())
        self.kvm.vcpu.set_xcrs({0: XCR0_ALL})
        self.emu = Machine(RAM_BYTES)

    def close(self) -> None:
        """Give both back."""
        self.kvm.close()
        self.emu.close()

    def run(self, cases: list[Case]) -> None:
        """Run a batch on both and leave the results in the cases."""
        memory, vcpu = self.kvm.memory, self.kvm.vcpu
        for gpa, data in self.image(cases):
            memory.write(gpa, data)
        entry.enter(memory, vcpu, Mode.USER, CODE)
        special = vcpu.get_special()
        special.idt = Table(IDT, 32 * 16 - 1)
        special.cr4 |= CR4_OSXSAVE
        vcpu.set_special(special)
        self.emu.write(0, memory.read(0, RAM_BYTES))
        self.emu.set_state(self._state())
        exit = next(iter(self.kvm.exits(timeout=20)))
        assert isinstance(exit, PortOut) and exit.port == DONE_PORT, f"KVM: {exit}"
        kind = self.emu.run()
        assert kind == "PORT_OUT", f"the emulator stopped for {kind} at {self.emu.reg('rip'):#x}"
        for name, read in (("kvm", memory.read), ("emu", self.emu.read)):
            for number, case in enumerate(cases):
                case.results[name] = self.results(case, number, read)

    def _state(self) -> object:
        """KVM's registers as the emulator takes them."""
        vcpu, state = self.kvm.vcpu, self.emu.state()
        registers, special = vcpu.get_registers(), vcpu.get_special()
        for index, name in enumerate(GPRS):
            state.gpr[index] = getattr(registers, name)
        state.rip, state.rflags = registers.rip, registers.rflags
        for index, name in enumerate(("es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr")):
            source, target = getattr(special, name), state.segment[index]
            for part in SEGMENT_PARTS:
                setattr(target, part, getattr(source, part))
        for name in ("gdt", "idt"):
            table = getattr(special, name)
            getattr(state, name).base, getattr(state, name).limit = table.base, table.limit
        for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer"):
            setattr(state, name, getattr(special, name))
        state.xcr0 = XCR0_ALL
        return state


def _results(case: Case, number: int, read) -> tuple:  # type: ignore[no-untyped-def]
    record = read(RECORDS + number * RECORD_BYTES, RECORD_BYTES)
    words = struct.unpack_from("<21Q", record)
    vector = words[R_VECTOR // 8]
    fault = words[R_VECTOR // 8 : R_VECTOR // 8 + 2] if vector != 2**64 - 1 else ()
    if fault:
        fault += (words[R_RIP // 8] - case.start,)
    if vector == 14:
        fault += (words[R_CR2 // 8],)
    mask = (STATUS_FLAGS | DF) & ~(undefined_flags(case.row, case.size_bits, case.count))
    if fault:
        mask = STATUS_FLAGS | DF
    flags = words[R_FLAGS // 8] & mask
    scratch = read(SCRATCH + number * SCRATCH_BYTES, SCRATCH_BYTES)
    if case.row.name == "pushf":
        scratch = b""
    vectors = read(VECTORS_OUT + number * VECTOR_BYTES, VECTOR_BYTES if case.vectors else 0)
    return fault, flags, words[:16], scratch, vectors


def describe(case: Case) -> str:
    """A failing case: what went in, and where the two differ."""
    kvm, emu = case.results["kvm"], case.results["emu"]
    lines = [str(case)]
    for name, a, b in zip(("fault", "flags"), kvm, emu, strict=False):
        if a != b:
            lines.append(f"  {name}: cpu {a} emulator {b}")
    for name, a, b in zip(GPRS, kvm[2], emu[2], strict=True):
        if a != b:
            lines.append(f"  {name}: cpu {a:#x} emulator {b:#x}")
    if kvm[3] != emu[3]:
        lines.append(f"  memory: cpu {kvm[3].hex()}\n     emulator {emu[3].hex()}")
    return "\n".join([*lines, *_vector_differences(case)])


def _vector_differences(case: Case) -> list[str]:
    """Vector registers that differ or that the disassembly names, with their old values."""
    kvm, emu = case.results["kvm"][4], case.results["emu"][4]
    if kvm == emu:
        return []
    names = [(f"mm{n}", 32 * n, 32) for n in range(16)] + [("mxcsr", FX + 24, 4)]
    names += [(f"st{n}", FX + 32 + 16 * n, 10) for n in range(8)]
    lines, text = [], str(case)
    for name, at, size in names:
        before, a, b = (
            int.from_bytes(area[at : at + size], "little") for area in (case.vectors, kvm, emu)
        )
        mark = "" if a == b else f"\n    cpu {a:0{2 * size}x}\n    emu {b:0{2 * size}x}"
        if mark or re.search(rf"{name}\b", text):
            lines.append(f"  {name}: {before:0{2 * size}x}{mark}")
    return lines


def agrees(case: Case) -> bool:
    """Are both results the same, or different as `rules` and `makers` have it?"""
    kvm, emu = case.results["kvm"], case.results["emu"]
    if kvm == emu:
        return True
    kvm, emu = ((*each[:4], _image(each[4])) for each in (kvm, emu))
    return rules.excused(case, kvm, emu) is not None


def _image(vectors: bytes) -> bytes:
    """What `_vector_moves` stores, in the places of an XSAVE image."""
    low, high = (
        b"".join(vectors[32 * n + half : 32 * n + half + 16] for n in range(16)) for half in (0, 16)
    )
    return vectors[FX : FX + 160] + low + bytes(160) + high


Make = Callable[[random.Random, int], Case]


def _defined(rng: random.Random, number: int, make: Make) -> Case:
    """A case with a defined result: others may write it into a neighbour's scratch memory."""
    case = make(rng, number)
    while case.skip:
        case = make(rng, number)
    return case


def failures(oracle: Oracle, seed: int, make: Make = make_case) -> list[Case]:
    """Run the batch of a seed; the cases that differ, shortest first."""
    rng = random.Random(seed)
    cases = [_defined(rng, number, make) for number in range(BATCH)]
    oracle.run(cases)
    bad = [case for case in cases if not agrees(case)]
    return sorted(bad, key=lambda case: len(case.code))


def main(make: Make = make_case) -> None:
    """Run batches from the command line."""
    seed, batches = int(sys.argv[1]), int(sys.argv[2])
    oracle = Oracle()
    total = 0
    for number in range(seed, seed + batches):
        bad = failures(oracle, number, make)
        total += BATCH
        if bad:
            names = sorted({case.row.name for case in bad})
            print(f"seed {number}: {len(bad)} of {BATCH} differ: {' '.join(names)}")
            for case in bad[:3]:
                print(describe(case))
            sys.exit(1)
    print(f"{total} cases agree")
    oracle.close()


if __name__ == "__main__":
    main()
