"""The real x87 unit as oracle: as `differential`, with the whole unit's state around each case.

    python tests/native/differential_x87.py SEED BATCHES

Each case loads a random FXSAVE image, executes one instruction of D8 to DF, and stores the
image that comes of it. Masked in the comparison: see `compared`.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from dataclasses import dataclass, field

import differential
import makers
import rules
from differential import CODE, DONE_PORT, RECORDS, SCRATCH, Oracle

BATCH = 512
RECORD_BYTES, SCRATCH_BYTES, IMAGE_BYTES = 1024, 256, 512
IMAGES = 0x38_0000
R_IMAGE = 512
STATUS_FLAGS = differential.STATUS_FLAGS

# Built without the host's unit, the emulator's transcendental functions may differ in the last
# bit, and remainders may take other steps.
SOFT = "-DEMU_FP80_SOFT" in os.environ.get("EMU_CFLAGS", "")
APPROXIMATE = {bytes([0xD9, 0xF0 | f]) for f in (0, 1, 2, 3, 5, 8, 9, 11, 14, 15)}

# Memory operands by opcode and ModRM.reg.
F32, F64, F80, I16, I32, I64, BCD, ENV, SAVE, CONTROL, WORD = range(11)
MEMORY = {
    0xD8: [F32] * 8,
    0xD9: [F32, None, F32, F32, ENV, CONTROL, ENV, WORD],
    0xDA: [I32] * 8,
    0xDB: [I32, I32, I32, I32, None, F80, None, F80],
    0xDC: [F64] * 8,
    0xDD: [F64, I64, F64, F64, SAVE, None, SAVE, WORD],
    0xDE: [I16] * 8,
    0xDF: [I16, I16, I16, I16, BCD, I64, BCD, I64],
}


@dataclass
class Case:
    """One instruction, the unit's state and the memory before it."""

    code: bytes
    flags: int
    image: bytes
    scratch: bytes
    operand: int
    environment: bool = False  # stored by it
    start: int = 0
    results: dict[str, tuple[object, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        import capstone

        text = ", ".join(
            f"{i.mnemonic} {i.op_str}".strip()
            for i in capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm(self.code, 0)
        )
        memory = self.scratch[self.operand : self.operand + 10].hex()
        return f"{self.code.hex()} ({text}) {show(self.image)} memory={memory}"


def show(image: bytes) -> str:
    """An image's x87 part in words."""
    fcw, fsw, ftw, fop = struct.unpack_from("<HHBxH", image)
    fip, fdp = struct.unpack_from("<QQ", image, 8)
    top = fsw >> 11 & 7
    parts = [f"fcw={fcw:04x} fsw={fsw:04x} ftw={ftw:02x} fop={fop:03x} fip={fip:x} fdp={fdp:x}"]
    for i in range(8):
        mantissa, exponent = struct.unpack_from("<QH", image, 32 + 16 * i)
        used = "" if ftw >> ((top + i) & 7) & 1 else "empty "
        parts.append(f"st{i}={used}{exponent:04x}.{mantissa:016x}")
    return " ".join(parts)


def _mantissa(rng: random.Random) -> int:
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice([0, 1, 1 << 62, 1 << 63, 3 << 62, (1 << 64) - 1, (1 << 63) - 1])
    if kind == 1:
        return 1 << 63 | rng.getrandbits(12) << 52
    if kind == 2:
        return 1 << 63 | rng.getrandbits(24) << 40
    if kind == 3:
        return 1 << 63 | rng.getrandbits(53) << 11
    return rng.getrandbits(64) | (1 << 63 if kind == 4 else 0)


def extended(rng: random.Random) -> bytes:
    """An 80-bit operand: ordinary, near an edge of a range, or of a special class."""
    kind = rng.randrange(8)
    if kind < 3:
        exponent = 0x3FFF + rng.randrange(-70, 71)
    elif kind == 3:
        base = rng.choice([0x3FFF - 1022, 0x3FFF - 126, 0x3FFF + 127, 0x3FFF + 1023])
        exponent = base + rng.randrange(-60, 4)
    elif kind == 4:
        exponent = rng.choice([0, 1, 2, 63, 64, 65, 0x7FFE, 0x7FFD, 0x7FFF])
    elif kind == 5:
        special = rng.choice(
            [(0, 0), (0x7FFF, 1 << 63), (0x7FFF, 3 << 62), (0x7FFF, 5 << 61), (0, 1 << 63)]
        )
        return struct.pack("<QH", special[1], special[0] | rng.choice([0, 0x8000]))
    elif kind == 6:
        number = rng.randrange(1, 1 << rng.randrange(1, 64))
        shift = 64 - number.bit_length()
        return struct.pack("<QH", number << shift, 0x3FFF + 63 - shift | rng.choice([0, 0x8000]))
    else:
        exponent = rng.getrandbits(15)
    mantissa = _mantissa(rng)
    if kind < 3 and rng.random() < 0.95:
        mantissa |= 1 << 63
    return struct.pack("<QH", mantissa, exponent | rng.choice([0, 0x8000]))


def _control(rng: random.Random) -> int:
    if rng.random() < 0.3:
        return 0x37F
    masks = 0x3F if rng.random() < 0.5 else rng.getrandbits(6)
    return masks | rng.getrandbits(4) << 8 | rng.choice([0, 0, 0x40, 0xF0C0])


def image_before(rng: random.Random) -> bytes:
    """A random state of the unit, mostly with operands where instructions look for them."""
    top = rng.randrange(8)
    used = rng.choice([0xFF, 0x00, rng.getrandbits(8), rng.getrandbits(8)])
    if rng.random() < 0.8:
        used |= 1 << top | 1 << (top + 1 & 7)
        used &= ~(1 << (top - 1 & 7)) if rng.random() < 0.8 else 0xFF
    control = _control(rng)
    status = rng.choice([0, 0x4700, 0x0100, 0x0200]) | top << 11
    if rng.random() < 0.2:
        status |= rng.getrandbits(7) & (0x40 | (control if rng.random() < 0.8 else 0x3F))
    head = struct.pack("<HHBBH", control, status, used, 0, rng.getrandbits(11))
    head += struct.pack("<QQ", rng.getrandbits(46), rng.getrandbits(46))
    head += struct.pack("<II", 0x1F80, 0xFFFF)
    registers = b"".join(extended(rng) + bytes(6) for _ in range(8))
    return (head + registers).ljust(IMAGE_BYTES, b"\0")


def _float(rng: random.Random, exponent_bits: int, fraction_bits: int) -> int:
    exponent = rng.choice(
        [0, (1 << exponent_bits) - 1, rng.getrandbits(exponent_bits), (1 << exponent_bits - 1) - 1]
    )
    fraction = rng.choice([0, 1, 1 << fraction_bits - 1, rng.getrandbits(fraction_bits)])
    return (
        rng.getrandbits(1) << exponent_bits + fraction_bits | exponent << fraction_bits | fraction
    )


def _operand(rng: random.Random, kind: int) -> bytes:
    if kind == F32:
        return struct.pack("<I", _float(rng, 8, 23))
    if kind == F64:
        return struct.pack("<Q", _float(rng, 11, 52))
    if kind in (I16, I32, I64):
        return struct.pack("<Q", differential.value(rng))
    if kind == BCD:
        digits = rng.choice(["0" * 18, str(rng.randrange(10**18)).zfill(18), "9" * 18])
        return bytes.fromhex(digits)[::-1] + bytes([rng.choice([0, 0x80])])
    if kind == CONTROL:
        return struct.pack("<H", _control(rng) if rng.random() < 0.8 else rng.getrandbits(16))
    if kind in (ENV, SAVE):
        words = [_control(rng), rng.getrandbits(16), rng.getrandbits(16), rng.getrandbits(32)]
        words += [rng.getrandbits(27), rng.getrandbits(32), rng.getrandbits(16)]
        return struct.pack("<7I", *words) + b"".join(extended(rng) for _ in range(8))
    return extended(rng)


def make_case(rng: random.Random, number: int) -> Case:
    """A random instruction: half of them with a memory operand."""
    opcode = 0xD8 + rng.randrange(8)
    offset = rng.randrange(0, 100)
    scratch = bytearray(rng.randbytes(SCRATCH_BYTES))
    prefix = b""
    if rng.random() < 0.5:
        reg = rng.randrange(8)
        kind = MEMORY[opcode][reg]
        address = SCRATCH + number * SCRATCH_BYTES + offset
        code = bytes([opcode, reg << 3 | 4, 0x25]) + struct.pack("<I", address)
        if kind is not None:
            data = _operand(rng, kind)
            scratch[offset : offset + len(data)] = data
        if kind in (ENV, SAVE) and rng.random() < 0.3:
            prefix = b"\x66"
    else:
        modrm = 0xC0 | rng.getrandbits(6)
        if opcode == 0xD9 and rng.random() < 0.6:
            modrm = 0xE0 | rng.getrandbits(5)
        code = bytes([opcode, modrm])
    if rng.random() < 0.02:
        code = b"\x9b"
    flags = rng.getrandbits(12) & STATUS_FLAGS | 2
    stores_environment = code[0] in (0xD9, 0xDD) and code[1] == 0x34
    return Case(prefix + code, flags, image_before(rng), bytes(scratch), offset, stores_environment)


def stub(case: Case, number: int, at: int) -> bytes:
    """The code around one case's instruction."""
    record = RECORDS + number * RECORD_BYTES
    immediate = differential._load_immediate
    head = immediate(4, differential.SAFE_STACK)
    head += immediate(0, record) + b"\x48\xa3" + struct.pack("<Q", differential.VARIABLES)
    body = immediate(0, IMAGES + number * IMAGE_BYTES) + b"\x48\x0f\xae\x08"  # fxrstor64 [rax]
    body += b"\x68" + struct.pack("<I", case.flags) + b"\x9d"
    body += immediate(0, 0x1234567890ABCDEF)
    case.start = at + len(head) + 20 + len(body)
    resume = case.start + len(case.code)
    head += immediate(0, resume) + b"\x48\xa3" + struct.pack("<Q", differential.VARIABLES + 8)
    tail = b"\x48\xa3" + struct.pack("<Q", record) + b"\x9c\x5b" + immediate(0, record)
    tail += differential._store(3, differential.R_FLAGS)
    tail += b"\x48\x0f\xae\x80" + struct.pack("<I", R_IMAGE)  # fxsave64 [rax + 512]
    return head + body + case.code + tail


def image(cases: list[Case]) -> list[tuple[int, bytes]]:
    """What lies where in memory before the batch."""
    code = b""
    for number, case in enumerate(cases):
        code += stub(case, number, CODE + len(code))
    code += b"\xe6" + bytes([DONE_PORT])
    empty = (b"\0" * differential.R_VECTOR + b"\xff" * 8).ljust(RECORD_BYTES, b"\0")
    return [
        (differential.IDT, differential.gates()),
        (differential.HANDLERS, differential.handlers()),
        (CODE, code),
        (RECORDS, empty * len(cases)),
        (SCRATCH, b"".join(case.scratch for case in cases)),
        (IMAGES, b"".join(case.image for case in cases)),
    ]


def results(case: Case, number: int, read) -> tuple[object, ...]:  # type: ignore[no-untyped-def]
    """Fault, status flags, rax, the memory and the image afterwards."""
    record = read(RECORDS + number * RECORD_BYTES, RECORD_BYTES)
    words = struct.unpack_from("<21Q", record)
    vector, error = words[differential.R_VECTOR // 8 : differential.R_VECTOR // 8 + 2]
    rip = words[differential.R_RIP // 8] - case.start
    fault = (vector, error, rip) if vector != 2**64 - 1 else ()
    scratch = read(SCRATCH + number * SCRATCH_BYTES, SCRATCH_BYTES)
    flags = words[differential.R_FLAGS // 8] & STATUS_FLAGS
    return fault, flags, words[:1], scratch, record[R_IMAGE : R_IMAGE + 160]


def compared(case: Case, result: tuple[object, ...]) -> tuple[object, ...]:
    """A result without the pointers to the last instruction and its operand.

    AMD's processors save them only where an exception is pending, and drop them otherwise;
    Intel's, which the emulator follows, save them always. MXCSR_MASK has a bit of AMD's own.
    """
    fault, flags, registers, scratch, after = result
    assert isinstance(after, bytes) and isinstance(scratch, bytes)
    after = after[:6] + bytes(18) + after[24:28] + bytes(4) + after[32:]
    if case.environment:
        size = 2 if case.code[0] == 0x66 else 4
        start, end = case.operand + 3 * size, case.operand + 7 * size
        scratch = scratch[:start] + bytes(4 * size) + scratch[end:]
    return fault, flags, registers, scratch, after


class X87Oracle(Oracle):
    """The same two machines with this module's cases."""

    image = staticmethod(image)
    results = staticmethod(results)


def agrees(case: Case) -> bool:
    """Are both results the same, or different as `rules` and `makers` have it?"""
    kvm, emu = (compared(case, case.results[name]) for name in ("kvm", "emu"))
    return kvm == emu or rules.excused(case, kvm, emu) is not None


def failures(oracle: X87Oracle, seed: int) -> list[Case]:
    """Run the batch of a seed; the cases that differ, shortest first."""
    rng = random.Random(seed)
    cases = [make_case(rng, number) for number in range(BATCH)]
    oracle.run(cases)
    if SOFT:
        cases = [case for case in cases if case.code not in APPROXIMATE]
    bad = [case for case in cases if not agrees(case)]
    return sorted(bad, key=lambda case: len(case.code))


def describe(case: Case) -> str:
    """A failing case: what went in, and where the two differ."""
    lines = [str(case)]
    cpu, emulator = (compared(case, case.results[name]) for name in ("kvm", "emu"))
    for name, a, b in zip(makers.PARTS, cpu, emulator, strict=True):
        if a != b and name == "state":
            pairs = zip(show(a).split(" st"), show(b).split(" st"), strict=True)
            lines += [f"  cpu {x}, emulator {y}" for x, y in pairs if x != y]
        elif a != b:
            a, b = (x.hex() if isinstance(x, bytes) else x for x in (a, b))
            lines.append(f"  {name}: cpu {a}\n  {name}: emulator {b}")
    return "\n".join(lines)


def main() -> None:
    seed, batches = int(sys.argv[1]), int(sys.argv[2])
    oracle = X87Oracle()
    total = 0
    for number in range(seed, seed + batches):
        bad = failures(oracle, number)
        total += BATCH
        if bad:
            codes = sorted({case.code[:2].hex() for case in bad})
            print(f"seed {number}: {len(bad)} of {BATCH} differ: {' '.join(codes)}")
            for case in {case.code[:2]: case for case in reversed(bad)}.values():
                print(describe(case))
            sys.exit(1)
    print(f"{total} cases agree")
    oracle.close()


if __name__ == "__main__":
    main()
