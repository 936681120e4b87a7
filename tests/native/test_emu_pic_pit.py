"""The 8259 controllers and the 8254 timer. Data sheets: Intel 231468 (8259A), 231164 (8254)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from board import END, PIC_EOI, START_PIC, Board

TICK = "mov al, {control}; out 0x43, al; mov al, {low}; out 0x40, al; mov al, {high}; out 0x40, al;"
SLEEP = "again: sti; hlt; cli; cmp ebx, {count}; jb again; mov eax, ebx;"


def timer(control: int, count: int) -> str:
    """Program channel 0."""
    return TICK.format(control=control, low=count & 255, high=count >> 8)


@pytest.mark.parametrize("wall", [False, True])
@pytest.mark.parametrize("mode", [2, 3])
def test_a_periodic_timer_wakes_the_processor_again_and_again(mode: int, wall: bool) -> None:
    text = f"{START_PIC} mov al, 0xfe; out 0x21, al; {timer(0x30 | mode << 1, 1193)}"
    with Board(wall=wall) as board:
        board.load(
            f"{text} xor ebx, ebx; {SLEEP.format(count=10)} {END}", {0x20: f"inc ebx; {PIC_EOI}"}
        )
        ticks = board.end()
    # By the wall clock a second tick may have come before the guest looks at the first.
    assert ticks >= 10 if wall else ticks == 10


def test_ticks_come_at_their_times() -> None:
    """1,193 ticks of 1,193,182 Hz are 999,847 ns; the clock is the count of instructions."""
    notes = "rdtsc; mov [0x30000 + rbx * 4], eax; inc ebx;"
    text = f"{START_PIC} mov al, 0xfe; out 0x21, al; {timer(0x34, 1193)} xor ebx, ebx;"
    with Board() as board:
        board.load(f"{text} {SLEEP.format(count=4)} {END}", {0x20: notes + PIC_EOI})
        assert board.end() == 4
        times = [int.from_bytes(board.read(0x30000 + 4 * i, 4), "little") for i in range(4)]
    assert [b - a for a, b in pairwise(times)] == [999_847] * 3


def test_runs_by_the_instruction_clock_repeat_exactly() -> None:
    text = f"{START_PIC} mov al, 0xfe; out 0x21, al; {timer(0x34, 1193)} xor ebx, ebx; sti;"
    text += f"spin: inc rcx; cmp ebx, 20; jb spin; mov eax, ecx; {END}"
    results = set()
    for _ in range(2):
        with Board() as board:
            board.load(text, {0x20: f"inc ebx; {PIC_EOI}"}, rcx=0)
            results.add((board.end(), board.lib.emu_cpu_retired(board.cpu)))
    assert len(results) == 1
    assert next(iter(results))[0] > 20 * 900_000 // 3


def test_a_pulse_is_remembered_while_masked() -> None:
    """IRR holds the edge (OCW3 reads it); unmasking delivers it."""
    text = f"""{START_PIC} {timer(0x30, 0x100)} xor ebx, ebx; mov al, 0x0a; out 0x20, al
        poll: in al, 0x20; test al, 1; jz poll; sti; nop; mov al, 0xfe; out 0x21, al; nop
        mov eax, ebx; {END}"""
    with Board() as board:
        board.load(text, {0x20: f"mov ebx, 7; {PIC_EOI}"})
        assert board.end() == 7


def line(board: Board, gsi: int, level: bool) -> None:
    board.lib.emu_vm_set_irq_line(board.vm, gsi, level)


def wait_for_lines(board: Board, mask: int = 0, handlers: dict[int, str] | None = None) -> None:
    """A program that opens lines and stops at a port, so that the test can raise some."""
    text = f"""{START_PIC} mov al, {mask & 255}; out 0x21, al; mov al, {mask >> 8}; out 0xa1, al
        {END}; sti; nop; nop; cli; mov eax, ebx; {END}"""
    board.load(text, handlers, rbx=0)
    board.end()


def note(value: int, end: str = PIC_EOI) -> str:
    """Handlers append a digit to rbx."""
    return f"shl ebx, 4; or ebx, {value}; {end}"


BOTH_EOI = "mov al, 0x20; out 0xa0, al; out 0x20, al;"


def test_lower_lines_go_first_and_the_slave_hangs_on_line_2() -> None:
    handlers = {0x21: note(1), 0x23: note(3), 0x28 + 1: note(9, BOTH_EOI)}
    with Board() as board:
        wait_for_lines(board, 0, handlers)
        for gsi in (3, 9, 1):
            line(board, gsi, True)
        assert board.end() == 0x193


def test_without_an_end_of_interrupt_lower_priorities_wait() -> None:
    with Board() as board:
        wait_for_lines(board, 0, {0x21: note(1, ""), 0x23: note(3)})
        for gsi in (1, 3):
            line(board, gsi, True)
        assert board.end() == 1


def test_automatic_end_of_interrupt_and_rotation() -> None:
    """ICW4 AEOI: the next comes though no handler ends anything."""
    text = f"""mov al, 0x11; out 0x20, al; mov al, 0x20; out 0x21, al; mov al, 4; out 0x21, al
        mov al, 3; out 0x21, al; mov al, 0; out 0x21, al; mov al, 0xc3; out 0x20, al; {END}
        sti; nop; nop; cli; mov eax, ebx; {END}"""
    with Board() as board:
        board.load(text, {0x21: note(1, ""), 0x24: note(4, "")}, rbx=0)
        board.end()
        for gsi in (1, 4):
            line(board, gsi, True)
        assert board.end() == 0x41  # C3h: set priority, line 3 is lowest, so 4 is highest


def test_special_mask_mode_lets_lower_lines_through() -> None:
    special = "mov al, 0x68; out 0x20, al; mov al, 2; out 0x21, al; sti; nop; nop; cli;"
    with Board() as board:
        wait_for_lines(board, 0, {0x21: note(1, special), 0x23: note(3, "")})
        for gsi in (1, 3):
            line(board, gsi, True)
        assert board.end() == 0x13


def test_levels_come_again_until_the_line_falls() -> None:
    """ELCR bit 5; the third time the handler masks the line."""
    masks = "inc ebx; cmp ebx, 3; jb more; mov al, 0xff; out 0x21, al; more:"
    text = f"""{START_PIC} mov al, 0x20; mov dx, 0x4d0; out dx, al; xor ebx, ebx; {END}
        mov al, 0xdf; out 0x21, al; sti; nop; nop; cli; mov eax, ebx; {END}
        mov al, 0xdf; out 0x21, al; sti; nop; nop; cli; mov eax, ebx; {END}"""
    with Board() as board:
        board.load(text, {0x25: masks + PIC_EOI})
        board.end()
        line(board, 5, True)
        assert board.end() == 3
        line(board, 5, False)
        assert board.end() == 3


def test_a_request_that_goes_away_is_line_7_of_its_controller() -> None:
    """A level seen by the processor but gone at INTA: the data sheet's default IR level 7."""
    with Board() as board:
        wait_for_lines(board)
        state = board.ffi.new("uint8_t[16]")
        assert board.lib.emu_vm_get_chip(board.vm, board.lib.EMU_CHIP_PIC_MASTER, state, 16) == 0
        assert (state[5], state[2]) == (0x20, 0)
        line(board, 4, True)
        state[1] = 0  # IRR
        board.lib.emu_vm_set_chip(board.vm, board.lib.EMU_CHIP_PIC_MASTER, state, 16)
        assert board.end() == 0


def test_the_poll_command_takes_a_request() -> None:
    text = f"""{START_PIC} {END}; mov al, 0x0c; out 0x20, al; in al, 0x20; mov bl, al
        mov al, 0x0c; out 0x20, al; in al, 0x20; mov bh, al; movzx eax, bx; {END}"""
    with Board() as board:
        board.load(f"xor ebx, ebx; {text}")
        board.end()
        board.lib.emu_vm_set_irq_line(board.vm, 6, True)
        result = board.end()  # masked: nothing to take
        assert result == 0x0707


COUNT = "in al, 0x42; mov bl, al; in al, 0x42; mov bh, al; movzx eax, bx;"


@pytest.mark.parametrize("mode", [0, 2, 3, 4])
def test_counters_count_down_and_latch(mode: int) -> None:
    text = f"""mov al, 1; out 0x61, al; mov al, {0xB0 | mode << 1}; out 0x43, al
        mov al, 0; out 0x42, al; mov al, 0x80; out 0x42, al; {END}; mov ecx, 100000
        wait: dec ecx; jnz wait; mov al, 0x80; out 0x43, al; {COUNT} {END}; {COUNT} {END}"""
    with Board() as board:
        board.load(text)
        board.end()
        latched, later = board.end(), board.end()
        ticks = 200_000 * 1_193_182 // 1_000_000_000  # of 200,000 instructions
        assert 0x8000 - latched == pytest.approx(ticks * (2 if mode == 3 else 1), abs=2)
        assert later <= latched


def test_read_back_gives_status_and_count() -> None:
    """Control word C8h latches both of channel 2; status: output, access, mode."""
    text = f"""mov al, 1; out 0x61, al; mov al, 0xb0; out 0x43, al; mov al, 0xff; out 0x42, al
        out 0x42, al; mov al, 0xc8; out 0x43, al; in al, 0x42; mov cl, al; {COUNT} mov edi, eax
        movzx eax, cl; {END}; mov eax, edi; {END}"""
    with Board() as board:
        board.load(text)
        assert board.end() == 0x30
        assert board.end() >= 0xFFF0


def test_the_speaker_port_shows_channel_2() -> None:
    """Port 61h: gate, speaker, and the output in bit 5 once mode 0 has counted down."""
    text = f"""mov al, 3; out 0x61, al; mov al, 0xb0; out 0x43, al; mov al, 0x40; out 0x42, al
        mov al, 0; out 0x42, al; in al, 0x61; and eax, 0x23; {END}
        wait: in al, 0x61; test al, 0x20; jz wait; and eax, 0x23; {END}"""
    with Board() as board:
        board.load(text)
        assert board.end() == 3
        assert board.end() == 0x23


def test_state_of_the_chips_survives_a_snapshot() -> None:
    with Board() as board, Board() as other:
        wait_for_lines(board, 0xFFFD)
        line(board, 1, True)
        for chip, size in ((0, 16), (1, 16), (2, 216), (3, 112)):
            state = board.ffi.new("uint8_t[]", size)
            again = board.ffi.new("uint8_t[]", size)
            assert board.lib.emu_vm_get_chip(board.vm, chip, state, size) == 0
            assert other.lib.emu_vm_set_chip(other.vm, chip, state, size) == 0
            assert other.lib.emu_vm_get_chip(other.vm, chip, again, size) == 0
            times = 16 if chip == 3 else size  # counters begin anew
            assert bytes(state)[:times] == bytes(again)[:times]
        assert board.lib.emu_vm_get_chip(board.vm, 0, state, 15) < 0


def test_chips_come_before_processors_and_once() -> None:
    with Board() as board:
        assert board.lib.emu_vm_create_irqchip(board.vm, 1) < 0
        assert board.lib.emu_vm_create_pit(board.vm) < 0
    with Board(kind=2) as board:
        assert board.lib.emu_vm_create_pit(board.vm) < 0
        assert board.lib.emu_vm_get_chip(board.vm, 0, board.ffi.new("char[16]"), 16) < 0
