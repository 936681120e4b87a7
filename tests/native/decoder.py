"""The emulator's decoder against capstone: how long an instruction is, on random bytes.

Compared where both take the bytes for an instruction; `RULES` has what they differ in.

    decoder.py SEED COUNT
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter

import capstone
from rows import LONGEST, Decoder

CAPSTONE = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
LEGACY = bytes.fromhex("66 67 f0 f2 f3 2e 36 3e 26 64 65")

# Who is right, by the bits, the prefixes and the mnemonic.
RULES = {
    # Intel's processors ignore 66 there (SDM vol. 2A, Jcc); capstone follows AMD's, and reads a
    # 32-bit operand of RET where the manual knows none.
    "66 at a near branch": lambda bits, head, name: (
        bits == 64 and 0x66 in head and bool(re.fullmatch(r"j\w+|call|ret|loop\w*", name))
    ),
}


def random_bytes(rng: random.Random, bits: int) -> bytes:
    """Any bytes; two-byte opcodes and VEX prefixes come more often than their share."""
    head = bytes(rng.choice(LEGACY) for _ in range(4) if rng.random() < 0.2)
    if bits == 64 and rng.random() < 0.3:
        head += bytes([rng.randrange(0x40, 0x50)])
    kind = rng.random()
    if kind < 0.4:
        head += b"\x0f" + rng.choice((b"", b"", b"\x38", b"\x3a"))
    elif kind < 0.5:
        head += bytes([0xC5, rng.randrange(256)])
    elif kind < 0.6:
        head += bytes([0xC4, rng.randrange(8) << 5 | rng.randrange(1, 4), rng.randrange(256)])
    return (head + rng.randbytes(LONGEST))[:LONGEST]


def explained(bits: int, code: bytes, name: str) -> str | None:
    """The rule that says why lengths differ."""
    prefixes = LEGACY + (bytes(range(0x40, 0x50)) if bits == 64 else b"")
    head = code[: next(i for i, byte in enumerate(code) if byte not in prefixes)]
    return next(
        (rule for rule, holds in RULES.items() if holds(bits, head, name.split()[-1])), None
    )


def compare(seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """What came of `count` byte strings by kind, and those that no rule explains."""
    rng, decoder, came, bad = random.Random(seed), Decoder(), Counter[str](), list[str]()
    engines = {bits: capstone.Cs(capstone.CS_ARCH_X86, mode) for bits, mode in CAPSTONE.items()}
    for _ in range(count):
        bits = rng.choice((16, 32, 64))
        code = random_bytes(rng, bits)
        length = decoder.length(bits, code)
        defined = decoder.is_defined()
        # What follows does not matter, and not a byte of it may be missing.
        if decoder.length(bits, code[:length]) != length or decoder.length(
            bits, code[: length - 1]
        ):
            bad.append(f"{bits}-bit {code.hex()}: its length depends on what follows")
        found = next(engines[bits].disasm_lite(code, 0, 1), None)
        if not defined or not found:
            came["an instruction to one of them" if defined or found else "none to both"] += 1
        elif length == found[1]:
            came["same length"] += 1
        elif rule := explained(bits, code, found[2]):
            came[rule] += 1
        else:
            bad.append(f"{bits}-bit {code.hex()}: {length} bytes, capstone {found[1]} ({found[2]})")
    return came, bad


if __name__ == "__main__":
    kinds, mismatches = compare(int(sys.argv[1]), int(sys.argv[2]))
    print(*(f"{number:9} {kind}" for kind, number in kinds.most_common()), sep="\n")
    print(*mismatches[:20], f"{len(mismatches)} mismatches", sep="\n")
    sys.exit(bool(mismatches))
