"""Processors that wait for each other without PAUSE: the turn goes on soon."""

from __future__ import annotations

import pytest

from pykvm import VM, assemble

ROUNDS = 300
FEW = 20_000  # instructions for a round, both processors'; a quantum alone has 400,000
TRAMPOLINE = 0x9_0000
START = """
    mov edi, 0xfee00000
    mov dword ptr [rdi + 0x300], 0xc4500
    mov dword ptr [rdi + 0x300], 0xc4690
"""
# The word at 0x90800 goes up by one, by the first processor where it is even, the second one where
# it is odd.
WAITS = {
    "loads": "wait: mov eax, [{word}]\ncmp eax, ecx\njne wait",
    "compares": "wait: cmp [{word}], ecx\njne wait",
    "exchanges": "wait: mov eax, ecx\nlock cmpxchg [{word}], ecx\njne wait",
    "eleven": "wait: nop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\ncmp [{word}], ecx\njne wait",
}
END = "mov al, 1\nout 0xf8, al"


def side(first: bool, wait: str, word: str) -> str:
    begin = 0 if first else 1
    return (
        f"mov ecx, {begin}\nagain:\n{wait.format(word=word)}\ninc dword ptr [{word}]\n"
        f"add ecx, 2\ncmp ecx, {2 * ROUNDS}\njb again\n"
    )


@pytest.mark.parametrize("wait", WAITS)
def test_an_exchange_takes_no_quantum(wait: str) -> None:
    second = "mov ax, cs\nmov ds, ax\n" + side(False, WAITS[wait], "0x800") + "stop: hlt\njmp stop"
    with VM(backend="emu", cpus=2, clock="instructions") as vm:
        vm.load(assemble(START + side(True, WAITS[wait], "0x90800") + END))
        vm.memory.write(TRAMPOLINE, assemble(second, mode="real").code)
        assert vm.run(120).status == 1
        retired = sum(vcpu.retired for vcpu in vm.vcpus)
    assert retired < ROUNDS * FEW


def test_a_processor_that_counts_in_memory_keeps_its_turn() -> None:
    """Its registers are the same again and again, but it is at work."""
    second = "mov ax, cs\nmov ds, ax\nmore: inc dword ptr [0x800]\njmp more"
    source = START + "mov ecx, 8000000\nnext: dec ecx\njnz next\nmov eax, [0x90800]\nhlt"
    with VM(backend="emu", cpus=2, clock="instructions") as vm:
        vm.load(assemble(source.replace("hlt", "mov ebx, eax\nmov al, 1\nout 0xf8, al")))
        vm.memory.write(TRAMPOLINE, assemble(second, mode="real").code)
        assert vm.run(120).status == 1
        assert vm.registers.rbx > 4_000_000  # half of the second one's half
