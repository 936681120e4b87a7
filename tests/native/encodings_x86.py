"""The integer instructions that the differential tester draws from, with their encodings.

A row is a name, the opcode's bytes, its operands and the status flags it leaves undefined.
Operands: "b" or "v" for the size, then letters: G register in ModRM.reg, E register or
memory, a digit for an extension of the opcode, i and I for an immediate of 8 bits or of
the operand size (at most 32 bits), c for a count in CL, + for a register in the opcode,
m where there is no register form, r where there is no memory form. Rows with a map have a
VEX prefix; V among the operands: VEX.vvvv is one too.
"""

from __future__ import annotations

from dataclasses import dataclass

CF, PF, AF, ZF, SF, OF = 0x1, 0x4, 0x10, 0x40, 0x80, 0x800
ALL = CF | PF | AF | ZF | SF | OF


@dataclass(frozen=True)
class Row:
    """One opcode."""

    name: str
    opcode: bytes
    operands: str
    undefined: int = 0
    prefix: bytes = b""  # mandatory
    vex_map: int = 0


def _row(name: str, opcode: str, operands: str, undefined: int = 0, prefix: str = "") -> Row:
    return Row(name, bytes.fromhex(opcode), operands, undefined, bytes.fromhex(prefix))


def _vex(name: str, map_: int, opcode: str, operands: str, prefix: str, undefined: int) -> Row:
    mandatory = bytes.fromhex(prefix)
    return Row(name, bytes.fromhex(opcode), operands, undefined, mandatory, map_)


def _bmi() -> list[Row]:
    results = AF | PF  # Intel SDM vol. 2, ANDN, BLSI, BLSMSK, BLSR, BZHI
    rows = [
        _vex("andn", 2, "f2", "yVEG", "", results),
        _vex("blsr", 2, "f3", "yVE1", "", results),
        _vex("blsmsk", 2, "f3", "yVE2", "", results),
        _vex("blsi", 2, "f3", "yVE3", "", results),
        _vex("bzhi", 2, "f5", "yVEG", "", results),
        _vex("bextr", 2, "f7", "yVEG", "", results | SF),
        _vex("rorx", 3, "f0", "yEGi", "f2", 0),
        _row("adcx", "0f38f6", "yEG", 0, "66"),
        _row("adox", "0f38f6", "yEG", 0, "f3"),
        _row("crc32", "0f38f0", "bEG", 0, "f2"),
        _row("crc32", "0f38f1", "vEG", 0, "f2"),
    ]
    for opcode, prefix, name in (
        ("f5", "f3", "pext"),
        ("f5", "f2", "pdep"),
        ("f6", "f2", "mulx"),
        ("f7", "66", "shlx"),
        ("f7", "f3", "sarx"),
        ("f7", "f2", "shrx"),
    ):
        rows.append(_vex(name, 2, opcode, "yVEG", prefix, 0))
    return rows


def _alu() -> list[Row]:
    rows = []
    names = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"]
    for number, name in enumerate(names):
        # AF after logic: Intel SDM vol. 2A, AND, OR; vol. 2D, XOR.
        undefined = AF if name in ("and", "or", "xor") else 0
        base = 8 * number
        rows += [
            _row(name, f"{base:02x}", "bEG", undefined),
            _row(name, f"{base + 1:02x}", "vEG", undefined),
            _row(name, f"{base + 2:02x}", "bEG", undefined),
            _row(name, f"{base + 3:02x}", "vEG", undefined),
            _row(name, f"{base + 4:02x}", "bi", undefined),
            _row(name, f"{base + 5:02x}", "vI", undefined),
            _row(name, "80", f"bE{number}i", undefined),
            _row(name, "81", f"vE{number}I", undefined),
            _row(name, "83", f"vE{number}i", undefined),
        ]
    return rows


# The undefined flags of shifts and rotates depend on the count: see `undefined_flags`.
SHIFTS = ("rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar", "shld", "shrd")


def _shifts() -> list[Row]:
    rows = []
    for number, name in enumerate(SHIFTS[:8]):
        rows += [
            _row(name, "c0", f"bE{number}i"),
            _row(name, "c1", f"vE{number}i"),
            _row(name, "d0", f"bE{number}"),
            _row(name, "d1", f"vE{number}"),
            _row(name, "d2", f"bE{number}c"),
            _row(name, "d3", f"vE{number}c"),
        ]
    for opcode, name in ((0xA4, "shld"), (0xAC, "shrd")):
        rows += [
            _row(name, f"0f{opcode:02x}", "vEGi"),
            _row(name, f"0f{opcode + 1:02x}", "vEGc"),
        ]
    return rows


def _bits() -> list[Row]:
    rows = []
    others = PF | AF | SF | OF  # Intel SDM vol. 2A, BT
    for number, name, opcode in ((4, "bt", 0xA3), (5, "bts", 0xAB), (6, "btr", 0xB3)):
        rows += [
            _row(name, f"0f{opcode:02x}", "vrEG", others),
            _row(name, "0fba", f"vE{number}i", others),
        ]
    rows += [_row("btc", "0fbb", "vrEG", others), _row("btc", "0fba", "vE7i", others)]
    scans = CF | PF | AF | SF | OF  # BSF, BSR
    counts = PF | AF | SF | OF  # TZCNT, LZCNT
    rows += [
        _row("bsf", "0fbc", "vEG", scans),
        _row("bsr", "0fbd", "vEG", scans),
        _row("tzcnt", "0fbc", "vEG", counts, "f3"),
        _row("lzcnt", "0fbd", "vEG", counts, "f3"),
        _row("popcnt", "0fb8", "vEG", 0, "f3"),
    ]
    return rows


def _moves() -> list[Row]:
    rows = [
        _row("mov", "88", "bEG"),
        _row("mov", "89", "vEG"),
        _row("mov", "8a", "bEG"),
        _row("mov", "8b", "vEG"),
        _row("mov", "b0", "b+i"),
        _row("mov", "c6", "bE0i"),
        _row("mov", "c7", "vE0I"),
        _row("movsxd", "63", "vEG"),
        _row("lea", "8d", "vmEG"),
        _row("movzx", "0fb6", "vEG"),
        _row("movzx", "0fb7", "vEG"),
        _row("movsx", "0fbe", "vEG"),
        _row("movsx", "0fbf", "vEG"),
        _row("xchg", "86", "bEG"),
        _row("xchg", "87", "vEG"),
        _row("xchg", "90", "v+"),
        _row("xadd", "0fc0", "bEG"),
        _row("xadd", "0fc1", "vEG"),
        _row("cmpxchg", "0fb0", "bEG"),
        _row("cmpxchg", "0fb1", "vEG"),
        _row("cmpxchg8b", "0fc7", "vmE1"),
        _row("bswap", "0fc8", "v+"),
        _row("movbe", "0f38f0", "vmEG"),
        _row("movbe", "0f38f1", "vmEG"),
        _row("cbw", "98", "v"),
        _row("cwd", "99", "v"),
        _row("xlat", "d7", "b"),
    ]
    rows += [_row(f"cmov{cc:x}", f"0f{0x40 + cc:02x}", "vEG") for cc in range(16)]
    rows += [_row(f"set{cc:x}", f"0f{0x90 + cc:02x}", "bE0") for cc in range(16)]
    return rows


def _arithmetic() -> list[Row]:
    products = SF | ZF | AF | PF  # Intel SDM vol. 2A, MUL, IMUL
    rows = []
    for number, name, undefined in (
        (0, "test", AF),
        (2, "not", 0),
        (3, "neg", 0),
        (4, "mul", products),
        (5, "imul", products),
        (6, "div", ALL),
        (7, "idiv", ALL),
    ):
        immediate = ("i", "I") if name == "test" else ("", "")
        rows += [
            _row(name, "f6", f"bE{number}{immediate[0]}", undefined),
            _row(name, "f7", f"vE{number}{immediate[1]}", undefined),
        ]
    rows += [
        _row("inc", "fe", "bE0"),
        _row("dec", "fe", "bE1"),
        _row("inc", "ff", "vE0"),
        _row("dec", "ff", "vE1"),
        _row("test", "84", "bEG", AF),
        _row("test", "85", "vEG", AF),
        _row("test", "a8", "bi", AF),
        _row("test", "a9", "vI", AF),
        _row("imul", "0faf", "vEG", products),
        _row("imul", "69", "vEGI", products),
        _row("imul", "6b", "vEGi", products),
    ]
    return rows


def _others() -> list[Row]:
    rows = [
        _row("push", "50", "v+"),
        _row("pop", "58", "v+"),
        _row("push", "ff", "vE6"),
        _row("pop", "8f", "vE0"),
        _row("push", "68", "vI"),
        _row("push", "6a", "vi"),
        _row("pushf", "9c", "v"),
        _row("leave", "c9", "v"),
        _row("lahf", "9f", "b"),
        _row("sahf", "9e", "b"),
        _row("clc", "f8", "b"),
        _row("stc", "f9", "b"),
        _row("cmc", "f5", "b"),
        _row("cld", "fc", "b"),
        _row("std", "fd", "b"),
        _row("nop", "0f1f", "vE0"),
        _row("movsb", "a4", "bs"),
        _row("movs", "a5", "vs"),
        _row("cmpsb", "a6", "bs"),
        _row("cmps", "a7", "vs"),
        _row("stosb", "aa", "bs"),
        _row("stos", "ab", "vs"),
        _row("lodsb", "ac", "bs"),
        _row("lods", "ad", "vs"),
        _row("scasb", "ae", "bs"),
        _row("scas", "af", "vs"),
    ]
    rows += [_row("ud", opcode, "b") for opcode in ("0fff", "06", "0e", "27", "60", "62", "d6")]
    rows += [_row("privileged", opcode, "b") for opcode in ("f4", "0f06", "0f08", "0f30", "0f32")]
    return rows


ROWS = (*_alu(), *_shifts(), *_bits(), *_bmi(), *_moves(), *_arithmetic(), *_others())


def undefined_flags(row: Row, size_bits: int, count: int) -> int:
    """Status flags the manual leaves undefined; `count` is a shift's, already masked.

    Source: Intel SDM vol. 2B, RCL/RCR/ROL/ROR, SAL/SAR/SHL/SHR, SHLD, SHRD.
    """
    if row.name not in SHIFTS:
        return row.undefined
    if count == 0:
        return 0
    rotate = row.name in SHIFTS[:4]
    undefined = 0 if rotate else AF
    if count != 1:
        undefined |= OF
    if not rotate and count >= size_bits:
        undefined |= CF
    return undefined
