"""Disassembly, and the walk of page tables."""

from __future__ import annotations

import pykvm
from pykvm import layout, paging
from pykvm.disasm import disassemble


def test_bytes_that_are_no_instruction_stand_alone() -> None:
    found = disassemble(b"\x90\x06\x0f\xff", 0x1000, 64)
    assert b"".join(each.code for each in found) == b"\x90\x06\x0f\xff"
    assert [str(each) for each in found][:2] == ["nop", "(bad)"]


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
