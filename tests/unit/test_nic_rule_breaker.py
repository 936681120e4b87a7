"""A driver that breaks the rules of the 82540EM at random: its rings, its registers, its frames.

Whatever it does: no exception, no byte touched that was not given, no loop without end, no memory
that grows; and after a reset an honest driver is served.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support import campaign
from support.tape import Tape, tapes
from support.watched import RAM_END, READABLE, WRITABLE, WatchedMemory

from pykvm.devices.nic.card import Nic82540em
from pykvm.devices.nic.datapath import FRAME_MAX
from pykvm.devices.nic.registers import CTRL, RCTL, TCTL, Reg
from pykvm.net import frames
from pykvm.net.port import INBOX_FRAMES, Loopback, Port, connect

STEPS = 16
MAC = bytes.fromhex("525400000002")
# Each ring with a zone that holds nothing but its descriptors, wherever in it a ring may be put.
TX_ZONE, RX_ZONE = range(0x1_0000, 0x2_0000), range(0x4_0000, 0x5_0000)
COUNT = 8
EOP, IC, RS = 1, 4, 8
NOWHERE = (RAM_END, RAM_END + 0x8000, 1 << 63, (1 << 64) - 16)
TRANSMIT, RECEIVE = struct.Struct("<QHBBBBH"), struct.Struct("<QQ")
RING_BASES = (Reg.TDBAL, Reg.TDBAH, Reg.TDLEN, Reg.RDBAL, Reg.RDBAH, Reg.RDLEN)
OFFSETS = sorted(
    value
    for name, value in vars(Reg).items()
    if isinstance(value, int) and value < 0x1_0000 and value not in RING_BASES
)
_TX = TRANSMIT.pack(READABLE.start, 60, 0, EOP | RS, 0, 0, 0) * (len(TX_ZONE) // 16)
_RX = RECEIVE.pack(WRITABLE.start, 0) * (len(RX_ZONE) // 16)
TARGETS = (MAC, frames.BROADCAST, b"\x01\0\x5e\0\0\1", b"\2\0\0\0\0\xff")


class NicRuleBreaker(RuleBasedStateMachine):
    """One sequence."""

    def __init__(self) -> None:
        super().__init__()
        campaign.begin_sequence()
        self.memory = WatchedMemory(content=False)
        self.memory.write(TX_ZONE.start, _TX)
        self.memory.write(RX_ZONE.start, _RX)
        self.posted: list[Callable[[], None]] = []
        self.now_ns = 0
        self.card = Nic82540em(
            self.memory,
            lambda level: None,
            lambda call, delay_s: self.posted.append(call),
            frames.format_mac(MAC),
            lambda: self.now_ns,
        )
        self.sent: list[bytes] = []
        self.port = Port(self.sent.append)

    @initialize(tape=tapes)
    def begin(self, tape: Tape) -> None:
        """A cable, or one that brings back what is sent."""
        connect(self.card.port, Loopback().port if tape.below(2) else self.port)
        self.start(RCTL.BAM | RCTL.SECRC | tape.one_of(0, RCTL.LPE, tape.number(4)))

    def write(self, offset: int, value: int) -> None:
        if offset == Reg.RCTL:  # buffers may have to be larger
            self.memory.write(RX_ZONE.start, _RX)
        with self.memory.watched():
            self.card.write(offset, 4, value & 0xFFFF_FFFF)

    def read(self, offset: int) -> int:
        with self.memory.watched():
            return self.card.read(offset, 4)

    def start(self, control: int) -> None:
        self.write(Reg.CTRL, CTRL.RST)
        self.write(Reg.CTRL, CTRL.SLU)
        for base, zone in ((Reg.TDBAL, TX_ZONE), (Reg.RDBAL, RX_ZONE)):
            self.write(base, zone.start)
            self.write(base + 8, 16 * COUNT)
        self.write(Reg.TCTL, TCTL.EN)
        self.write(Reg.RCTL, RCTL.EN | control)
        self.write(Reg.RDT, COUNT - 1)
        self.tail = 0

    # What an honest driver does too.

    @rule(tape=tapes)
    def send(self, tape: Tape) -> None:
        """Frames of several buffers, some of them not RAM."""
        if not self.read(Reg.TCTL) & TCTL.EN:
            self.start(RCTL.BAM)
        for _ in range(1 + tape.below(4)):
            gpa = tape.one_of(
                READABLE.start, READABLE.start + tape.number(2), READABLE.start, READABLE.start,
                RAM_END - 3, NOWHERE[tape.below(len(NOWHERE))],
            )  # fmt: skip
            size = tape.one_of(60, 4 + tape.below(64), 1514, tape.number(2) | 4)
            command = tape.one_of(EOP | RS, 0, EOP | IC | RS, tape.number(1))
            entry = TRANSMIT.pack(
                gpa, size, tape.number(1), command, 0, tape.below(60), tape.number(2)
            )
            note(f"descriptor {self.tail}: {gpa:#x}, {size} bytes, command {command:#x}")
            self.memory.write(TX_ZONE.start + 16 * self.tail, entry)
            self.tail = (self.tail + 1) % COUNT
        self.memory.write(READABLE.start, tape.one_of(*TARGETS) + frames.BROADCAST + b"\x81\0\0\1")
        self.write(Reg.TDT, self.tail)

    @rule(tape=tapes)
    def receive(self, tape: Tape) -> None:
        """What others on the cable send: any length, to anybody."""
        frame = tape.one_of(*TARGETS) + b"\2\0\0\0\0\1" + tape.one_of(b"\x88\xb5", b"\x81\0\0\1")
        size = tape.one_of(
            60, 14, tape.below(64), 1518, 2048, 4096, 9000, FRAME_MAX, tape.number(2)
        )
        frame = frame.ljust(size, b"\xa5")[:size]
        note(f"{size} bytes, {tape!r}")
        for _ in range(tape.one_of(1, 1, 3, 9, 600)):
            self.card.port.deliver(frame)
        self.work()

    def work(self) -> None:
        with self.memory.watched():
            for _ in range(4):
                if self.posted:
                    self.posted.pop(0)()

    @rule(tape=tapes)
    def offer(self, tape: Tape) -> None:
        """Buffers to receive into, of which some just fit, and a tail behind them."""
        control = self.read(Reg.RCTL)
        size = 2048 >> (control >> RCTL.BSIZE_SHIFT & 3)
        if control & RCTL.BSEX and size < 2048:
            size *= 16
        for number in range(COUNT):
            gpa = tape.one_of(
                WRITABLE.start + tape.number(2), WRITABLE.stop - size, RAM_END - 3, *NOWHERE
            )
            self.memory.write(RX_ZONE.start + 16 * number, RECEIVE.pack(gpa, tape.number(1)))
        self.write(Reg.RDT, tape.one_of(COUNT - 1, tape.below(20)))

    @rule(tape=tapes)
    def start_again(self, tape: Tape) -> None:
        self.start(tape.one_of(RCTL.BAM | RCTL.SECRC, tape.number(4)))

    @rule(tape=tapes)
    def time_passes(self, tape: Tape) -> None:
        self.now_ns += tape.number(3)
        if tape.below(3) == 2:
            with self.memory.watched():
                self.card.set_link(bool(tape.below(2)))
        self.work()

    # What it must not do.

    @rule(tape=tapes)
    def move_a_ring(self, tape: Tape) -> None:
        """To its zone or to where no RAM is; of any length that the zone has."""
        base, zone = tape.one_of((Reg.TDBAL, TX_ZONE), (Reg.RDBAL, RX_ZONE))
        gpa = zone.start + 16 * tape.below(64)
        gpa = tape.one_of(gpa, gpa, zone.start, *NOWHERE)
        self.write(base, gpa)
        self.write(base + 4, gpa >> 32)
        size_bytes = tape.one_of(16 * COUNT, 0, 128 * tape.below(64), tape.below(256))
        self.write(base + 8, size_bytes)
        for offset in (0x10, 0x18):  # head and tail
            if tape.below(2):
                self.write(base + offset, tape.one_of(tape.below(16), 0, 99, tape.number(2)))
        note(f"ring {base:#x} at {gpa:#x}, {size_bytes} bytes")

    @rule(tape=tapes)
    def use_registers(self, tape: Tape) -> None:
        """Any of them but where rings are; with values that mean something, or none."""
        for _ in range(1 + tape.below(4)):
            offset = OFFSETS[tape.below(len(OFFSETS))]
            offset = tape.one_of(offset, offset, offset, tape.number(3) & 0x1_FFFF)
            value = tape.one_of(
                0, 1, 2, 7, 8, 16 * COUNT, 0x0400_8002, 1 << tape.below(32), tape.number(4)
            )
            size_bytes = tape.one_of(4, 4, 4, 4, 1, 2, 8)
            note(f"register {offset:#x} = {value:#x}, {size_bytes} bytes")
            with self.memory.watched():
                read = self.card.read(offset, size_bytes)
                if size_bytes != 4:
                    self.card.write(offset, size_bytes, value)
            if offset not in RING_BASES and size_bytes == 4:
                self.write(offset, value)
            assert 0 <= read < 1 << 8 * size_bytes

    @rule(tape=tapes)
    def move_pins(self, tape: Tape) -> None:
        """Of the EEPROM, as a clock would, and the transceiver's registers."""
        for _ in range(tape.below(24)):
            pins = 0x42 | 4 * tape.one_of(1, 0)
            self.write(Reg.EECD, pins)
            self.write(Reg.EECD, pins | 1)
        self.write(Reg.EERD, tape.number(1) << 8 | 1)
        self.write(
            Reg.MDIC, tape.one_of(1, 2) << 26 | 1 << 21 | tape.below(32) << 16 | tape.number(2)
        )
        assert 0 <= self.read(Reg.EECD) < 1 << 32
        assert 0 <= self.read(Reg.MDIC) < 1 << 32

    # What holds whatever it does.

    @invariant()
    def little_is_kept(self) -> None:
        assert len(self.posted) < 100
        assert len(self.card.inbox) <= INBOX_FRAMES
        assert all(len(frame) <= FRAME_MAX + frames.TAG_SIZE for frame in self.sent)
        self.sent.clear()

    def teardown(self) -> None:
        """All is as it was where no device may write, and an honest driver is served."""
        assert self.memory.is_intact()
        self.memory.write(TX_ZONE.start, _TX)
        self.memory.write(RX_ZONE.start, _RX)
        with self.memory.watched():
            self.card.set_link(True)
        self.start(RCTL.BAM | RCTL.SECRC)
        self.posted.clear()
        self.write(Reg.TDT, 1)
        assert self.read(Reg.TDH) == 1
        self.card.port.deliver(frames.BROADCAST + bytes(54))
        self.work()
        assert self.memory.read(RX_ZONE.start + 12, 1)[0] & 1
        self.memory.close()


def machine_of(name: str) -> type[RuleBasedStateMachine]:
    assert name == "nic"
    return NicRuleBreaker


@pytest.mark.timeout(7200)  # in full it takes its time
def test_a_driver_that_breaks_the_rules_of_a_nic(full: bool) -> None:
    campaign.run("test_nic_rule_breaker", "nic", campaign.IN_FULL if full else campaign.IN_CI)


if __name__ == "__main__":
    campaign.serve(machine_of, STEPS)
