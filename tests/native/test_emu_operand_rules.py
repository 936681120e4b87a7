"""Which operands an instruction has, and which bytes of them it touches. Intel SDM vol. 2."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import kernel
import pytest
from asm import assemble
from emulib import CS, DS, Machine
from kernel import START, protected

HLT = b"\xf4"
PAGE, NEXT_PAGE = 0x2_0000, 0x2_1000
CR0_PG, CR4_PSE = 1 << 31, 1 << 4


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(4 << 20) as machine:
        yield machine


def run_long(machine: Machine, code: bytes, user: bool = False, **registers: int) -> str:
    """Run 64-bit code at START, with NEXT_PAGE absent."""
    machine.write(START, code + HLT)
    kernel.long_mode(machine, START, user, **registers)
    kernel.map_small(machine, NEXT_PAGE, 0)
    return machine.run()


@pytest.mark.parametrize("kept", [0x64, 0x65])
@pytest.mark.parametrize("ignored", ["26", "2e", "36", "3e", "2e363e26", "3e66", "662e"])
@pytest.mark.parametrize("first", [True, False])
def test_ignored_overrides_cancel_neither_fs_nor_gs(
    machine: Machine, kept: int, ignored: str, first: bool
) -> None:
    prefixes = [bytes([kept]), bytes.fromhex(ignored)]
    code = b"".join(prefixes if first else prefixes[::-1]) + b"\x8b\x03"  # mov eax, [rbx]
    machine.write(START, code + HLT)
    machine.write(PAGE, struct.pack("<3I", 1, 2, 3))
    kernel.long_mode(machine, START, rbx=PAGE - 0x100)
    state = machine.state()
    state.segment[4].base, state.segment[5].base = 0x104, 0x108
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rax") == (2 if kept == 0x64 else 3)


def test_the_last_of_several_overrides_counts(machine: Machine) -> None:
    machine.write(START, bytes.fromhex("64652e8b03") + HLT)
    machine.write(PAGE, struct.pack("<3I", 1, 2, 3))
    kernel.long_mode(machine, START, rbx=PAGE)
    state = machine.state()
    state.segment[4].base, state.segment[5].base = 4, 8
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 3


COMPARING = {
    "f3a6": 1,
    "f2a6": 1,
    "f3a7": 4,
    "f2ae": 1,
    "f3ae": 1,
    "f2af": 4,
    "f248af": 8,
    "f366a7": 2,
}


@pytest.mark.parametrize("code", COMPARING)
@pytest.mark.parametrize("flags", [0x8D7, 0x2, 0x893, 0x46])
@pytest.mark.parametrize("before", [1, 17, 1500, 3000])
def test_flags_at_a_fault_are_those_before_the_comparison(
    machine: Machine, code: str, flags: int, before: int
) -> None:
    """More elements than the emulator compares at a time, too."""
    size = COMPARING[code]
    count = min(before, 0x1000 // size)
    repne, scans = code.startswith("f2"), code[-2:] in ("ae", "af")
    registers = {"rcx": count + 5, "rax": 2**64 - 1 if repne else 0}
    other = 0x3_0000
    if scans:
        registers["rdi"] = NEXT_PAGE - count * size
    else:
        registers |= {"rsi": NEXT_PAGE - count * size, "rdi": other}
    machine.write(other, (b"\1" if repne else b"\0") * 0x2000)
    machine.write(PAGE, bytes(0x1000))
    run_long(machine, bytes.fromhex(code), user=True, rflags=flags, **registers)
    fault = kernel.fault(machine)
    assert (fault.vector, fault.cr2, fault.rip) == (14, NEXT_PAGE, START)
    assert fault.flags & 0x8D5 == flags & 0x8D5
    assert machine.reg("rcx") == 5


@pytest.mark.parametrize("step", [False, True])
def test_flags_are_set_by_the_last_comparison(machine: Machine, step: bool) -> None:
    machine.write(PAGE, bytes(8) + b"\5")
    registers = {"rdi": PAGE, "rcx": 20, "rax": 0, "rflags": 0x8D7}
    machine.write(START, b"\xf3\xae" + HLT)
    kernel.long_mode(machine, START, **registers)
    while step and machine.reg("rip") == START:
        machine.run(1)
    assert step or machine.run() == "HALT"
    assert (machine.reg("rcx"), machine.reg("rdi")) == (11, PAGE + 9)
    assert machine.state().rflags & 0x8D5 == 0x91 | 0  # 0 - 5: CF, AF, SF


UPPER = 0xABCD_0000_0000
STRINGS = {"a4": "67", "a5": "67", "aa": "7", "ab": "7", "a6": "", "ac": "", "ae": "", "af": ""}


@pytest.mark.parametrize("opcode", STRINGS)
@pytest.mark.parametrize("repeat", ["f3", "f2"])
@pytest.mark.parametrize("asize", [True, False])
def test_a_count_of_0_cuts_registers_of_32_bits(
    machine: Machine, opcode: str, repeat: str, asize: bool
) -> None:
    registers = {"rcx": UPPER if asize else 0, "rsi": UPPER | PAGE, "rdi": UPPER | NEXT_PAGE}
    code = ("67" if asize else "") + repeat + opcode
    assert run_long(machine, bytes.fromhex(code), **registers) == "HALT"
    cut = [bool(asize and number in STRINGS[opcode]) for number in "67"]
    assert machine.reg("rcx") == 0
    assert machine.reg("rsi") == (PAGE if cut[0] else UPPER | PAGE)
    assert machine.reg("rdi") == (NEXT_PAGE if cut[1] else UPPER | NEXT_PAGE)


@pytest.mark.parametrize("code", ["f34190", "f34990", "66f34190", "f390"])
def test_pause_with_rex_exchanges_nothing(machine: Machine, code: str) -> None:
    assert run_long(machine, bytes.fromhex(code), rax=1, r8=2) == "HALT"
    assert (machine.reg("rax"), machine.reg("r8")) == (1, 2)


@pytest.mark.parametrize(("code", "name"), [("f391", "rcx"), ("f34191", "r9"), ("4190", "r8")])
def test_other_exchanges_with_f3_do_exchange(machine: Machine, code: str, name: str) -> None:
    assert run_long(machine, bytes.fromhex(code), **{"rax": 1, name: 2}) == "HALT"
    assert (machine.reg("rax"), machine.reg(name)) == (2, 1)


@pytest.mark.parametrize(
    ("code", "bytes_read", "result"),
    [("666303", 2, 0x1111_2222_3333_8001), ("6303", 4, 0x7654_8001), ("486303", 4, 0x7654_8001)],
)
def test_movsxd_reads_no_more_than_its_operand(
    machine: Machine, code: str, bytes_read: int, result: int
) -> None:
    value = (0x7654_8001).to_bytes(4, "little")[:bytes_read]
    machine.write(NEXT_PAGE - bytes_read, value)
    registers = {"rbx": NEXT_PAGE - bytes_read, "rax": 0x1111_2222_3333_4444}
    assert run_long(machine, bytes.fromhex(code), **registers) == "HALT"
    assert machine.reg("rip") == START + len(code) // 2 + 1
    assert machine.reg("rax") == result


@pytest.mark.parametrize(("rpl", "wanted"), [(0, 0), (1, 0), (2, 2), (3, 1)])
@pytest.mark.parametrize("writable", [False, True])
def test_arpl_writes_only_what_changes(
    machine: Machine, rpl: int, wanted: int, writable: bool
) -> None:
    protected(machine, "arpl word ptr [ecx], bx; hlt", rcx=PAGE, rbx=wanted, rflags=0x42)
    machine.write(PAGE, (0xA5A4 | rpl).to_bytes(2, "little"))
    state = machine.state()
    state.segment[DS].type = 3 if writable else 1
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rip") == START + 3
    assert not machine.state().rflags & 0x40


def test_arpl_that_changes_needs_to_write(machine: Machine) -> None:
    protected(machine, "arpl word ptr [ecx], bx; hlt", rcx=PAGE, rbx=3)
    state = machine.state()
    state.segment[DS].type = 1
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert kernel.fault(machine).vector == 13


@pytest.mark.parametrize("db", [0, 1])
@pytest.mark.parametrize(
    ("at", "code"), [(0xFFF0, b"\x90" * 16), (0xFFFD, b"\x66\x81\xc0"), (0xFFFF, b"\xb8")]
)
def test_code_beyond_the_limit_is_not_fetched(
    machine: Machine, db: int, at: int, code: bytes
) -> None:
    """The limit is the end of a page, and the next one is absent: #GP, no #PF."""
    base = (4 << 20) - 0x1_0000
    protected(machine, "nop", user=True)
    machine.write(base + at, code)
    machine.write(0x10_0000, struct.pack("<1024I", 0x87, *(0,) * 1023))
    state = machine.state()
    cs = state.segment[CS]
    cs.base, cs.limit, cs.g, cs.db = base, 0xFFFF, 0, db
    state.rip, state.cr3 = at, 0x10_0000
    state.cr4 |= CR4_PSE
    state.cr0 |= CR0_PG
    machine.set_state(state)
    assert machine.run() == "HALT"
    fault = kernel.fault(machine)
    end = 0x1_0000 if code[0] == 0x90 else at
    assert (fault.vector, fault.error, fault.rip) == (13, 0, end)


SEGMENT, PLAIN = 0x3_0000, 0x8000  # where data lies, and an offset at which nothing wraps
BEFORE = "fninit; fld1; fldpi; mov eax, 3;"
# Text, the sizes of its parts, and whether it stores.
PARTS: list[tuple[str, list[int], bool]] = [
    ("les ax, [{0}]; mov cx, es", [2, 2], False),
    ("lds ax, [{0}]; mov cx, ds", [2, 2], False),
    ("lfs ax, [{0}]; mov cx, fs", [2, 2], False),
    ("lgs eax, [{0}]; mov cx, gs", [4, 2], False),
    (".byte 0x62, 0x06, {0} & 255, {0} >> 8", [2, 2], False),  # bound ax, [{0}]
    (".byte 0x66, 0x62, 0x06, {0} & 255, {0} >> 8", [4, 4], False),
    ("fninit; fld tbyte ptr [{0}]; fstp tbyte ptr cs:[0x500]", [8, 2], False),
    ("fninit; fbld tbyte ptr [{0}]; fstp tbyte ptr cs:[0x500]", [8, 2], False),
    (BEFORE + "fstp tbyte ptr [{0}]", [8, 2], True),
    (BEFORE + "fbstp tbyte ptr [{0}]", [8, 2], True),
    (BEFORE + "fnstenv [{0}]", [2] * 7, True),
    (BEFORE + ".byte 0x66; fnstenv [{0}]", [4] * 7, True),
    ("fninit; fldenv [{0}]; fnstcw cs:[0x500]; fnstsw ax", [2] * 7, False),
    (BEFORE + "fnsave [{0}]", [2] * 7 + [8, 2] * 8, True),
    (BEFORE + ".byte 0x66; fnsave [{0}]", [4] * 7 + [8, 2] * 8, True),
    ("fninit; frstor [{0}]; fnstsw ax; fstp tbyte ptr cs:[0x500]", [2] * 7 + [8, 2] * 8, False),
    (BEFORE + "fxsave [{0}]", [16] * 32, True),
    ("sgdt [{0}]", [2, 4], True),
    ("lgdt [{0}]; sgdt cs:[0x500]", [2, 4], False),
]


def run_real(machine: Machine, text: str, offset: int, data: bytes) -> tuple[Any, ...]:
    """What an instruction makes of data at an offset of a 64 KiB segment, and what is there then;
    vectors lead to an HLT each."""
    size = len(data)
    machine.write(0, b"".join(struct.pack("<HH", 0x400 + n, 0) for n in range(32)))
    machine.write(0x400, HLT * 32)
    machine.write(0x500, bytes(32))
    machine.write(START, assemble(text.format(offset), START, 16) + HLT)
    for index, byte in enumerate(data):
        machine.write(SEGMENT + (offset + index) % 0x1_0000, bytes([byte]))
    machine.enter("real", START, rax=3)
    state = machine.state()
    state.segment[DS].base, state.segment[DS].selector = SEGMENT, SEGMENT >> 4
    machine.set_state(state)
    assert machine.run() == "HALT"
    rip = machine.reg("rip")
    stored = b"".join(machine.read(SEGMENT + (offset + i) % 0x1_0000, 1) for i in range(size))
    vector = rip - 1 - 0x400 if rip < 0x420 else None
    return vector, machine.reg("rax"), machine.reg("rcx"), stored, machine.read(0x500, 32)


def _data(text: str, size: int) -> bytes:
    if "0x62" in text:
        return b"\1".ljust(size // 2, b"\0") + b"\5".ljust(size // 2, b"\0")
    if "env" in text or "rstor" in text:
        return (b"\x7f\x02\0\0\xff\xff\0\0" + bytes(range(6))).ljust(size, b"\x11")
    return bytes(1 + index % 255 for index in range(size))


@pytest.mark.parametrize(("text", "parts", "stores"), PARTS, ids=lambda value: str(value)[:30])
def test_each_part_of_an_operand_wraps_by_itself(
    machine: Machine, text: str, parts: list[int], stores: bool
) -> None:
    data = _data(text, sum(parts))
    plain = run_real(machine, text, PLAIN, data)
    assert plain[0] is None
    at = 0
    for part in parts[:-1]:
        at += part
        if (0x1_0000 - at) % 16 and "fxsave" in text:
            continue
        found = run_real(machine, text, 0x1_0000 - at, data)
        assert _without_pointers(text, found) == _without_pointers(text, plain), (
            f"wraps behind {at}"
        )


@pytest.mark.parametrize(("text", "parts", "stores"), PARTS, ids=lambda value: str(value)[:30])
def test_no_part_wraps_in_its_middle(
    machine: Machine, text: str, parts: list[int], stores: bool
) -> None:
    data = _data(text, sum(parts))
    for at in {parts[0] - 1, sum(parts) - 1}:
        found = run_real(machine, text, 0x1_0000 - at, data)
        assert found[0] == 13
        assert stores or found[3] == data


def _without_pointers(text: str, found: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without the place of the operand, which x87 images name."""
    vector, rax, rcx, stored, copy = found
    wide = ".byte 0x66" in text
    if "fxsave" in text:
        stored = stored[:16] + stored[24:]
    elif "fns" in text:
        stored = stored[:20] + stored[28:] if wide else stored[:10] + stored[14:]
    return vector, rax, rcx, stored, copy
