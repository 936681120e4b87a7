"""Paging, exceptions and privilege levels in long mode."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import kernel
import pytest
from asm import assemble
from emulib import Machine
from kernel import CODE64, DATA, USER_CODE64, USER_DATA

START, DATA_PAGE = 0x8000, 0x2_0000
NX = 1 << 63
CR0_WP, CR4_SMEP, CR4_SMAP, EFER_NXE = 1 << 16, 1 << 20, 1 << 21, 1 << 11


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(4 << 20) as machine:
        yield machine


def run(
    machine: Machine,
    text: str,
    *,
    user: bool = False,
    page: int = DATA_PAGE | 7,
    cr0: int = 0,
    cr4: int = 0,
    efer: int = 0,
    **registers: int,
) -> str:
    """Run at START with DATA_PAGE mapped by the entry `page`."""
    machine.write(START, assemble(text, START))
    kernel.long_mode(machine, START, user, **{"rbx": DATA_PAGE, **registers})
    kernel.map_small(machine, DATA_PAGE, page)
    if cr4 & (CR4_SMAP | CR4_SMEP):
        kernel.keep_from_users(machine, DATA_PAGE)
    state = machine.state()
    state.cr0 |= cr0
    state.cr4 |= cr4
    state.efer |= efer
    machine.set_state(state)
    return machine.run()


READ, WRITE, CALL = "mov rax, [rbx + 8]; hlt", "mov [rbx + 8], rax; hlt", "call rbx; hlt"


# Error codes: Intel SDM vol. 3A §4.7. P 1, W 2, U 4, reserved 8, instruction fetch 16.
@pytest.mark.parametrize(
    ("text", "page", "switches", "error"),
    [
        (READ, 0, {}, 0),
        (WRITE, 0, {}, 2),
        (READ, 0, {"user": True}, 4),
        (WRITE, DATA_PAGE | 1, {"cr0": CR0_WP}, 3),
        (WRITE, DATA_PAGE | 5, {"user": True}, 7),
        (READ, DATA_PAGE | 3, {"user": True}, 5),
        (READ, DATA_PAGE | 7 | NX, {}, 9),
        (READ, DATA_PAGE | 7 | 1 << 50, {}, 9),
        (READ, DATA_PAGE | 7, {"cr4": CR4_SMAP}, 1),
    ],
)
def test_page_faults_say_why(
    machine: Machine, text: str, page: int, switches: dict[str, int], error: int
) -> None:
    assert run(machine, text, page=page, **switches) == "HALT"
    found = kernel.fault(machine)
    assert (found.vector, found.error, found.rip) == (14, error, START)
    assert found.cr2 == DATA_PAGE + 8


@pytest.mark.parametrize(
    ("page", "switches", "error"),
    [(DATA_PAGE | 7 | NX, {"efer": EFER_NXE}, 0x11), (0, {"efer": EFER_NXE}, 0x10)],
)
def test_fetches_fault_where_they_may_not_be(
    machine: Machine, page: int, switches: dict[str, int], error: int
) -> None:
    assert run(machine, CALL, page=page, **switches) == "HALT"
    found = kernel.fault(machine)
    assert (found.vector, found.error, found.rip, found.cr2) == (14, error, DATA_PAGE, DATA_PAGE)


def test_smep_keeps_the_kernel_out_of_user_code(machine: Machine) -> None:
    assert run(machine, CALL, cr4=CR4_SMEP) == "HALT"
    assert (kernel.fault(machine).vector, kernel.fault(machine).error) == (14, 0x11)


def test_stac_lets_the_kernel_into_user_data(machine: Machine) -> None:
    text = ".byte 0x0f, 0x01, 0xcb; mov rax, [rbx]; .byte 0x0f, 0x01, 0xca; mov rcx, [rbx]; hlt"
    assert run(machine, text, cr4=CR4_SMAP) == "HALT"
    assert kernel.fault(machine).rip == START + 9


def test_accessed_and_dirty_bits_are_set(machine: Machine) -> None:
    entry = kernel.PT + (DATA_PAGE >> 12) * 8
    run(machine, READ)
    assert machine.read(entry, 1)[0] & 0x60 == 0x20
    run(machine, "mov rax, [rbx]; mov [rbx], rax; hlt")
    assert machine.read(entry, 1)[0] & 0x60 == 0x60


def test_invlpg_forgets_a_translation(machine: Machine) -> None:
    entry = kernel.PT + (DATA_PAGE >> 12) * 8
    text = f"""mov rax, [rbx]; mov rcx, {entry}; mov qword ptr [rcx], {DATA_PAGE + 0x1000 | 7};
        invlpg [rbx]; mov rax, [rbx]; hlt"""
    machine.write(DATA_PAGE, b"\1")
    machine.write(DATA_PAGE + 0x1000, b"\2")
    assert run(machine, text) == "HALT"
    assert machine.reg("rax") == 2


@pytest.mark.parametrize(
    ("text", "vector", "error"),
    [
        ("xor ecx, ecx; div ecx", 0, 0),
        ("ud2", 6, 0),
        ("mov rax, 0x800000000000; mov al, [rax]", 13, 0),
        ("mov rbp, 0x800000000000; mov al, [rbp]", 12, 0),
        ("mov ax, 0xfff8; mov ds, ax", 13, 0xFFF8),
        ("int 0x50", 13, 0x50 * 8 + 2),
        ("mov ecx, 0x12345; rdmsr", 13, 0),
        ("mov cr8, rbx", 13, 0),
    ],
)
def test_exceptions_have_their_vector_and_error(
    machine: Machine, text: str, vector: int, error: int
) -> None:
    assert run(machine, text) == "HALT"
    found = kernel.fault(machine)
    assert (found.vector, found.error, found.cs) == (vector, error, CODE64)


def test_a_stack_that_cannot_be_addressed_is_a_stack_fault(machine: Machine) -> None:
    assert run(machine, "mov rsp, 0x900000000000; push rax", user=True) == "HALT"
    assert (kernel.fault(machine).vector, kernel.fault(machine).error) == (12, 0)


@pytest.mark.parametrize("text", ["hlt", "cli", "mov rax, cr0", "wbinvd", "in al, 0x10", "int 8"])
def test_users_may_not_do_what_the_kernel_may(machine: Machine, text: str) -> None:
    assert run(machine, text, user=True) == "HALT"
    found = kernel.fault(machine)
    assert (found.vector, found.cs, found.rip) == (13, USER_CODE64 | 3, START)
    assert machine.reg("rsp") < kernel.KERNEL_STACK


def test_a_user_enters_the_kernel_by_int_and_iretq_returns(machine: Machine) -> None:
    machine.write(0x9000, assemble("mov rdx, rsp; iretq", 0x9000))
    text = "int 0x2a; mov ecx, 5; ud2"
    machine.write(START, assemble(text, START))
    kernel.long_mode(machine, START, user=True)
    gate = struct.pack("<HHBBHII", 0x9000, CODE64, 0, 0xEE, 0, 0, 0)
    machine.write(kernel.IDT + 0x2A * 16, gate)
    assert machine.run() == "HALT"
    assert kernel.fault(machine).rip == START + 7
    assert machine.reg("rdx") == kernel.KERNEL_STACK - 40
    assert machine.reg("rcx") == 5


def test_an_ist_stack_is_used_whatever_the_level(machine: Machine) -> None:
    machine.write(START, b"\x0f\x0b")
    kernel.long_mode(machine, START)
    target = kernel.HANDLERS + 6 * 32
    machine.write(
        kernel.IDT + 6 * 16,
        struct.pack("<HHBBHII", target & 0xFFFF, CODE64, 1, 0x8E, target >> 16, 0, 0),
    )
    assert machine.run() == "HALT"
    assert kernel.IST_STACK - 0x40 < machine.reg("rsp") < kernel.IST_STACK


def test_syscall_and_sysret(machine: Machine) -> None:
    machine.write(0x9000, assemble("mov rdx, rcx; mov rsi, r11; .byte 0x48, 0x0f, 0x07", 0x9000))
    machine.write(START, assemble("syscall; mov rdi, 7; ud2", START))
    kernel.long_mode(machine, START, user=True, rflags=0xC3)
    for index, value in (
        (0xC0000081, CODE64 << 32 | kernel.USER_CODE32 << 48),
        (0xC0000082, 0x9000),
        (0xC0000084, 0x40),
    ):
        assert machine.lib.emu_cpu_set_msr(machine.cpu, index, value) == 0
    state = machine.state()
    state.efer |= 1
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rdx") == START + 2
    assert machine.reg("rsi") == 0xC3
    found = kernel.fault(machine)
    assert (found.vector, found.cs, machine.reg("rdi")) == (6, USER_CODE64 | 3, 7)
    assert found.flags & 0xFF == 0xC3


def test_a_fault_in_delivery_becomes_a_double_fault(machine: Machine) -> None:
    machine.write(START, b"\x0f\x0b")
    kernel.long_mode(machine, START)
    machine.write(kernel.IDT + 13 * 16, b"\0" * 16)
    machine.write(kernel.IDT + 6 * 16, b"\0" * 16)
    assert machine.run() == "HALT"
    assert (kernel.fault(machine).vector, kernel.fault(machine).error) == (8, 0)


def test_the_trap_flag_traps_behind_one_instruction(machine: Machine) -> None:
    text = "pushf; or dword ptr [rsp], 0x100; popf; inc rax; inc rax; hlt"
    assert run(machine, text, rax=0) == "HALT"
    found = kernel.fault(machine)
    assert (found.vector, machine.reg("rax")) == (1, 1)
    assert machine.state().dr[6] & 0x4000


def test_breakpoints_on_code_and_data(machine: Machine) -> None:
    text = "inc rax; mov [rbx + 4], ecx; inc rax; hlt"
    machine.write(START, assemble(text, START))
    for address, kind, vector_rip in ((START + 3, 0, START + 3), (DATA_PAGE + 4, 0xD, START + 6)):
        kernel.long_mode(machine, START, rbx=DATA_PAGE)
        state = machine.state()
        state.dr[0], state.dr[7] = address, 0x401 | kind << 16
        machine.set_state(state)
        assert machine.run() == "HALT"
        found = kernel.fault(machine)
        assert (found.vector, found.rip) == (1, vector_rip)
        assert machine.state().dr[6] & 15 == 1


def test_interrupts_wait_for_sti_and_one_instruction_more(machine: Machine) -> None:
    machine.write(START, assemble("inc rax; sti; inc rax; inc rax; hlt", START))
    kernel.long_mode(machine, START)
    assert machine.lib.emu_cpu_interrupt(machine.cpu, 0x22) == 0
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 2
    assert kernel.fault(machine).rip == START + 7


def test_a_call_gate_takes_users_inward(machine: Machine) -> None:
    machine.write(0x9000, assemble("mov rdx, cs; hlt", 0x9000))
    machine.write(START, b"\xff\x1b")  # call far [rbx]
    kernel.long_mode(machine, START, user=True, rbx=0x9800)
    machine.write(0x9800, struct.pack("<IH", 0, 0x4B))
    gate = struct.pack("<HHBBHII", 0x9000, CODE64, 0, 0xEC, 0, 0, 0)
    machine.write(kernel.GDT + 0x48, gate)
    state = machine.state()
    state.gdt.limit = 0x57
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rdx") == CODE64
    assert machine.reg("rsp") == kernel.KERNEL_STACK - 32
    frame = struct.unpack("<4Q", machine.read(kernel.KERNEL_STACK - 32, 32))
    assert frame == (START + 2, USER_CODE64 | 3, 0x7000, USER_DATA | 3)


def test_data_selectors_load_and_are_marked_accessed(machine: Machine) -> None:
    assert run(machine, f"mov eax, {DATA}; mov ds, eax; mov es, eax; hlt") == "HALT"
    assert machine.read(kernel.GDT + DATA + 5, 1)[0] & 1


def test_users_may_not_run_what_the_kernel_has_just_run(machine: Machine) -> None:
    """The kernel fetches from its page, goes out to CPL 3, and the user calls the same page."""
    machine.write(DATA_PAGE, assemble("ret", DATA_PAGE))
    machine.write(0x9000, assemble("call rbx; ud2", 0x9000))
    text = (
        f"call rbx; push {USER_DATA | 3}; push 0x6f00; push 2; push {USER_CODE64 | 3}; push 0x9000"
    )
    assert run(machine, text + "; iretq", page=DATA_PAGE | 3) == "HALT"
    found = kernel.fault(machine)
    assert (found.vector, found.error, found.rip) == (14, 5, DATA_PAGE)


@pytest.mark.parametrize("text", ["mov rax, cr3; mov cr3, rax", "invlpg [rbx]"])
def test_code_that_is_mapped_anew_is_what_runs(machine: Machine, text: str) -> None:
    """Links between blocks must not lead to the page that was there before."""
    entry = kernel.PT + (DATA_PAGE >> 12) * 8
    machine.write(DATA_PAGE, assemble("inc rdx; ret", DATA_PAGE))
    machine.write(DATA_PAGE + 0x1000, assemble("add rdx, 16; ret", DATA_PAGE))
    loop = f"""xor edx, edx; mov ecx, 3; again: call {DATA_PAGE}; dec ecx; jnz again;
        mov rdi, {entry}; mov qword ptr [rdi], {DATA_PAGE + 0x1000 | 7}; {text};
        mov ecx, 3; more: call {DATA_PAGE}; dec ecx; jnz more; hlt"""
    assert run(machine, loop) == "HALT"
    assert machine.reg("rdx") == 3 + 48
