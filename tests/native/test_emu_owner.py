"""What the owner watches and changes from outside: breakpoints, logs, doorbells, irqfds, traps."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from asm import assemble
from board import END, LAPIC_EOI, LAPIC_ON, SPLIT, START, Board
from emulib import Machine

RAM, PAGE = 1 << 20, 4096
DATA = 0x6_0000
PORT, MMIO = 0x500, 0x20_0000
DR7_WRITE_4 = 0x400 | 2 | 0xD << 16  # DR0: stores of four bytes
DR7_EXECUTE = 0x402
DR6_B0 = 1


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(RAM) as machine:
        yield machine


@pytest.fixture
def event() -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def start(machine: Machine, text: str, **registers: int) -> None:
    machine.write(START, assemble(text, START))
    machine.enter("long", START, **registers)


def debug(machine: Machine) -> tuple[int, int, int]:
    """The next exit, for debugging: exception, address, DR6's hits."""
    assert machine.run() == "DEBUG"
    return int(machine.exit.address), int(machine.exit.args[0]), int(machine.exit.args[1]) & 0xF


def dirty(machine: Machine, clear: bool = True) -> list[int]:
    """Pages that the log of RAM holds."""
    bitmap = machine.ffi.new("uint64_t[]", RAM // PAGE // 64)
    assert machine.lib.emu_vm_get_dirty_log(machine.vm, 0, bitmap, clear) == 0
    return [page for page in range(RAM // PAGE) if bitmap[page // 64] >> page % 64 & 1]


def test_a_data_breakpoint_stops_behind_the_store(machine: Machine) -> None:
    start(machine, f"mov [{DATA}], eax; mov [{DATA + 8}], eax; inc eax; mov [{DATA}], eax; hlt")
    dr = [DATA, *[0] * 6, DR7_WRITE_4]
    machine.lib.emu_cpu_set_debug(machine.cpu, machine.lib.EMU_DEBUG_HARDWARE, dr)
    first = debug(machine)
    second = debug(machine)
    assert (first[0], first[2], second[2]) == (1, DR6_B0, DR6_B0)
    assert machine.read(DATA, 1) == b"\1"
    assert machine.run() == "HALT"


def test_the_guests_own_debug_registers_rest_while_the_owners_work(machine: Machine) -> None:
    start(machine, "nop; nop; hlt")
    state = machine.state()
    state.dr[0], state.dr[7] = START + 1, DR7_EXECUTE  # would end in a triple fault
    machine.set_state(state)
    dr = [START + 2, *[0] * 6, DR7_EXECUTE]
    machine.lib.emu_cpu_set_debug(machine.cpu, machine.lib.EMU_DEBUG_HARDWARE, dr)
    assert debug(machine) == (1, START + 2, DR6_B0)
    assert debug(machine) == (1, START + 2, DR6_B0)  # until it is passed without it
    machine.lib.emu_cpu_set_debug(machine.cpu, 0, [0] * 8)
    assert machine.run() == "HALT"


def test_int3_is_the_owners(machine: Machine) -> None:
    start(machine, "nop; int3; hlt")
    machine.lib.emu_cpu_set_debug(machine.cpu, machine.lib.EMU_DEBUG_SOFTWARE, [0] * 8)
    assert debug(machine)[:2] == (3, START + 1)
    assert machine.reg("rip") == START + 1


def test_the_log_has_stores_and_the_marks_of_page_walks(machine: Machine) -> None:
    start(machine, f"mov eax, [{DATA}]; mov [{DATA + PAGE - 2}], eax; hlt")
    assert machine.lib.emu_vm_set_dirty_log(machine.vm, 0, True) == 0
    machine.write(DATA, b"from outside")
    assert machine.run() == "HALT"
    tables = [1, 2, 3]  # accessed bits
    assert dirty(machine, clear=False) == [*tables, DATA // PAGE, DATA // PAGE + 1]
    assert dirty(machine) == [*tables, DATA // PAGE, DATA // PAGE + 1]
    start(machine, f"mov [{DATA}], eax; mov [{DATA}], eax; hlt")
    assert dirty(machine) == []
    assert machine.run() == "HALT"
    assert DATA // PAGE in dirty(machine)
    assert machine.lib.emu_vm_move(machine.vm, 0, 1 << 30) == 0
    assert machine.lib.emu_vm_unmap(machine.vm, 1 << 30) == 0


def test_doorbells_ring_and_writes_are_collected(machine: Machine, event: int) -> None:
    lib, vm = machine.lib, machine.vm
    seven = machine.ffi.new("uint64_t *", 7)
    assert lib.emu_vm_add_ioeventfd(vm, event, True, PORT, 4, seven) == 0
    assert lib.emu_vm_add_ioeventfd(vm, event, True, PORT, 0, machine.ffi.NULL) < 0
    assert lib.emu_vm_add_coalesced(vm, False, MMIO, 8) == 0
    start(
        machine,
        f"mov edx, {PORT}; mov eax, 7; out dx, eax; mov [{MMIO + 4}], eax; inc eax; out dx, eax",
    )
    assert machine.run() == "PORT_OUT"
    assert machine.exit.value == 8
    assert os.eventfd_read(event) == 1
    writes = machine.ffi.new("struct emu_write[]", lib.EMU_COALESCED_MAX)
    assert lib.emu_vm_take_coalesced(vm, writes) == 1
    assert (writes[0].address, writes[0].value, writes[0].size) == (MMIO + 4, 7, 4)
    lib.emu_vm_remove_coalesced(vm, False, MMIO, 8)
    assert lib.emu_vm_remove_ioeventfd(vm, event, True, PORT, 4, seven) == 0


def test_trapped_msrs_are_the_owners(machine: Machine) -> None:
    start(machine, "mov ecx, 0x176; rdmsr; wrmsr; hlt")
    traps = machine.ffi.new("struct emu_msr_trap[]", [(0x176, 1, True, False)])
    machine.lib.emu_vm_set_msr_traps(machine.vm, traps, 1)
    machine.lib.emu_vm_set_msr_exits(machine.vm, machine.lib.EMU_MSR_TRAPPED)
    assert machine.run() == "MSR_READ"
    machine.exit.value = 0x1234
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 0x1234


@pytest.mark.parametrize("wait", ["sti; wait: cmp ebx, 3; jb wait;", "sti; wait: hlt; jmp wait;"])
def test_an_irqfd_sends_its_message(wait: str, event: int) -> None:
    with Board(SPLIT, cpus=2, wall=True) as board:
        route = {"gsi": 5, "chip": board.lib.EMU_ROUTE_MESSAGE}
        message = {"address": 0xFEE0_0000, "data": 0x40}
        routes = board.ffi.new("struct emu_route[]", [{**route, **message}])
        assert board.lib.emu_vm_set_routes(board.vm, routes, 1) == 0
        assert board.lib.emu_vm_add_irqfd(board.vm, event, 5, -1) == 0
        assert board.lib.emu_vm_add_irqfd(board.vm, event, 6, -1) < 0
        body = f"inc ebx; {LAPIC_EOI} cmp ebx, 3; jb more; {END}; more:"
        board.load(f"xor ebx, ebx; {LAPIC_ON} mov edx, {PORT}; out dx, al; {wait}", {0x40: body})
        assert board.run() == "PORT_OUT"
        timers = [threading.Timer(0.02 * n, os.eventfd_write, (event, 1)) for n in (1, 2, 3)]
        for timer in timers:
            timer.start()
        board.end()
        for timer in timers:
            timer.join()
        assert board.reg("rbx") == 3
        assert board.lib.emu_vm_remove_irqfd(board.vm, event, 5) == 0


def test_memory_changes_while_processors_run(machine: Machine) -> None:
    """Another thread freezes them again and again; nothing stops, nothing is lost."""
    start(machine, f"again: inc rax; mov [{DATA}], rax; cmp rax, 3000000; jb again; hlt")
    kinds: list[str] = []
    thread = threading.Thread(target=lambda: kinds.append(machine.run()))
    assert machine.lib.emu_vm_set_dirty_log(machine.vm, 0, True) == 0
    thread.start()
    more = machine.ffi.new("uint8_t[]", PAGE)
    found = 0
    while thread.is_alive():
        found += DATA // PAGE in dirty(machine)
        assert machine.lib.emu_vm_map(machine.vm, 1 << 30, PAGE, more, 0) == 0
        assert machine.lib.emu_vm_unmap(machine.vm, 1 << 30) == 0
    thread.join()
    assert kinds == ["HALT"]
    assert found
    assert int.from_bytes(machine.read(DATA, 8), "little") == 3_000_000
