"""Which instruction an exit comes from, as real exits leave rip and as others might."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import pykvm
from pykvm.culprit import culprit
from pykvm.exits import Exit, Interrupted, MmioWrite, PortOut
from pykvm.registers import Registers, SpecialRegisters

PORTS = """
    out 0xe9, al
    out 0xe9, al
    in al, 0x70
    mov dx, 0x3ff
    out dx, al
    out dx, al
    in ax, dx
    mov esi, 0x7c00
    mov ecx, 2
    rep outsb
    outsb
    hlt
"""
PORT_CULPRITS = [
    "out 0xe9, al", "out 0xe9, al", "in al, 0x70", "out dx, al", "out dx, al", "in ax, dx",
    "rep outsb", "rep outsb", "outsb", "hlt",
]  # fmt: skip
STORES = """
    mov ebx, 0xd0000000
    mov [rbx], eax
    mov [rbx], eax
    mov r11, rbx
    mov ecx, 4
    mov [r11 + rcx * 4 - 8], al
    mov [rbx], ax
    mov [rbx + 0xffc], rax
    mov byte ptr [rip + 0x200000], 1
    mov rdi, rbx
    mov ecx, 3
    rep stosb
    stosw
    inc dword ptr [rbx]
    push [rbx]
    mov rsp, rbx
    hlt
"""


def culprits(source: str, mode: str) -> list[str]:
    """The culprit of each exit but the last, each checked to start where a statement does."""
    found = []
    with pykvm.VM(memory="1M", native=False, float_unclaimed=True) as vm:
        program = pykvm.assemble(source, mode=mode)
        vm.load(program)
        starts = {line.address for line in program.listing}
        for exit in vm.exits(timeout=60):
            if not isinstance(exit, Interrupted):
                instruction = culprit(vm.vcpu, vm.memory, exit)
                assert instruction is not None
                assert instruction.address in starts
                found.append(str(instruction))
    return found


@pytest.mark.parametrize("mode", ["real", "protected", "long"])
def test_port_accesses(mode: str) -> None:
    found = culprits(PORTS, mode)
    assert [text.split(" dx, byte")[0] for text in found] == PORT_CULPRITS


def test_memory_accesses() -> None:
    found = culprits(STORES, "long")
    assert [text for text, before in zip(found, ["", *found], strict=False) if text != before] == [
        "mov dword ptr [rbx], eax",
        "mov byte ptr [r11 + rcx*4 - 8], al",
        "mov word ptr [rbx], ax",
        "mov qword ptr [rbx + 0xffc], rax",
        "mov byte ptr [rip + 0x200000], 1",
        "rep stosb byte ptr [rdi], al",
        "stosw word ptr [rdi], ax",
        "inc dword ptr [rbx]",
        "push qword ptr [rbx]",
        "hlt",
    ]


@dataclass
class Stopped:
    """A processor that stands still at `rip`."""

    rip: int

    def get_registers(self) -> Registers:
        return Registers(rip=self.rip, rdx=0x61)

    def get_special(self) -> SpecialRegisters:
        return SpecialRegisters()


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    ("code", "exit"),
    [
        (b"\xe6\x61", PortOut(0x61, 1, b"\0")),
        (b"\xee", PortOut(0x61, 1, b"\0")),
        (b"\xef", PortOut(0x61, 2, b"\0\0")),
        (b"\xa2\x34\x12", MmioWrite(0x1234, 1, b"\0")),
    ],
)
def test_rip_may_be_at_the_instruction_or_behind_it(code: bytes, exit: Exit, behind: bool) -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.memory.write(0x8000, b"\x90" * 16 + code + b"\x90" * 16)
        vcpu = Stopped(0x8010 + len(code) * behind)
        found = culprit(vcpu, vm.memory, exit)  # type: ignore[arg-type]
    assert found is not None
    assert (found.address, found.code) == (0x8010, code)


def test_a_write_beside_a_page_that_is_not_mapped() -> None:
    with pykvm.VM(memory="2M") as vm:
        vm.load(pykvm.assemble("hlt", mode="protected"))  # RAM ends at 0x200000
        vm.memory.write(0x1F_FFFF, b"\xee")
        special = vm.registers.special()
        for rip, address in ((0x20_0000, 0x1F_FFFF), (0x1F_FFFF, 0x1F_FFFF)):
            vcpu = Stopped(rip)
            vcpu.get_special = lambda: special  # type: ignore[method-assign]
            found = culprit(vcpu, vm.memory, PortOut(0x61, 1, b"\0"))  # type: ignore[arg-type]
            assert found is not None
            assert found.address == address


def test_code_that_is_not_mapped_has_no_culprit() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("hlt"))
        vm.registers.rip = 0x10_0000_0000
        assert culprit(vm.vcpu, vm.memory, Interrupted()) is None
