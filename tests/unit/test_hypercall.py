"""Hypercalls: what a guest finds in RAX, whether the machine serves them or nobody does."""

from __future__ import annotations

import pytest

from pykvm import VM, assemble, host
from pykvm.dispatch import KVM_ENOSYS
from pykvm.exits import Hypercall
from pykvm.result import Outcome

UNKNOWN = -KVM_ENOSYS & 0xFFFF_FFFF_FFFF_FFFF
ASK = "mov eax, 99\nmov ebx, 6\nmov ecx, 7\nvmcall\nhlt"

# Two processors ask, the second one in real mode; the first one ends with the sum of the answers.
STARTS = 0x9_0000
FIRST = """
    mov eax, 99
    mov ebx, 0
    vmcall
    mov esi, eax
    mov edi, 0xfee00000
    mov dword ptr [rdi + 0x300], 0xc4500
    mov dword ptr [rdi + 0x300], 0xc4690
wait:
    pause
    mov eax, [0x90800]
    test eax, eax
    jz wait
    add eax, esi
    out 0xf8, eax
"""
SECOND = "mov ax, cs\nmov ds, ax\nmov eax, 99\nmov ebx, 1\nvmcall\nmov [0x800], eax\nhlt"


def exits(backend: str) -> bool:
    """Whether hypercalls become exits, as they do where pykvm's emulator executes CPL 0."""
    return backend == "emu" or host.Host.read().kind == 3


def test_one_that_nobody_serves_is_enosys(backend: str) -> None:
    with VM(backend="auto" if backend == "kvm" else backend) as vm:
        vm.load(assemble(ASK))
        result = vm.run(20)
        assert (result.outcome, vm.registers.rax) == (Outcome.HALT, UNKNOWN)


def test_a_machine_serves_it(backend: str) -> None:
    if not exits(backend):
        pytest.skip("KVM answers hypercalls itself where the processor executes CPL 0")
    with VM(backend="auto" if backend == "kvm" else backend) as vm:
        vm.hypercall = lambda call: call.number * 1000 + call.args[0] * call.args[1]
        vm.load(assemble(ASK))
        assert vm.run(20).exits["Hypercall"] == 1
        assert vm.registers.rax == 99_042


def test_a_handler_may_know_some_only() -> None:
    with VM(backend="emu") as vm:
        vm.hypercall = lambda call: {1: -1}.get(call.number)
        vm.load(assemble("mov eax, 1\nvmcall\nmov rdx, rax\nmov eax, 2\nvmmcall\nhlt"))
        vm.run(20)
        assert (vm.registers.rdx, vm.registers.rax) == (2**64 - 1, UNKNOWN)


def test_exits_shows_it_and_the_machine_answers_what_the_user_leaves() -> None:
    with VM(backend="emu") as vm:
        vm.hypercall = lambda call: call.number
        vm.load(assemble("mov eax, 1\nvmcall\nmov edx, eax\nmov eax, 2\nvmcall\nhlt"))
        for exit in vm.exits(20):
            if isinstance(exit, Hypercall) and exit.number == 1:
                vm.answer(50)
        assert (vm.registers.rdx, vm.registers.rax) == (50, 2)


def test_each_of_several_processors_is_served() -> None:
    with VM(backend="emu", cpus=2) as vm:
        vm.hypercall = lambda call: 40 + call.args[0]
        vm.load(assemble(FIRST))
        vm.memory.write(STARTS, assemble(SECOND, mode="real").code)
        assert vm.run(60).status == 40 + 41


def test_outside_64_bit_mode_it_has_32_bits() -> None:
    with VM(backend="emu") as vm:
        vm.hypercall = lambda call: call.number << 32 | 5
        vm.load(assemble("mov eax, -1\nvmcall\nhlt", mode="protected"))
        vm.run(20)
        assert vm.registers.rax == 5


def test_at_cpl_3_it_is_refused_as_by_kvm() -> None:
    with VM(backend="emu") as vm:
        vm.hypercall = lambda _: 5
        vm.load(assemble("mov eax, 99\nvmcall\nnot rax\nout 0xf8, eax", mode="user"))
        assert vm.run(20).status == 0
