"""The 16550A by its registers. Source: PC16550D data sheet, §8."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pykvm
from pykvm.devices.serial import (
    FCR,
    FIFO_SIZE,
    IER,
    IIR,
    INPUT_LIMIT_BYTES,
    LCR,
    LSR,
    MCR,
    MSR,
    SIZE,
    Reg,
    Serial,
)

FIFO_14 = FCR.ENABLE | 3 << FCR.TRIGGER_SHIFT
FIFO_4 = FCR.ENABLE | 1 << FCR.TRIGGER_SHIFT


class Port:
    """A serial port, what it sent, and every change of its interrupt line."""

    def __init__(self, ier: int = 0, fcr: int = 0, mcr: int = MCR.OUT2) -> None:
        self.sent = bytearray()
        self.line: list[bool] = []
        self.serial = Serial(self.sent.extend, self.line.append)
        self[Reg.FCR] = fcr
        self[Reg.MCR] = mcr
        self[Reg.IER] = ier

    def __getitem__(self, offset: int) -> int:
        return self.serial.read(offset, 1)

    def __setitem__(self, offset: int, value: int) -> None:
        self.serial.write(offset, 1, value)

    @property
    def source(self) -> int:
        return self[Reg.IIR] & 0x0F

    @property
    def level(self) -> bool:
        return bool(self.line) and self.line[-1]

    def drain(self) -> bytes:
        received = bytearray()
        while self[Reg.LSR] & LSR.DR:
            received.append(self[Reg.RBR])
        return bytes(received)


class Answer:
    """A stream that feeds the machine which writes to it."""

    vm: pykvm.VM

    def write(self, data: bytes) -> None:
        self.vm.feed(data.swapcase())

    def flush(self) -> None:
        pass


def test_output_may_feed() -> None:
    answer = Answer()
    with pykvm.VM(output=answer) as vm:  # type: ignore[arg-type]
        answer.vm = vm
        source = (
            "mov dx, COM1_PORT\nmov al, 'a'\nout dx, al\nmov dx, COM1_PORT + 5\nin al, dx\n"
            "mov dx, COM1_PORT\nin al, dx\nout EXIT_PORT, al\n"
        )
        vm.load(pykvm.assemble(source))
        assert vm.run(60).status == ord("A")


# Registers.


def test_registers_after_reset() -> None:
    serial = Serial(lambda data: None)
    assert [serial.read(offset, 1) for offset in (Reg.IER, Reg.IIR, Reg.LCR, Reg.MCR)] == [
        0, IIR.NONE, 0, 0,
    ]  # fmt: skip
    assert serial.read(Reg.LSR, 1) == LSR.THRE | LSR.TEMT
    assert serial.read(Reg.MSR, 1) == MSR.CTS | MSR.DSR | MSR.DCD


def test_a_byte_written_is_sent() -> None:
    port = Port()
    for byte in b"Hi":
        port[Reg.THR] = byte
    assert port.sent == b"Hi"
    assert port[Reg.LSR] & (LSR.THRE | LSR.TEMT) == LSR.THRE | LSR.TEMT


def test_divisor_latch_takes_the_place_of_data_and_ier() -> None:
    port = Port(ier=IER.ERBFI)
    port[Reg.LCR] = LCR.DLAB | 3
    port.serial.write(Reg.DLL, 2, 0x0C01)
    assert (port[Reg.DLL], port[Reg.DLM]) == (0x01, 0x0C)
    port[Reg.LCR] = 3
    assert port[Reg.IER] == IER.ERBFI
    assert port.sent == b""


@pytest.mark.parametrize(("offset", "kept"), [(Reg.IER, 0x0F), (Reg.MCR, 0x1F), (Reg.SCR, 0xFF)])
def test_bits_that_do_not_exist_read_zero(offset: int, kept: int) -> None:
    port = Port()
    port[offset] = 0xFF
    assert port[offset] == kept


@pytest.mark.parametrize("offset", [Reg.LSR, Reg.MSR])
def test_status_registers_cannot_be_written(offset: int) -> None:
    port = Port()
    before = port[offset]
    port[offset] = ~before & 0xFF
    assert port[offset] == before


# Receiving.


def test_input_waits_until_it_is_read() -> None:
    port = Port()
    assert port.serial.feed(b"hello, guest") == 12
    assert port.drain() == b"hello, guest"
    assert port[Reg.RBR] == 0


def test_input_that_came_before_the_fifo_was_set_up_is_not_lost() -> None:
    port = Port()
    port.serial.feed(b"early")
    port[Reg.FCR] = FIFO_14 | FCR.RESET_RECEIVER
    assert port.drain() == b"early"


def test_input_is_bounded_and_says_so() -> None:
    port = Port(fcr=FIFO_14)
    assert port.serial.feed(bytes(10_000)) == INPUT_LIMIT_BYTES
    assert port.serial.feed(b"x") == 0
    assert len(port.drain()) == INPUT_LIMIT_BYTES
    assert port.serial.feed(b"x") == 1


def test_resetting_the_fifo_drops_what_has_arrived() -> None:
    port = Port(fcr=FIFO_14)
    port.serial.feed(b"old")
    assert port[Reg.LSR] & LSR.DR
    port[Reg.FCR] = FIFO_14 | FCR.RESET_RECEIVER
    assert not port[Reg.LSR] & LSR.DR


def test_turning_the_fifo_off_empties_it() -> None:
    port = Port(fcr=FIFO_14)
    port.serial.feed(b"old")
    assert port[Reg.LSR] & LSR.DR
    port[Reg.FCR] = 0
    assert not port[Reg.LSR] & LSR.DR
    assert port[Reg.IIR] & IIR.FIFOS_ENABLED == 0


# Interrupts.


def test_interrupts_by_priority() -> None:
    port = Port(ier=IER.IMPLEMENTED, mcr=MCR.LOOP)  # MSR bits have changed, THR is empty
    port[Reg.THR] = 1
    port[Reg.THR] = 2  # overruns
    assert port.source == IIR.LINE_STATUS
    assert port[Reg.LSR] & LSR.OE
    assert port.source == IIR.DATA
    assert port[Reg.RBR] == 2
    assert port.source == IIR.THR_EMPTY
    assert port.source == IIR.MODEM_STATUS
    assert port[Reg.MSR] & 0x0F
    assert port.source == IIR.NONE


def test_reading_iir_clears_thr_empty_only_where_it_says_so() -> None:
    port = Port(ier=IER.ERBFI | IER.ETBEI)
    port.serial.feed(b"x")
    assert port.source == IIR.DATA
    assert port.source == IIR.DATA
    assert port[Reg.RBR] == ord("x")
    assert port.source == IIR.THR_EMPTY
    assert port.source == IIR.NONE
    assert not port.level


def test_enabling_thr_empty_interrupts_at_once() -> None:
    port = Port()
    assert not port.level
    port[Reg.IER] = IER.ETBEI
    assert port.level
    assert port.source == IIR.THR_EMPTY
    assert not port.level
    port[Reg.IER] = IER.ETBEI  # no change, nothing new
    assert not port.level


def test_each_byte_sent_gives_an_edge() -> None:
    port = Port(ier=IER.ETBEI)
    port[Reg.THR] = 1
    port[Reg.THR] = 2
    assert port.line == [True, False, True, False, True]


def test_trigger_level_and_timeout() -> None:
    port = Port(ier=IER.ERBFI, fcr=FIFO_4)
    port.serial.feed(b"abc")
    assert port[Reg.IIR] == IIR.TIMEOUT | IIR.FIFOS_ENABLED
    port.serial.feed(b"d")
    assert port.source == IIR.DATA
    port[Reg.RBR]
    assert port.source == IIR.TIMEOUT
    assert port.drain() == b"bcd"
    assert port.source == IIR.NONE
    assert not port.level


@pytest.mark.parametrize(("field", "bytes_"), [(0, 1), (1, 4), (2, 8), (3, 14)])
def test_every_trigger_level(field: int, bytes_: int) -> None:
    port = Port(ier=IER.ERBFI, fcr=FCR.ENABLE | field << FCR.TRIGGER_SHIFT)
    port.serial.feed(bytes(bytes_ - 1))
    assert port.source != IIR.DATA
    port.serial.feed(b"x")
    assert port.source == IIR.DATA


def test_timeout_gives_an_edge_for_each_byte_left() -> None:
    port = Port(ier=IER.ERBFI, fcr=FIFO_14)
    port.serial.feed(b"ab")
    port.line.clear()
    port[Reg.RBR]
    assert port.line == [False, True]
    port[Reg.RBR]
    assert port.line == [False, True, False]


def test_without_out2_no_interrupt_gets_out() -> None:
    port = Port(ier=IER.ETBEI, mcr=0)
    assert port.line == []
    assert port.source == IIR.THR_EMPTY
    port = Port(ier=IER.ETBEI, mcr=0)
    port[Reg.MCR] = MCR.OUT2
    assert port.line == [True]
    port[Reg.MCR] = MCR.OUT2 | MCR.LOOP
    assert port.line == [True, False]


# Loopback.


def test_loopback_receives_what_is_sent_and_nothing_else() -> None:
    port = Port(fcr=FIFO_14, mcr=MCR.LOOP)
    port.serial.feed(b"outside")
    for byte in b"inside":
        port[Reg.THR] = byte
    assert port.drain() == b"inside"
    assert port.sent == b""
    port[Reg.MCR] = 0
    assert port.drain() == b"outside"


def test_a_full_fifo_keeps_what_it_has() -> None:
    port = Port(fcr=FIFO_14, mcr=MCR.LOOP)
    for byte in range(FIFO_SIZE + 1):
        port[Reg.THR] = byte
    assert port[Reg.LSR] & LSR.OE
    assert not port[Reg.LSR] & LSR.OE
    assert port.drain() == bytes(range(FIFO_SIZE))


@pytest.mark.parametrize(
    ("control", "status", "change"),
    [
        (MCR.RTS, MSR.CTS, MSR.DCTS),
        (MCR.DTR, MSR.DSR, MSR.DDSR),
        (MCR.OUT2, MSR.DCD, MSR.DDCD),
    ],
)
def test_loopback_shows_modem_control_in_modem_status(
    control: int, status: int, change: int
) -> None:
    port = Port(mcr=MCR.LOOP)
    port[Reg.MSR]
    port[Reg.MCR] = MCR.LOOP | control
    assert port[Reg.MSR] == status | change
    assert port[Reg.MSR] == status


def test_only_the_end_of_a_ring_counts() -> None:
    port = Port(mcr=MCR.LOOP)
    port[Reg.MSR]
    port[Reg.MCR] = MCR.LOOP | MCR.OUT1
    assert port[Reg.MSR] == MSR.RI
    port[Reg.MCR] = MCR.LOOP
    assert port[Reg.MSR] == MSR.TERI


# Whatever a guest does.


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.integers(0, SIZE - 1), st.sampled_from([1, 2, 4])),
            st.tuples(st.just("write"), st.integers(0, SIZE - 1), st.integers(0, 0xFF)),
            st.tuples(st.just("feed"), st.binary(max_size=40), st.none()),
        ),
        max_size=200,
    )
)
def test_random_traffic_is_bounded_and_the_line_follows_iir(traffic: list[tuple]) -> None:
    port = Port()
    for what, first, second in traffic:
        if what == "read":
            size_bytes = min(second, SIZE - first)
            assert 0 <= port.serial.read(first, size_bytes) < 1 << 8 * size_bytes
        elif what == "write":
            port[first] = second
        else:
            assert port.serial.feed(first) <= len(first)
        level = port.level
        assert len(port.serial._received) <= FIFO_SIZE
        assert len(port.serial._input) <= INPUT_LIMIT_BYTES
        if port[Reg.MCR] & (MCR.OUT2 | MCR.LOOP) == MCR.OUT2:
            assert level == (port.source != IIR.NONE)


# In a machine.

ECHO = """
next:
    mov dx, 0x3fd
wait:
    in al, dx
    test al, 1
    jz wait
    mov dx, 0x3f8
    in al, dx
    out dx, al
    cmp al, '\\n'
    jne next
    hlt
"""


def test_a_guest_echoes_what_it_is_fed() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble(ECHO))
        assert vm.feed(b"ping\n") == 5
        assert vm.run(timeout=60).output == b"ping\n"


def test_console_and_serial_output_keep_their_order() -> None:
    source = """
        mov ecx, 20
        mov dx, 0x3f8
    next:
        mov al, 'a'
        out 0xe9, al
        mov al, 'b'
        out dx, al
        loop next
        hlt
    """
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble(source))
        assert vm.run(timeout=60).output == b"ab" * 20


def test_a_machine_without_a_serial_port_takes_no_input() -> None:
    with (
        pykvm.VM(memory="1M", devices=["exit"]) as vm,
        pytest.raises(pykvm.errors.UsageError, match="no serial port"),
    ):
        vm.feed(b"x")
