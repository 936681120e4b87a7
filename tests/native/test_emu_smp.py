"""Several processors: starting them, interrupts between them, whose turn it is, and sleep."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from asm import assemble
from board import END, LAPIC_EOI, LAPIC_ON, SPLIT, Board, lapic
from emulib import kind_name

ICR, ICR_HIGH = 0x300, 0x310
OTHERS, SELF = 3 << 18, 1 << 18
INIT, STARTUP, NMI = 0x4500, 0x4600, 0x400
TRAMPOLINE = 0x6_0000
START_OTHERS = lapic(ICR, OTHERS | INIT) + lapic(ICR, OTHERS | STARTUP | TRAMPOLINE >> 12)
# Real mode at TRAMPOLINE: note the number of the processor, then what follows.
HELLO16 = """mov ax, cs; mov ds, ax; mov eax, 1; cpuid; shr ebx, 24; mov byte ptr [0x800 + bx], bl
    lock inc dword ptr [0x900];"""
SLEEP16 = "sleep: hlt; jmp sleep"


@contextmanager
def others_running(board: Board) -> Iterator[dict[int, str]]:
    """Each processor but the first in a thread of its own; how each one's run ended."""
    ends: dict[int, str] = {}

    def run(index: int) -> None:
        kind = 0
        while kind == board.lib.PYKVM_AGAIN:
            kind = int(board.lib.emu_cpu_run(board.cpus[index], 0)) & 0x1F
        ends[index] = kind_name(kind)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(1, len(board.cpus))]
    for thread in threads:
        thread.start()
    try:
        yield ends
    finally:
        for cpu in board.cpus[1:]:
            board.lib.emu_cpu_stop(cpu)
        for thread in threads:
            thread.join()


CLOCKS = pytest.mark.parametrize("wall", [False, True], ids=["instructions", "wall"])
ARRIVED = f"wait: pause; cmp dword ptr [{TRAMPOLINE + 0x900}], {{count}}; jb wait;"


def load(board: Board, text: str, other: str, handlers: dict[int, str] | None = None) -> None:
    board.load(LAPIC_ON + text, handlers, rbx=0)
    board.write(TRAMPOLINE, assemble(HELLO16 + other, 0, 16))


@CLOCKS
@pytest.mark.parametrize("cpus", [2, 4])
def test_init_and_sipi_start_the_others(cpus: int, wall: bool) -> None:
    with Board(SPLIT, cpus, wall=wall) as board:
        load(board, START_OTHERS + ARRIVED.format(count=cpus - 1) + END, SLEEP16)
        states = [board.lib.emu_cpu_get_mp_state(cpu) for cpu in board.cpus]
        assert states == [0] + [board.lib.EMU_MP_UNINITIALIZED] * (cpus - 1)
        with others_running(board) as ends:
            board.end()
        assert set(ends.values()) == {"INTERRUPTED"}
        assert board.read(TRAMPOLINE + 0x801, cpus - 1) == bytes(range(1, cpus))


@CLOCKS
def test_a_sipi_without_init_starts_nobody(wall: bool) -> None:
    with Board(SPLIT, 2, wall=wall) as board:
        text = lapic(ICR, OTHERS | STARTUP | TRAMPOLINE >> 12)
        load(board, f"{text} mov ecx, 1000000; wait: dec ecx; jnz wait; {END}", SLEEP16)
        with others_running(board):
            board.end()
        assert board.read(TRAMPOLINE + 0x900, 1) == b"\0"


@CLOCKS
def test_who_sleeps_is_woken_by_an_ipi_and_answers(wall: bool) -> None:
    """The other sleeps in real mode with a vector of its own; it sends 41h back each time."""
    answer = """push eax; push edx; push ds; xor ax, ax; mov ds, ax; lock inc dword ptr [0xf00]
        pop ds; pop edx; pop eax; iret"""
    other = f"""xor ax, ax; mov ss, ax; mov sp, 0x5000; sti; {SLEEP16}"""
    text = f"""{START_OTHERS} {ARRIVED.format(count=1)} mov ecx, 100
        again: mov esi, [0xf00]; {lapic(ICR_HIGH, 1 << 24)} {lapic(ICR, NMI)}
        seen: pause; cmp esi, [0xf00]; je seen; dec ecx; jnz again; mov eax, [0xf00]; {END}"""
    with Board(SPLIT, 2, wall=wall) as board:
        load(board, text, other)
        board.write(0x2_0000, assemble(answer, 0, 16))
        board.write(2 * 4, bytes([0, 0, 0, 0x20]))  # 2000:0000
        with others_running(board):
            assert board.end() == 100


@CLOCKS
def test_fixed_interrupts_go_to_logical_destinations(wall: bool) -> None:
    """§10.6.2.2, flat model: the sender, by bit 0 of its LDR; nobody by bit 1."""
    text = lapic(0xD0, 1 << 24) + lapic(ICR_HIGH, 2 << 24) + lapic(ICR, 0x841)
    text += lapic(ICR_HIGH, 1 << 24) + lapic(ICR, 0x942) + f"sti; nop; cli; mov eax, ebx; {END}"
    note = "shl ebx, 4; or ebx, {}; " + LAPIC_EOI
    with Board(SPLIT, 2, wall=wall) as board:
        load(board, text, SLEEP16, {0x41: note.format(1), 0x42: note.format(2)})
        assert board.end() == 2


def race(cpus: int) -> tuple[int, bytes, list[int]]:
    """All count on, and note who came when: the result depends on each turn."""
    other = """mov cx, 20000; more: mov edx, [0x904]; lea eax, [edx + edx * 2 + 1]
        xor eax, ebx; mov [0x904], eax; pause; loop more;"""
    text = f"""{START_OTHERS} {ARRIVED.format(count=cpus - 1)} mov ecx, 20000
        more: imul eax, dword ptr [{TRAMPOLINE + 0x904}], 5; mov [{TRAMPOLINE + 0x904}], eax
        dec ecx; jnz more; rdtsc; {END}"""
    with Board(SPLIT, cpus) as board:
        load(board, text, other + SLEEP16)
        with others_running(board):
            now = board.end()
            retired = [board.lib.emu_cpu_retired(cpu) for cpu in board.cpus]
        return now, board.read(TRAMPOLINE + 0x900, 8), retired[:1]


@pytest.mark.parametrize("cpus", [2, 3])
def test_turns_by_the_instruction_clock_repeat_exactly(cpus: int) -> None:
    assert race(cpus) == race(cpus)


def test_when_all_sleep_time_jumps_to_the_next_timer() -> None:
    """A second passes at once by the instruction clock."""
    text = lapic(0x3E0, 0xB) + lapic(0x320, 0x40) + lapic(0x380, 1_000_000_000)
    text = f"{START_OTHERS} {ARRIVED.format(count=1)} {text} sti; hlt; cli; mov eax, ebx; {END}"
    with Board(SPLIT, 2) as board:
        load(board, text, SLEEP16, {0x40: "rdtsc; mov ebx, eax;" + LAPIC_EOI})
        with others_running(board):
            assert 1_000_000_000 < board.end() < 1_001_000_000


@CLOCKS
@pytest.mark.parametrize("cpus", [1, 2])
def test_a_stop_reaches_who_sleeps_and_who_waits(cpus: int, wall: bool) -> None:
    with Board(SPLIT, cpus, wall=wall) as board:
        load(board, f"{START_OTHERS} sleep: hlt; jmp sleep", "spin: jmp spin")
        with others_running(board):
            timer = threading.Timer(0.05, board.lib.emu_cpu_stop, (board.cpu,))
            timer.start()
            assert board.run() == "INTERRUPTED"
            timer.join()


@CLOCKS
def test_sleep_ends_at_the_deadline_and_now_and_then_for_signals(wall: bool) -> None:
    with Board(SPLIT, wall=wall) as board:
        board.load("hlt")
        assert kind_name(board._enter(0)) == "AGAIN"
        assert board.lib.emu_cpu_get_mp_state(board.cpu) == board.lib.EMU_MP_HALTED
        board.lib.emu_cpu_begin(board.cpu, 1)
        assert board.run() == "TIMEOUT"


@CLOCKS
def test_an_interrupt_line_from_another_thread_wakes(wall: bool) -> None:
    with Board(1, wall=wall) as board:
        board.load(f"sti; hlt; cli; mov eax, ebx; {END}", {0x20 + 4: "mov ebx, 9;"}, rbx=0)
        state = board.ffi.new("uint8_t[16]")
        state[5] = 0x20  # vectors
        board.lib.emu_vm_set_chip(board.vm, board.lib.EMU_CHIP_PIC_MASTER, state, 16)
        timer = threading.Timer(0.02, board.lib.emu_vm_set_irq_line, (board.vm, 4, True))
        timer.start()
        assert board.end() == 9
        timer.join()


@CLOCKS
def test_interrupts_off_an_nmi_alone_wakes(wall: bool) -> None:
    with Board(1, wall=wall) as board:
        board.load(f"cli; hlt; mov eax, ebx; {END}", {2: "mov ebx, 3;", 0x24: "ud2"}, rbx=0)
        assert kind_name(board._enter(0)) == "AGAIN"
        board.lib.emu_vm_set_irq_line(board.vm, 4, True)
        assert kind_name(board._enter(0)) == "AGAIN"
        board.lib.emu_cpu_nmi(board.cpu)
        assert board.end() == 3


@CLOCKS
def test_a_timer_that_repeats_and_is_masked_wakes_nobody(wall: bool) -> None:
    text = lapic(0x3E0, 0xB) + lapic(0x320, 0x30040) + lapic(0x380, 1_000_000)
    with Board(SPLIT, wall=wall) as board:
        board.load(f"{LAPIC_ON} {text} sti; hlt; ud2")
        assert kind_name(board._enter(0)) == "AGAIN"
        assert board.lib.emu_cpu_get_mp_state(board.cpu) == board.lib.EMU_MP_HALTED


def test_an_nmi_waits_for_iret() -> None:
    """SDM vol. 3A §6.7.1"""
    again = f"inc ebx; cmp ebx, 1; jne done; {lapic(ICR, SELF | NMI)} nop; mov esi, ebx; done: nop;"
    with Board(SPLIT) as board:
        board.load(
            f"{LAPIC_ON} {lapic(ICR, NMI)} nop; shl esi, 4; or ebx, esi; mov eax, ebx; {END}",
            {2: again},
            rbx=0,
        )
        assert board.end() == 0x12


def test_a_processor_can_be_made_to_sleep_by_its_owner() -> None:
    with Board(SPLIT) as board:
        board.load(f"mov eax, 5; {END}", {2: "nop;"})
        board.lib.emu_cpu_set_mp_state(board.cpu, board.lib.EMU_MP_HALTED)
        board.set_state(board.state())
        assert kind_name(board._enter(0)) == "AGAIN"
        board.lib.emu_cpu_nmi(board.cpu)
        assert board.end() == 5
