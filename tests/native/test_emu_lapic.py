"""The local APIC and the I/O APIC. Intel SDM vol. 3A chapter 10; 82093AA data sheet (290566)."""

from __future__ import annotations

import pytest
from board import (
    END,
    LAPIC,
    LAPIC_EOI,
    LAPIC_ON,
    PIC_EOI,
    SPLIT,
    START,
    START_PIC,
    Board,
    ioapic,
    lapic,
)

ID, VERSION, TPR, PPR, LDR, DFR, ISR, TMR, IRR, ESR = (
    0x20, 0x30, 0x80, 0xA0, 0xD0, 0xE0, 0x100, 0x180, 0x200, 0x280,
)  # fmt: skip
ICR, ICR_HIGH, LVT_TIMER, LINT0, LVT_ERROR = 0x300, 0x310, 0x320, 0x350, 0x370
START_COUNT, COUNT, DIVIDE = 0x380, 0x390, 0x3E0
BY_1, PERIODIC, DEADLINE, MASKED = 0xB, 1 << 17, 1 << 18, 1 << 16
SELF, ALL, OTHERS = 1 << 18, 2 << 18, 3 << 18
APIC_BASE, TSC, TSC_ADJUST = 0x1B, 0x10, 0x3B
X2APIC = 0xFEE00D00


def note(value: int, end: str = LAPIC_EOI) -> str:
    """Handlers append a digit to rbx."""
    return f"shl ebx, 4; or ebx, {value}; {end}"


def read(register: int) -> str:
    return f"mov edx, {LAPIC + register}; mov eax, [rdx];"


def ipi(low: int, to: int = 0) -> str:
    return lapic(ICR_HIGH, to << 24) + lapic(ICR, low)


RESULT = f"sti; nop; nop; cli; mov eax, ebx; {END}"


def outcome(text: str, handlers: dict[int, str] | None = None, kind: int = SPLIT) -> int:
    """What a program writes at its end; rbx is 0 at first."""
    with Board(kind) as board:
        board.load(text, handlers, rbx=0)
        return board.end()


# Table 10-1 and §10.4.7.1: values after reset; the version is what KVM's says.
@pytest.mark.parametrize(
    ("register", "value"),
    [(ID, 0), (VERSION, 0x50014), (TPR, 0), (DFR, 0xFFFFFFFF), (0xF0, 0xFF), (LVT_TIMER, MASKED),
     (LINT0, 0x700), (0x360, MASKED), (0x400, 0)],
)  # fmt: skip
def test_registers_after_reset(register: int, value: int) -> None:
    assert outcome(read(register) + END) == value


def test_only_whole_registers_are_written() -> None:
    text = f"mov edx, {LAPIC + TPR}; mov byte ptr [rdx], 0x30; mov word ptr [rdx + 4], 5;"
    assert outcome(text + read(TPR) + END) == 0


def test_a_higher_vector_goes_first() -> None:
    text = LAPIC_ON + lapic(ICR, SELF | 0x31) + lapic(ICR, SELF | 0x52) + RESULT
    assert outcome(text, {0x31: note(1), 0x52: note(2)}) == 0x21


def test_a_class_waits_for_the_end_of_a_higher_one() -> None:
    """§10.8.3.1: PPR is the class in service; 51h waits for 52h's end, 61h does not."""
    body = (
        f"shl ebx, 4; or ebx, 2; {lapic(ICR, SELF | 0x51)} {lapic(ICR, SELF | 0x61)} sti; nop; cli;"
    )
    text = LAPIC_ON + lapic(ICR, SELF | 0x52) + RESULT
    handlers = {0x51: note(1), 0x52: body + "shl ebx, 4; " + LAPIC_EOI, 0x61: note(6)}
    assert outcome(text, handlers) == 0x2601


@pytest.mark.parametrize("write", [lapic(TPR, 0x40), "mov eax, 4; mov cr8, rax;"])
def test_the_task_priority_holds_interrupts_back(write: str) -> None:
    """§10.8.6: CR8 and TPR are one."""
    text = LAPIC_ON + write + lapic(ICR, SELF | 0x41) + lapic(ICR, SELF | 0x51)
    text += f"sti; nop; nop; cli; mov rax, cr8; shl ebx, 4; or ebx, eax; {lapic(TPR, 0)} {RESULT}"
    assert outcome(text, {0x41: note(1), 0x51: note(5)}) == 0x541


def test_request_and_service_registers_show_a_vector() -> None:
    text = LAPIC_ON + lapic(ICR, SELF | 0x41) + read(IRR + 0x20) + "mov ebx, eax; sti; nop; cli;"
    handler = read(ISR + 0x20) + "shl ebx, 4; or ebx, eax;" + LAPIC_EOI
    assert outcome(text + f"mov eax, ebx; {END}", {0x41: handler}) == 0x22


def test_switched_off_by_software_it_masks_and_accepts_nothing() -> None:
    """§10.4.7.2"""
    text = LAPIC_ON + lapic(LVT_TIMER, 0x40) + lapic(0xF0, 0xFF) + lapic(ICR, SELF | 0x41)
    text += lapic(LVT_TIMER, 0x40) + read(LVT_TIMER) + "mov ebx, eax;" + LAPIC_ON + RESULT
    assert outcome(text, {0x41: note(1)}) == MASKED | 0x40


def test_illegal_vectors_are_errors() -> None:
    """§10.5.3: sent, bit 5, noted at the next write to ESR; and the error vector comes."""
    text = LAPIC_ON + lapic(LVT_ERROR, 0x45) + lapic(ICR, SELF | 5) + lapic(ESR, 0)
    text += read(ESR) + "mov ebx, eax;" + RESULT
    assert outcome(text, {0x45: note(5)}) == 0x205


def test_the_timer_counts_down_once() -> None:
    """§10.5.4, by 1 GHz: a nanosecond, and so an instruction, each."""
    text = LAPIC_ON + lapic(DIVIDE, BY_1) + lapic(LVT_TIMER, 0x40) + lapic(START_COUNT, 100_000)
    text += f"sti; hlt; mov eax, 1; {END}; {read(COUNT)} {END}"
    with Board(SPLIT) as board:
        board.load(text, {0x40: "rdtsc; mov ebx, eax;" + LAPIC_EOI}, rbx=0)
        assert board.end() == 1
        assert 100_000 < board.reg("rbx") < 100_100
        assert board.end() == 0


def test_the_divider_slows_the_timer() -> None:
    text = LAPIC_ON + lapic(DIVIDE, 0x3) + lapic(LVT_TIMER, 0x40) + lapic(START_COUNT, 100_000)
    text += f"mov ecx, 8000; wait: dec ecx; jnz wait; {read(COUNT)} {END}"
    assert outcome(text) == pytest.approx(99_000, abs=3)  # by 16


@pytest.mark.parametrize("wall", [False, True])
def test_the_timer_comes_again_and_again(wall: bool) -> None:
    text = LAPIC_ON + lapic(DIVIDE, BY_1) + lapic(LVT_TIMER, 0x40 | PERIODIC)
    text += lapic(START_COUNT, 1_000_000)
    text += f"again: sti; hlt; cli; cmp ebx, 5; jb again; mov eax, ebx; {END}"
    with Board(SPLIT, wall=wall) as board:
        board.load(text, {0x40: "inc ebx;" + LAPIC_EOI}, rbx=0)
        assert board.end() == 5


def wrmsr(index: int, low: int, high: int = 0) -> str:
    return f"mov ecx, {index}; mov eax, {low}; mov edx, {high}; wrmsr;"


@pytest.mark.parametrize("wall", [False, True])
def test_the_timer_fires_at_a_value_of_the_time_stamp_counter(wall: bool) -> None:
    """§10.5.4.1: the MSR reads 0 once it has fired."""
    text = LAPIC_ON + lapic(LVT_TIMER, 0x40 | DEADLINE)
    text += "rdtsc; mov edi, eax; add eax, 500000; mov esi, eax; mov ecx, 0x6e0; wrmsr; rdmsr;"
    text += "cmp eax, esi; jne wrong; sti; hlt; cli; sub ebx, edi; mov ecx, 0x6e0; rdmsr;"
    text += f"test eax, eax; jnz wrong; mov eax, ebx; {END}; wrong: ud2"
    with Board(SPLIT, wall=wall) as board:
        board.load(text, {0x40: "rdtsc; mov ebx, eax;" + LAPIC_EOI}, rbx=0)
        late = board.end() - 500_000
        assert late >= 0 if wall else 0 <= late < 100


def test_a_deadline_in_the_past_fires_at_once() -> None:
    text = LAPIC_ON + lapic(LVT_TIMER, 0x40 | DEADLINE) + wrmsr(0x6E0, 1) + RESULT
    assert outcome(text, {0x40: note(4)}) == 4


def test_the_deadline_follows_the_counter() -> None:
    """§17.17.3: what is written to the counter shows in TSC_ADJUST; the deadline stays."""
    text = LAPIC_ON + lapic(LVT_TIMER, 0x40 | DEADLINE) + wrmsr(0x6E0, 0, 0x100)
    text += "sti; nop; cli; mov edi, ebx;" + wrmsr(TSC, 0, 0x200) + "sti; nop; cli;"
    text += f"mov ecx, {TSC_ADJUST}; rdmsr; mov eax, edx; shl eax, 8; shl edi, 4;"
    text += f"or ebx, edi; or eax, ebx; {END}"
    assert outcome(text, {0x40: note(4)}) == 0x1FF04  # 0x1ff.. : the counter had some ticks


X2_ON = wrmsr(APIC_BASE, X2APIC) + wrmsr(0x80F, 0x1FF)


def test_an_x2apic_has_its_registers_in_msrs() -> None:
    """§10.12: self IPI, EOI, ICR in one write; the page answers no more."""
    text = X2_ON + wrmsr(0x83F, 0x41) + wrmsr(0x830, 0x52, 0) + "sti; nop; nop; cli;"
    text += f"mov ecx, 0x80d; rdmsr; shl ebx, 4; or ebx, eax; {read(ID)} shl ebx, 4; and eax, 15;"
    text += f"or eax, ebx; {END}"
    end = wrmsr(0x80B, 0)
    assert outcome(text, {0x41: note(1, end), 0x52: note(5, end)}) == 0x511F


@pytest.mark.parametrize(
    "text",
    [
        "mov ecx, 0x802; rdmsr",  # not an x2APIC
        wrmsr(APIC_BASE, 0xFEE00500),  # x2APIC without being on
        wrmsr(APIC_BASE, 0xFEE00900, 1 << 20),
        X2_ON + wrmsr(APIC_BASE, 0xFEE00900),  # back to xAPIC
        X2_ON + wrmsr(0x802, 0),  # read-only
        X2_ON + wrmsr(0x80B, 1),
        X2_ON + wrmsr(0x808, 0x100),
        X2_ON + "mov ecx, 0x80e; rdmsr",  # no DFR
        X2_ON + "mov ecx, 0x80b; rdmsr",
    ],
)
def test_what_msrs_refuse(text: str) -> None:
    assert outcome(text + "; ud2", {13: f"mov eax, 13; {END}"}) == 13


def test_the_owner_may_set_any_mode_and_cpuid_follows() -> None:
    with Board(SPLIT) as board:
        board.load(f"again: mov eax, 1; cpuid; mov eax, edx; and eax, 0x200; {END}; jmp again")
        assert board.end() == 0x200
        assert board.lib.emu_cpu_set_msr(board.cpu, APIC_BASE, 0xFEE00100) == 0
        assert board.end() == 0
        assert board.lib.emu_cpu_set_msr(board.cpu, APIC_BASE, X2APIC) == 0
        assert board.end() == 0x200


def test_the_page_moves_with_its_base() -> None:
    text = wrmsr(APIC_BASE, 0xFEE1_0900) + f"mov edx, 0xfee10030; mov eax, [rdx]; {END}"
    assert outcome(text) == 0x50014


OPEN_1 = ioapic(0x13, 0) + ioapic(0x12, 0x41)


def io_outcome(text: str, gsi: int, handlers: dict[int, str], after: str = "") -> tuple[int, int]:
    """Raise a line at the program's first stop, lower it at the next."""
    with Board() as board:
        board.load(
            f"{START_PIC} {LAPIC_ON} {text} {END}; {RESULT}; {after} {RESULT}", handlers, rbx=0
        )
        board.end()
        board.lib.emu_vm_set_irq_line(board.vm, gsi, True)
        first = board.end()
        board.lib.emu_vm_set_irq_line(board.vm, gsi, False)
        return first, board.end()


def test_an_edge_comes_once_by_the_io_apic() -> None:
    assert io_outcome(OPEN_1, 1, {0x41: note(1)}) == (1, 1)


def test_a_level_comes_until_it_falls() -> None:
    """§3.2.4: remote IRR is set by acceptance and reset by EOI; the third time pin 1 is masked."""
    mask = f"inc ebx; cmp ebx, 3; jb more; {ioapic(0x12, 0x18041)} more: {LAPIC_EOI}"
    text, after = OPEN_1.replace("mov eax, 65;", "mov eax, 0x8041;"), ioapic(0x12, 0x8041)
    assert io_outcome(text, 1, {0x41: mask}, after) == (3, 3)


def test_a_masked_edge_is_lost_and_a_masked_level_is_not() -> None:
    handlers = {0x41: note(1, ioapic(0x12, 0x18041) + LAPIC_EOI)}
    for entry, result in ((0x41, 0), (0x8041, 1)):
        text = ioapic(0x12, entry | MASKED) + END + ";" + ioapic(0x12, entry)
        with Board() as board:
            board.load(START_PIC + LAPIC_ON + text + RESULT, handlers, rbx=0)
            board.end()
            board.lib.emu_vm_set_irq_line(board.vm, 1, True)
            assert board.end() == result


def test_the_8254_reaches_pin_0() -> None:
    text = f"""{START_PIC} {LAPIC_ON} {ioapic(0x11, 0)} {ioapic(0x10, 0x40)} mov al, 0x30
        out 0x43, al; mov al, 0; out 0x40, al; mov al, 1; out 0x40, al; sti; hlt; cli
        mov eax, ebx; {END}"""
    assert outcome(text, {0x40: note(4)}, 1) == 4


@pytest.mark.parametrize(("lint0", "result"), [(0x700, 2), (MASKED | 0x700, 0), (0x410, 0)])
def test_the_8259_needs_lint0_as_a_virtual_wire(lint0: int, result: int) -> None:
    text = f"{LAPIC_ON} {lapic(LINT0, lint0)} {START_PIC} mov al, 0xfe; out 0x21, al;"
    with Board() as board:
        board.load(f"{text} {END}; {RESULT}", {0x20: note(2, PIC_EOI)}, rbx=0)
        board.end()
        board.lib.emu_vm_set_irq_line(board.vm, 0, True)
        assert board.end() == result


def test_messages_of_devices_arrive() -> None:
    """§10.11: address FEExxxxxh names the destination, data vector and mode."""
    with Board() as board:
        board.load(
            f"{LAPIC_ON} {END}; {RESULT}", {0x61: note(6), 2: "shl ebx, 4; or ebx, 2;"}, rbx=0
        )
        assert board.lib.emu_vm_signal_msi(board.vm, 0xFEE0_0000, 0x61) == 0
        board.end()
        assert board.lib.emu_vm_signal_msi(board.vm, 0xFEE0_0000, 0x61) == 1
        assert board.lib.emu_vm_signal_msi(board.vm, 0xFEE0_3000, 0x61) == 0  # nobody is 3
        assert board.lib.emu_vm_signal_msi(board.vm, 0xFEE0_0000, 0x400) == 1  # NMI
        assert board.end() == 0x26


def test_registers_survive_a_snapshot_and_the_timer_goes_on() -> None:
    text = LAPIC_ON + lapic(DIVIDE, BY_1) + lapic(LVT_TIMER, 0x40) + lapic(START_COUNT, 100_000)
    with Board(SPLIT) as board, Board(SPLIT) as other:
        board.load(f"{text} {END}")
        board.end()
        page, again = board.ffi.new("uint8_t[1024]"), board.ffi.new("uint8_t[1024]")
        assert board.lib.emu_cpu_get_lapic(board.cpu, page) == 0
        handlers = {0x40: "rdtsc; mov ebx, eax;" + LAPIC_EOI}
        other.load(f"sti; hlt; cli; mov eax, ebx; {END}", handlers, rbx=0)
        assert other.lib.emu_cpu_set_lapic(other.cpu, page) == 0
        assert other.lib.emu_cpu_get_lapic(other.cpu, again) == 0
        assert bytes(page) == bytes(again)
        assert other.end() == pytest.approx(100_000, abs=50)


@pytest.mark.parametrize(
    ("event", "vector", "error"), [({"event_vector": 0x33, "event_type": 0}, 0x33, None),
     ({"event_vector": 13, "event_type": 2, "event_has_error": 1, "event_error": 0x18}, 13, 0x18)],
)  # fmt: skip
def test_an_event_set_with_the_state_is_delivered(
    event: dict[str, int], vector: int, error: int | None
) -> None:
    """The first thing at the next entry, whatever RFLAGS.IF says."""
    with Board(SPLIT) as board:
        board.load("ud2")
        board.handle(vector, f"{'pop rax' if error else 'mov eax, 77'}; {END}; pop rax; {END}")
        state = board.state()
        state.event_pending = 1
        for name, value in event.items():
            setattr(state, name, value)
        board.set_state(state)
        assert board.end() == (error or 77)
        assert board.end() == START  # rip in the frame
        assert not board.state().event_pending
