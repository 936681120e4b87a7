"""The emulator's decoder against capstone on random bytes: what is an instruction, and how long.

`acceptance` says why the two may differ on the first; in 64-bit code the processor, at CPL 3 in
KVM, is the judge of what is left.

    decoder.py SEED COUNT
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter

import acceptance
import capstone
from acceptance import LEGACY
from rows import LONGEST, Decoder

from pykvm import host

CAPSTONE = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}


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


class Comparison:
    """What came of byte strings by kind, and those that nothing explains."""

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.engines = {bits: capstone.Cs(capstone.CS_ARCH_X86, m) for bits, m in CAPSTONE.items()}
        self.came, self.bad = Counter[str](), list[str]()
        self.open: list[tuple[bytes, str]] = []  # for the processor to judge

    def add(self, bits: int, code: bytes) -> None:
        """Compare one string."""
        length = self.decoder.length(bits, code)
        defined = self.decoder.is_defined() or acceptance.is_ud(self.decoder)
        # What follows does not matter, and not a byte of it may be missing.
        if self.decoder.length(bits, code[:length]) != length or self.decoder.length(
            bits, code[: length - 1]
        ):
            self.bad.append(f"{bits}-bit {code.hex()}: its length depends on what follows")
        found = next(self.engines[bits].disasm_lite(code, 0, 1), None)
        if bool(found) != defined:
            self._acceptance(bits, code, found[2] if found else "", length)
        elif not found:
            self.came["none to both"] += 1
        elif length == found[1]:
            self.came["an instruction of the same length"] += 1
        elif 0x66 in acceptance.head(bits, code) and bits == 64 and is_near_branch(found[2]):
            self.came["another length: 66 at a near branch, where capstone follows AMD"] += 1
        elif found[2].split()[-1] in ("ud0", "ud1"):
            self.came["another length: UD0 and UD1 have ModRM (SDM vol. 2D, UD)"] += 1
        else:
            why = f"{length} bytes, capstone {found[1]} ({found[2]})"
            self.bad.append(f"{bits}-bit {code.hex()}: {why}")

    def _acceptance(self, bits: int, code: bytes, name: str, length: int) -> None:
        why = acceptance.explained(self.decoder, self.engines, bits, code, name)
        what = f"capstone alone ({name})" if name else "the emulator alone"
        if why:
            self.came[f"{'capstone' if name else 'the emulator'} alone: {why}"] += 1
        elif bits == 64:
            self.open.append((code[:length] if not name else code, what))
        else:
            self.bad.append(f"{bits}-bit {code.hex()}: an instruction to {what}")

    def judge(self) -> None:
        """Ask the processor about what is open, where there is KVM."""
        if host.problem() is not None:
            self.came["for a processor to judge"] += len(self.open)
            return
        wrong = acceptance.judge([code for code, _ in self.open])
        self.came["the processor agrees with the emulator"] += len(self.open) - len(wrong)
        for number, verdict in wrong.items():
            code, what = self.open[number]
            self.bad.append(f"64-bit {code.hex()}: an instruction to {what}; {verdict}")


def is_near_branch(name: str) -> bool:
    """Where Intel's processors ignore 66 in 64-bit code (SDM vol. 2A, Jcc), and AMD's do not."""
    return bool(re.fullmatch(r"j\w+|call|ret|loop\w*", name.split()[-1]))


def compare(seed: int, count: int) -> Comparison:
    """Compare `count` random strings."""
    rng, comparison = random.Random(seed), Comparison()
    for _ in range(count):
        bits = rng.choice((16, 32, 64))
        comparison.add(bits, random_bytes(rng, bits))
    comparison.judge()
    return comparison


if __name__ == "__main__":
    result = compare(int(sys.argv[1]), int(sys.argv[2]))
    print(*(f"{number:9} {kind}" for kind, number in result.came.most_common()), sep="\n")
    print(*result.bad[:60], f"{len(result.bad)} mismatches", sep="\n")
    sys.exit(bool(result.bad))
