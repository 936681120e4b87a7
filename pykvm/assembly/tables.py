"""Instructions whose bytes pykvm knows itself, because keystone lacks them or gets them wrong.

Source: Intel SDM vol. 2, appendix A (opcode map), and the pages of the instructions.
"""

from __future__ import annotations

PREFIXES = {
    "lock": 0xF0, "repne": 0xF2, "repnz": 0xF2, "rep": 0xF3, "repe": 0xF3, "repz": 0xF3,
    "es": 0x26, "cs": 0x2E, "ss": 0x36, "ds": 0x3E, "fs": 0x64, "gs": 0x65,
}  # fmt: skip
OPERAND_SIZE, ADDRESS_SIZE, REX_W = 0x66, 0x67, 0x48

# Prefixes that ask for a size other than the code's own: {name: bits that it has no place in}.
SIZE_PREFIXES = {
    "data16": (OPERAND_SIZE, 16), "data32": (OPERAND_SIZE, 32),
    "addr16": (ADDRESS_SIZE, 16), "addr32": (ADDRESS_SIZE, 32),
}  # fmt: skip

ALIASES = {"lret": "retf", "lretq": "retfq", "ud2a": "ud2", "xlat": "xlatb"}

# Instructions without operands, the same in every mode.
PLAIN = {
    "xlatb": "d7", "endbr32": "f3 0f 1e fb", "endbr64": "f3 0f 1e fa", "wbnoinvd": "f3 0f 09",
    "serialize": "0f 01 e8", "int1": "f1", "sysretl": "0f 07", "sysretq": "48 0f 07",
    "sysexitl": "0f 35", "sysexitq": "48 0f 35", "iret": "cf", "pushf": "9c", "popf": "9d",
}  # fmt: skip
ONLY_64 = ("endbr64", "sysretq", "sysretl", "sysexitq", "sysexitl")
MISSING = {
    "rex64": "a REX prefix follows from the operands",
    "sysret": "write sysretq (to 64-bit code) or sysretl (to 32-bit code)",
    "sysexit": "write sysexitq (to 64-bit code) or sysexitl (to 32-bit code)",
}

# Strings: the opcode of the byte form; the others are one above, with an operand size.
STRINGS = {
    "ins": 0x6C, "outs": 0x6E, "movs": 0xA4, "cmps": 0xA6, "stos": 0xAA, "lods": 0xAC,
    "scas": 0xAE,
}  # fmt: skip
STRING_BITS = {"b": 8, "w": 16, "d": 32, "q": 64}

# Branches: the condition's number by every name that it has.
CONDITIONS = {
    name: number
    for number, names in enumerate((
        "o", "no", "b c nae", "ae nb nc", "e z", "ne nz", "be na", "a nbe",
        "s", "ns", "p pe", "np po", "l nge", "ge nl", "le ng", "g nle",
    ))
    for name in names.split()
}  # fmt: skip
LOOPS = {"loopne": 0xE0, "loopnz": 0xE0, "loope": 0xE1, "loopz": 0xE1, "loop": 0xE2}
COUNTER_JUMPS = {"jcxz": 16, "jecxz": 32, "jrcxz": 64}  # opcode E3, by the counter's size

# Where keystone takes a qword for a smaller operand outside 64-bit code.
GENERAL = {
    "adc", "add", "and", "bt", "btc", "btr", "bts", "call", "cmp", "dec", "div", "idiv",
    "imul", "inc", "jmp", "mov", "mul", "neg", "not", "or", "pop", "push", "rcl", "rcr",
    "rol", "ror", "sal", "sar", "sbb", "shl", "shr", "sub", "test", "xadd", "xchg", "xor",
}  # fmt: skip

# Where keystone adds an operand-size prefix to what is the mode's default: {bits: mnemonics}.
NEEDLESS_OPERAND_SIZE = {
    16: ("ret", "retf"),
    32: ("lgdt", "lidt", "sgdt", "sidt"),
    64: (),
}  # fmt: skip
