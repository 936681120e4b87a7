"""Disassembly, and the walk of page tables."""

from __future__ import annotations

import random

import pytest

import pykvm
from pykvm import layout, paging
from pykvm.disasm import disassemble


def test_bytes_that_are_no_instruction_stand_alone() -> None:
    found = disassemble(b"\x90\x06\x0f\xff", 0x1000, 64)
    assert b"".join(each.code for each in found) == b"\x90\x06\x0f\xff"
    assert [str(each) for each in found][:2] == ["nop", "(bad)"]


@pytest.mark.parametrize(
    ("bits", "address", "code", "text"),
    [
        (16, 0x100, "e975fe", "jmp 0xff78"),
        (16, 5, "72f0", "jb 0xfff7"),
        (16, 0xFC16, "e83564", "call 0x604e"),
        (16, 2, "0f84f0ff", "je 0xfff6"),
        (16, 2, "67e3f0", "jecxz 0xfff5"),
        (16, 0xFFFE, "eb00", "jmp 0"),
        (16, 0x100, "66e975feffff", "jmp 0xffffff7b"),
        (32, 0x12345, "66eb00", "jmp 0x2348"),
        (32, 0x12345, "2e66e9f0ff", "jmp 0x233a"),
        (32, 0x10, "e975feffff", "jmp 0xfffffe8a"),
        (64, 0x10, "e975feffff", "jmp 0xfffffffffffffe8a"),
    ],
)
def test_targets_have_as_many_bits_as_ip(bits: int, address: int, code: str, text: str) -> None:
    assert str(disassemble(bytes.fromhex(code), address, bits)[0]) == text


@pytest.mark.parametrize(("ip", "target"), [(0x100, 0x4_FF78), (0x8000, 0x4_7E78)])
def test_targets_stay_in_their_segment(ip: int, target: int) -> None:
    found = disassemble(bytes.fromhex("e975fe"), 0x4_0000 + ip, 16, 0x4_0000)
    assert str(found[0]) == f"jmp {target:#x}"


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_any_bytes_are_instructions_or_bad(bits: int) -> None:
    """A prefix alone, a branch cut short, bytes that are no branch: no line is an error."""
    dice = random.Random(bits)
    for code in (b"\x66", b"\x67\xe3", b"\x0f", b"\x0a\xb0\x01", *map(dice.randbytes, range(256))):
        assert b"".join(each.code for each in disassemble(code, 0x1_0000, bits)) == code


def test_many_bad_bytes_do_not_take_for_ever() -> None:
    code = b"\x06\x90" * 50_000
    assert [str(each) for each in disassemble(code)] == ["(bad)", "nop"] * 50_000


def test_the_walk_follows_the_tables_that_pykvm_builds() -> None:
    with pykvm.VM(memory="4M") as vm:
        vm.load(pykvm.assemble("hlt"))
        special = vm.registers.special()
        assert paging.translate(vm.memory, special, layout.LOAD_BASE) == layout.LOAD_BASE
        assert paging.translate(vm.memory, special, 0x1_0000_0000) is None
        vm.memory.write_int(layout.PD_BASE + 8, 0, 8)
        assert paging.translate(vm.memory, special, 0x20_0000) is None
        assert paging.read_linear(vm.memory, special, 0x1F_FFF0, 0x20) == bytes(0x10)
