"""Why bytes may be an instruction to the emulator and not to capstone, or the other way round."""

from __future__ import annotations

import re
from typing import Any

from cases import UNMAPPED, Case, area
from rows import LONGEST, Decoder

LEGACY = bytes.fromhex("66 67 f0 f2 f3 2e 36 3e 26 64 65")
MANDATORY = (0x66, 0xF2, 0xF3)

# Sets that are not implemented, and that CPUID does not report, by capstone's mnemonics.
SETS = {
    "3DNow!": r"femms|pf\w+|pi2f[dw]|pswapd|pavgusb|pmulhrw",
    "SSE4A": r"movntss|movntsd|insertq|extrq",
    "VMX": r"vm(read|write|clear|xon|xoff|ptrld|ptrst|launch|resume|func)|inv(ept|vpid)",
    "SVM": r"vm(run|load|save|mcall)|stgi|clgi|skinit|invlpga",
    "SMM and SMX": r"rsm|getsec",
    "SGX": r"encl[suv]",
    "MPX": r"bnd\w+",
    "CET": r"wru?ss[dq]|rdssp\w|incssp\w|saveprevssp|rstorssp|setssbsy|clrssbsy|endbr\w+",
    "TSX": r"xbegin|xabort|xend|xtest",
    "PKU": r"(rd|wr)pkru",
    "MOVDIR": r"movdir(i|64b)",
    "WAITPKG": r"umonitor|umwait|tpause",
    "PadLock": r"x(crypt|sha|store)\w*|montmul",
    "others": r"clzero|monitorx|mwaitx|rdpru|cldemote|ptwrite|enqcmds?|pconfig|wbnoinvd|gf2p8\w+",
    "AVX-512, VAES and GFNI": r"v?aes\w+|vpclmul\w+|vgf2p8\w+|k[a-z]+[bwdq]",
    "FMA4": r"vfn?m(add|sub)(sub|add)?[ps][sd]",
    "XOP": r"vp(com|rot|sha|shl|mac|madcs|perm|cmov)\w*|vpermil2p[sd]",
    "TBM and LWP": r"blc\w+|bls(fill|ic)|t1mskc|tzmsk|llwpcb|slwpcb|lwp\w+",
}


def head(bits: int, code: bytes) -> bytes:
    """The prefixes."""
    prefixes = LEGACY + (bytes(range(0x40, 0x50)) if bits == 64 else b"")
    return code[: next((i for i, byte in enumerate(code) if byte not in prefixes), len(code))]


def is_ud(decoder: Decoder) -> bool:
    """UD0, UD1, UD2: instructions whose meaning is #UD."""
    index = decoder.row()
    if index is None:
        return False
    row = decoder.table[index]
    return row.map == 1 and row.opcode in (0x0B, 0xB9, 0xFF)


def accepts(decoder: Decoder, bits: int, code: bytes) -> bool:
    """Whether these bytes are an instruction to the emulator."""
    decoder.length(bits, code.ljust(LONGEST, b"\0"))
    return decoder.is_defined() or is_ud(decoder)


Engines = dict[int, Any]


def explained(decoder: Decoder, engines: Engines, bits: int, code: bytes, name: str) -> str | None:
    """The class that a string belongs to; `name` is capstone's, or nothing where it has none."""
    before = head(bits, code)
    rest = code[len(before) :]
    if name:
        return _capstone_alone(decoder, bits, before, rest, name)
    return _emulator_alone(engines, bits, before, rest)


def _capstone_alone(
    decoder: Decoder, bits: int, before: bytes, rest: bytes, name: str
) -> str | None:
    found = next((s for s, names in SETS.items() if re.fullmatch(names, name.split()[-1])), None)
    if found:
        return f"a set that is not implemented ({found})"
    if rest[0] == 0x62 and (bits == 64 or rest[1] >= 0xC0):
        return "a set that is not implemented (AVX-512)"
    if rest[0] == 0x8F and rest[1] & 0x1F >= 8:
        return "a set that is not implemented (XOP)"
    if name == "swapgs" and bits != 64:
        return "SWAPGS outside 64-bit code (SDM vol. 2B, SWAPGS)"
    without = bytes(byte for byte in before if byte != 0xF0)
    if without != before and accepts(decoder, bits, without + rest):
        return "LOCK where it is #UD (SDM vol. 2A, LOCK)"
    if rest[0] in (0xC4, 0xC5):
        plain = bytes(b for b in before if b not in (*MANDATORY, 0xF0) and b & 0xF0 != 0x40)
        if accepts(decoder, bits, plain + rest):
            return "66, F2, F3, LOCK or REX before VEX (SDM vol. 2A §2.3.2)"
        return None
    for ignored in ((0xF2, 0xF3, 0xF0), (0x66, 0xF0), (*MANDATORY, 0xF0)):
        plain = bytes(byte for byte in before if byte not in ignored)
        if plain != before and accepts(decoder, bits, plain + rest):
            return "66, F2 or F3 where it selects nothing"
    return None


def _emulator_alone(engines: Engines, bits: int, before: bytes, rest: bytes) -> str | None:
    if rest[0] == 0x0F and rest[1] in (0x0D, *range(0x18, 0x20)):
        return "a hint or reserved NOP"
    if rest[0] == 0x0F and rest[1] in (0x0B, 0xB9, 0xFF):
        return "UD0, UD1 or UD2: #UD either way"
    if rest[0] in (0x8C, 0x8E) and rest[1] >> 3 & 7 >= 6:
        return "#UD at execution: a segment register that does not exist"
    if rest[0] & 0xF8 == 0xD8:
        return "x87 encodings in no manual"
    if bits == 64 and 0x66 in before and rest[0] == 0x0F and rest[1] >> 4 == 8:
        return "66 at a near branch, where capstone follows AMD"
    if rest[0] == 0x0F and rest[1] == 0xAE and rest[2] >= 0xE8:
        return "LFENCE, MFENCE and SFENCE with any ModRM.rm (SDM vol. 2B, MFENCE)"
    return _size_of_code(engines, bits, before, rest) if bits != 64 else None


def _size_of_code(engines: Engines, bits: int, before: bytes, rest: bytes) -> str | None:
    """Where there is no processor to ask: what capstone would take with one thing changed."""
    if bits == 16 and known(engines[32], before + rest):
        return "capstone takes it in 32-bit code"
    for ignored in ((0xF2, 0xF3), (0x66,), (0x67,), (0xF2, 0xF3, 0x67), (0x66, 0x67)):
        plain = bytes(byte for byte in before if byte not in ignored)
        if plain != before and any(known(engines[size], plain + rest) for size in (bits, 32)):
            return "66, F2, F3 or 67 with which capstone does not take it"
    at = 1 if rest[0] == 0xC5 else 2
    for bit, why in VEX_BITS.items() if rest[0] in (0xC4, 0xC5) else ():
        other = rest[:at] + bytes([rest[at] ^ bit]) + rest[at + 1 :]
        if known(engines[32], before + other):
            return why
    return None


# Bits of a VEX prefix's last byte that capstone minds.
VEX_BITS = {
    0x40: "the top bit of VEX.vvvv, which counts in 64-bit code alone (SDM vol. 2A §2.3.5.6)",
    0x80: "VEX.W where the processor ignores it",
    0xC0: "both of these",
}


def known(engine: Any, code: bytes) -> bool:
    """Whether capstone takes it."""
    return next(engine.disasm_lite(code, 0, 1), None) is not None


def judge(codes: list[bytes]) -> dict[int, str]:
    """The strings on which the processor and the emulator do not agree that they are #UD."""
    import differential_rows

    oracle, wrong = differential_rows.RowOracle(), {}
    for first in range(0, len(codes), differential_rows.BATCH):
        part = codes[first : first + differential_rows.BATCH]
        cases = [_case(number, code) for number, code in enumerate(part)]
        try:
            oracle.run(list(cases))
        except differential_rows.Refused as error:  # one that branched, or was shorter or longer
            astray = max((c for c in cases if c.start <= error.rip), key=lambda c: c.start)
            wrong[first + astray.number] = str(error)
            continue
        for case in cases:
            faults = [
                differential_rows.result(case, name)[0] for name in ("kvm", "emu") if case.results
            ]
            at_start = [fault[:1] == (6,) and fault[2] == case.start for fault in faults]
            # Without VT-x and AMD-V the kernel may make #UD of #GP.
            if len(set(at_start)) > 1 and not (at_start[0] and faults[1][:1] == (13,)):
                wrong[first + case.number] = f"cpu {faults[0][:2]}, emulator {faults[1][:2]}"
    oracle.close()
    return wrong


def _case(number: int, code: bytes) -> Case:
    """All registers lead nowhere but RSP."""
    registers = [UNMAPPED] * 16
    registers[4] = area(number) + 512
    return Case(number, code, registers)
