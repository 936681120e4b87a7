"""Disassembly, and finding the instruction behind an exit."""

from __future__ import annotations

import pytest

import pykvm
from pykvm import layout, paging
from pykvm.disasm import culprit, disassemble
from pykvm.exits import PortOut


def test_bytes_that_are_no_instruction_stand_alone() -> None:
    found = disassemble(b"\x90\x06\x0f\xff", 0x1000, 64)
    assert b"".join(each.code for each in found) == b"\x90\x06\x0f\xff"
    assert [str(each) for each in found][:2] == ["nop", "(bad)"]


@pytest.mark.parametrize("source", ["nop\nout 0x61, al\nhlt", "mov dx, 0x61\nout dx, ax\nhlt"])
def test_the_culprit_of_a_port_write_is_found_behind_rip_too(source: str) -> None:
    program = pykvm.assemble(source)
    start = program.listing[1].address
    end = start + len(program.listing[1].code)

    def read(address: int, size_bytes: int) -> bytes:
        offset = address - program.origin
        return program.code[max(offset, 0) : offset + size_bytes]

    size = 1 if "al" in source else 2
    for rip in (start, end):
        found = culprit(read, rip, 64, PortOut(0x61, size, bytes(size)))
        assert found is not None
        assert found.address == start


def test_each_exit_of_a_running_guest_has_its_instruction() -> None:
    source = "in al, 0x60\nout 0x61, al\nmov ebx, 0xd0000000\nmov [rbx], eax\nmov ecx, [rbx]\nhlt"
    seen = []
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble(source))
        for exit in vm.exits(timeout=5):
            special, rip = vm.registers.special(), vm.registers.rip
            found = culprit(
                lambda at, n, special=special: paging.read_linear(vm.memory, special, at, n),
                rip, special.bits, exit,
            )  # fmt: skip
            seen.append(str(found))
            if exit.is_read:
                vm.answer(7)
            elif isinstance(exit, PortOut):
                vm.ports.float_unclaimed = True
    assert seen[:4] == [
        "in al, 0x60", "out 0x61, al", "mov dword ptr [rbx], eax", "mov ecx, dword ptr [rbx]",
    ]  # fmt: skip


def test_the_walk_follows_the_tables_that_pykvm_builds() -> None:
    with pykvm.VM(memory="4M") as vm:
        vm.load(pykvm.assemble("hlt"))
        special = vm.registers.special()
        assert paging.translate(vm.memory, special, layout.LOAD_BASE) == layout.LOAD_BASE
        assert paging.translate(vm.memory, special, 0x1_0000_0000) is None
        vm.memory.write_int(layout.PD_BASE + 8, 0, 8)
        assert paging.translate(vm.memory, special, 0x20_0000) is None
        assert paging.read_linear(vm.memory, special, 0x1F_FFF0, 0x20) == bytes(0x10)
