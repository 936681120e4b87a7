"""Pages that share an entry of the TLB: the one that was pushed out is forgotten in time too."""

from __future__ import annotations

from collections.abc import Iterator

import kernel
import pytest
from asm import assemble
from emulib import Machine

START, PAGE, APART = 0x8000, 0xC000, 4 << 20
PTE = kernel.PT + (PAGE >> 12) * 8


@pytest.fixture
def machine() -> Iterator[Machine]:
    """With the page at PAGE again 4 MiB above it."""
    with Machine(2 << 20) as machine:
        kernel.long_mode(machine, START, rbx=PAGE)
        kernel.map_small(machine, PAGE, PAGE | 7)
        machine.write(kernel.PD + 2 * 8, (kernel.PT | 7).to_bytes(8, "little"))
        machine.write(PAGE, b"\1")
        machine.write(PAGE + 0x1000, b"\2")
        yield machine


def run(machine: Machine, text: str) -> None:
    machine.write(START, assemble(text, START))
    assert machine.run() == "HALT"


@pytest.mark.parametrize("flush", ["invlpg [rbx]", "mov rdx, cr3; mov cr3, rdx"])
def test_a_page_that_waits_is_flushed(machine: Machine, flush: str) -> None:
    text = f"""mov rax, [rbx]; mov rax, [rbx + {APART}]; mov rcx, {PTE};
        mov qword ptr [rcx], {PAGE + 0x1000 | 7}; {flush}; mov rax, [rbx]; hlt"""
    run(machine, text)
    assert machine.reg("rax") == 2


def test_a_page_that_waits_has_its_stores_to_code_seen(machine: Machine) -> None:
    machine.write(PAGE + 0x100, assemble("mov eax, 1; ret"))
    text = f"""mov byte ptr [rbx], 3; mov al, [rbx + {APART}]; lea rcx, [rbx + 0x100];
        call rcx; mov byte ptr [rbx + 0x101], 7; call rcx; hlt"""
    run(machine, text)
    assert machine.reg("rax") == 7


def test_pages_in_one_entry_keep_their_own_bytes(machine: Machine) -> None:
    entry = kernel.PD + 2 * 8
    other = 0x10_1000
    machine.write(other, b"".join((PAGE + 0x2000 | 7).to_bytes(8, "little") for _ in range(512)))
    machine.write(entry, (other | 7).to_bytes(8, "little"))
    text = f"""mov ecx, 100; xor eax, eax
        again: mov [rbx + rcx * 8], rcx; mov qword ptr [rbx + rcx * 8 + {APART}], 1;
        add rax, [rbx + rcx * 8]; add rax, [rbx + rcx * 8 + {APART}]; dec ecx; jnz again; hlt"""
    run(machine, text)
    assert machine.reg("rax") == sum(range(101)) + 100
