"""Small programs in every mode: what the emulator makes of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from asm import assemble
from board import Board
from emulib import SS, Machine

START = 0x8000


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(4 << 20) as machine:
        yield machine


def start(machine: Machine, mode: str, text: str, **registers: int) -> str:
    bits = {"real": 16, "protected": 32}.get(mode, 64)
    machine.write(START, assemble(text, START, bits))
    machine.enter(mode, START, **registers)
    return machine.run()


FIBONACCI = """
    mov {a}, 0
    mov {b}, 1
    mov {c}, 20
again:
    mov {d}, {a}
    add {d}, {b}
    mov {a}, {b}
    mov {b}, {d}
    dec {c}
    jnz again
    hlt
"""


@pytest.mark.parametrize(("mode", "prefix"), [("real", ""), ("protected", "e"), ("long", "r")])
def test_a_loop_on_registers_in_every_mode(machine: Machine, mode: str, prefix: str) -> None:
    names = {letter: f"{prefix}{letter}x" for letter in "abcd"}
    assert start(machine, mode, FIBONACCI.format(**names)) == "HALT"
    assert machine.reg("rax") == 6765


def test_calls_and_the_stack(machine: Machine) -> None:
    text = """
        mov rax, 5
        call f
        hlt
    f:  cmp rax, 1
        jbe out
        push rax
        dec rax
        call f
        pop rcx
        imul rax, rcx
    out: ret
    """
    assert start(machine, "long", text) == "HALT"
    assert machine.reg("rax") == 120
    assert machine.reg("rsp") == 0x7000


def test_real_mode_addresses_wrap_and_have_segments(machine: Machine) -> None:
    text = """
        mov ax, 0x2000
        mov ds, ax
        mov si, 0xfff0
        mov byte ptr [si + 0x20], 7
        mov byte ptr cs:[0x5000], 9
        hlt
    """
    assert start(machine, "real", text) == "HALT"
    assert machine.read(0x20010, 1) == b"\7"
    assert machine.read(0x5000, 1) == b"\x09"


def test_real_mode_interrupt_and_return(machine: Machine) -> None:
    machine.write(0x80 * 4, struct.pack("<HH", 0x9000, 0))
    machine.write(0x9000, assemble("mov bx, 0x1234; iret", 0x9000, 16))
    assert start(machine, "real", "int 0x80; hlt") == "HALT"
    assert machine.reg("rbx") == 0x1234
    assert machine.reg("rsp") == 0x7000


def test_the_guest_takes_itself_from_real_to_long_mode(machine: Machine) -> None:
    gdt = [0, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF]
    machine.write(0x6000, struct.pack("<4Q", *gdt))
    machine.write(0x6100, struct.pack("<HI", 31, 0x6000))
    machine.identity_map()
    machine.write(
        0x9000,
        assemble(
            """
        mov ax, 0x18
        mov ds, ax
        mov ss, ax
        mov eax, cr4
        or eax, 0x20
        mov cr4, eax
        mov eax, 0x1000
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x100
        wrmsr
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        """,
            0x9000,
            32,
        )
        + b"\xea"
        + struct.pack("<IH", 0xA000, 0x10),
    )
    machine.write(0xA000, assemble("mov rax, 0x1122334455667788; hlt", 0xA000))
    real = assemble("lgdt [0x6100]; mov eax, cr0; or al, 1; mov cr0, eax", START, 16)
    machine.write(START, real + b"\x66\xea" + struct.pack("<IH", 0x9000, 8))
    machine.enter("real", START)
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 0x1122334455667788
    assert machine.state().efer == 0x500


def test_output_to_a_port_leaves_rip_behind_it(machine: Machine) -> None:
    assert start(machine, "long", "mov al, 0x41; out 0x10, al; hlt", rdx=0) == "PORT_OUT"
    assert (machine.exit.address, machine.exit.size, machine.exit.value) == (0x10, 1, 0x41)
    assert machine.reg("rip") == START + 4
    assert machine.run() == "HALT"


def test_input_from_a_port_waits_at_the_instruction(machine: Machine) -> None:
    assert start(machine, "long", "in eax, 0x10; hlt") == "PORT_IN"
    assert (machine.exit.address, machine.exit.size) == (0x10, 4)
    assert machine.reg("rip") == START
    machine.exit.value = 0x12345678
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 0x12345678


def test_completing_an_input_runs_nothing_more(machine: Machine) -> None:
    start(machine, "long", "in al, 0x10; inc rbx; hlt")
    machine.exit.value = 7
    assert machine.lib.emu_cpu_complete(machine.cpu) & 0x1F == machine.lib.PYKVM_AGAIN
    assert (machine.reg("rax"), machine.reg("rbx")) == (7, 0)
    assert machine.run() == "HALT"


def test_string_input_comes_in_one_exit(machine: Machine) -> None:
    text = "cld; mov rdi, 0x9000; mov ecx, 4; mov dx, 0x20; rep insd; hlt"
    assert start(machine, "long", text) == "PORT_IN_STRING"
    assert (machine.exit.count, machine.exit.size) == (4, 4)
    machine.ffi.memmove(machine.exit.data, bytes(range(16)), 16)
    assert machine.run() == "HALT"
    assert machine.read(0x9000, 16) == bytes(range(16))
    assert machine.reg("rcx") == 0


def test_string_output_comes_element_by_element(machine: Machine) -> None:
    machine.write(0x9000, b"abc")
    text = "cld; mov rsi, 0x9000; mov ecx, 3; mov dx, 0x20; rep outsb; hlt"
    kind, seen = start(machine, "long", text), b""
    while kind == "PORT_OUT":
        seen += bytes([machine.exit.value])
        kind = machine.run()
    assert (kind, seen) == ("HALT", b"abc")


MMIO = 0x3000_0000  # mapped by the page tables, but without memory


def test_a_load_without_memory_asks_the_owner(machine: Machine) -> None:
    assert start(machine, "long", "mov eax, [rbx]; hlt", rbx=MMIO) == "MMIO_READ"
    assert (machine.exit.address, machine.exit.size) == (MMIO, 4)
    assert machine.reg("rip") == START
    machine.exit.value = 0xCAFE
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 0xCAFE


def test_a_read_modify_write_without_memory_is_two_exits(machine: Machine) -> None:
    assert start(machine, "long", "or dword ptr [rbx], 1; hlt", rbx=MMIO) == "MMIO_READ"
    machine.exit.value = 0x10
    assert machine.run() == "MMIO_WRITE"
    assert (machine.exit.address, machine.exit.value, machine.exit.size) == (MMIO, 0x11, 4)
    assert machine.reg("rip") == START + 3
    assert machine.run() == "HALT"


def test_a_load_half_outside_memory_reads_the_rest_from_it(machine: Machine) -> None:
    end = 4 << 20
    machine.write(end - 4, b"\1\2\3\4")
    assert start(machine, "long", "mov rax, [rbx]; hlt", rbx=end - 4) == "MMIO_READ"
    assert (machine.exit.address, machine.exit.size) == (end, 4)
    machine.exit.value = 0x88776655
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 0x8877665504030201


def test_copying_between_devices_restarts_with_its_answers(machine: Machine) -> None:
    text = "cld; mov ecx, 2; .byte 0xf3, 0xa5; hlt"
    kind, seen = start(machine, "long", text, rsi=MMIO, rdi=MMIO + 0x100), []
    while kind != "HALT":
        seen.append((kind, machine.exit.address - MMIO))
        machine.exit.value = 5
        kind = machine.run()
    assert seen == [
        ("MMIO_READ", 0),
        ("MMIO_WRITE", 0x100),
        ("MMIO_READ", 4),
        ("MMIO_WRITE", 0x104),
    ]


def test_code_that_changes_the_next_instruction_is_seen_at_once(machine: Machine) -> None:
    text = "mov byte ptr [rip + 1], 0x2a; mov al, 1; hlt"
    assert start(machine, "long", text) == "HALT"
    assert machine.reg("rax") == 0x2A


def test_a_loop_that_changes_its_own_body(machine: Machine) -> None:
    text = "again: mov bl, 1; add rax, rbx; inc byte ptr [rip - 10 + 3]; dec ecx; jnz again; hlt"
    code = assemble(text, START)
    where = code.index(b"\xfe\x05")
    code = code[: where + 2] + struct.pack("<i", 1 - where - 6) + code[where + 6 :]
    machine.write(START, code)
    machine.enter("long", START, rcx=10)
    assert machine.run() == "HALT"
    assert machine.reg("rax") == sum(range(1, 11))


def test_code_written_from_outside_is_seen(machine: Machine) -> None:
    start(machine, "long", "mov al, 1; hlt")
    machine.write(START, b"\xb0\x07")
    machine.enter("long", START)
    machine.run()
    assert machine.reg("rax") == 7


def test_an_instruction_across_pages_follows_both(machine: Machine) -> None:
    code = assemble("mov eax, 0x11223344; hlt")
    machine.write(0x8FFE, code)
    machine.enter("long", 0x8FFE)
    assert machine.run() == "HALT"
    machine.write(0x9000, b"\x55")
    machine.enter("long", 0x8FFE)
    machine.run()
    assert machine.reg("rax") == 0x11225544


def test_a_triple_fault_shuts_down(machine: Machine) -> None:
    assert start(machine, "long", "ud2") == "SHUTDOWN"


def test_the_budget_counts_instructions_exactly(machine: Machine) -> None:
    machine.write(START, assemble("again: inc rax; inc rbx; jmp again"))
    machine.enter("long", START)
    for budget in (1, 2, 3, 1000, 100_000):
        before = machine.lib.emu_cpu_retired(machine.cpu)
        assert machine.run(budget) == "AGAIN"
        assert machine.lib.emu_cpu_retired(machine.cpu) - before == budget
    assert machine.reg("rax") == (101_006 + 2) // 3


def test_an_endless_loop_ends_by_its_deadline(machine: Machine) -> None:
    machine.write(START, b"\xeb\xfe")
    machine.enter("long", START)
    machine.lib.emu_cpu_begin(machine.cpu, 1)
    assert machine.run() == "TIMEOUT"


def test_endless_faults_end_by_the_deadline(machine: Machine) -> None:
    """A handler that faults before its first instruction is done: none is ever counted."""
    machine.write(START, assemble("ud2", START, 16))
    machine.write(6 * 4, struct.pack("<HH", START, 0))
    machine.enter("real", START)
    state = machine.state()
    state.segment[SS].base = 0x2_0000  # pushes go round and round where nothing lies
    machine.set_state(state)
    machine.lib.emu_cpu_begin(machine.cpu, 1)
    assert machine.run() == "TIMEOUT"


def test_a_sleeper_loaded_within_a_shadow_wakes() -> None:
    """Nothing runs while a processor is halted: what held interrupts off would never end."""
    with Board() as machine:
        machine.load("nop", {2: "out 0x80, al"})
        state = machine.state()
        state.halted = state.shadow = state.nmi_pending = 1
        machine.set_state(state)
        assert machine.run() == "PORT_OUT"


def test_stop_interrupts_the_next_run(machine: Machine) -> None:
    machine.write(START, b"\xeb\xfe")
    machine.enter("long", START)
    machine.lib.emu_cpu_stop(machine.cpu)
    assert machine.run() == "INTERRUPTED"


def test_single_steps_come_out_one_by_one(machine: Machine) -> None:
    machine.write(START, assemble("inc rax; inc rax; hlt"))
    machine.enter("long", START)
    machine.lib.emu_cpu_set_debug(machine.cpu, machine.lib.EMU_DEBUG_STEP, [0] * 8)
    for number in (1, 2):
        assert machine.run() == "DEBUG"
        assert machine.reg("rax") == number
        assert machine.exit.args[0] == machine.reg("rip") == START + 3 * number


def test_the_longest_instruction_has_fifteen_bytes(machine: Machine) -> None:
    machine.write(START, b"\x2e" * 14 + b"\x90\xf4")
    machine.enter("long", START)
    assert machine.run() == "HALT"
    machine.write(START, b"\x2e" * 15 + b"\x90\xf4")
    machine.enter("long", START)
    assert machine.run() == "SHUTDOWN"


def test_hypercalls_are_answered_in_rax(machine: Machine) -> None:
    machine.write(START, b"\x0f\x01\xc1\xf4")
    machine.enter("long", START, rax=3, rbx=4, rcx=5)
    assert machine.run() == "HYPERCALL"
    assert (machine.exit.address, machine.exit.args[0], machine.exit.args[1]) == (3, 4, 5)
    machine.exit.value = 99
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 99


@pytest.mark.parametrize("text", ["mov rax, [rbx]", "mov [rbx], rax", "movups xmm0, [rbx]"])
def test_an_access_around_the_end_of_the_address_space(machine: Machine, text: str) -> None:
    assert start(machine, "long", f"mov rbx, -4; {text}") == "SHUTDOWN"
