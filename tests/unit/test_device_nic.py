"""The 82540EM without a guest: registers, rings, filters, interrupts, and hostile drivers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest

from pykvm.devices.nic.card import Nic82540em
from pykvm.devices.nic.registers import CTRL, ICR, RCTL, STATUS, TCTL, Reg, Stat
from pykvm.memory import GuestMemory
from pykvm.net import frames
from pykvm.net.port import Port, connect
from pykvm.turn import TURN_BYTES

MAC, PEER = bytes.fromhex("525400000002"), bytes.fromhex("020000000009")
RAM = 1 << 20
TX_RING, RX_RING, TX_BUFFER, RX_BUFFERS = 0x1000, 0x2000, 0x3000, 0x10000
COUNT = 8
EOP, IC, RS, DEXT, VLE = 1, 4, 8, 0x20, 0x40


def frame(target: bytes = MAC, size: int = 60) -> bytes:
    return (target + PEER + b"\x88\xb5" + bytes(range(256)) * 64)[:size]


class Bench:
    """A card with a driver, memory, and somebody at the other end."""

    def __init__(self, control: int = RCTL.BAM | RCTL.SECRC) -> None:
        self.memory = GuestMemory()
        self.memory.add(0, RAM)
        self.line: list[bool] = []
        self.posted: list[tuple[Callable[[], None], float]] = []
        self.now_ns = 0
        self.card = Nic82540em(
            self.memory,
            self.line.append,
            lambda call, delay_s: self.posted.append((call, delay_s)),
            frames.format_mac(MAC),
            lambda: self.now_ns,
        )
        self.sent: list[bytes] = []
        self.port = Port(lambda *frames: self.sent.extend(frames))
        connect(self.card.port, self.port)
        self[Reg.CTRL] = CTRL.SLU
        self[Reg.TDBAL], self[Reg.TDLEN] = TX_RING, 16 * COUNT
        self[Reg.RDBAL], self[Reg.RDLEN] = RX_RING, 16 * COUNT
        for number in range(COUNT):
            gpa = RX_BUFFERS + 2048 * number
            self.memory.write(RX_RING + 16 * number, struct.pack("<QQ", gpa, 0))
        self[Reg.TCTL] = TCTL.EN
        self[Reg.RCTL] = RCTL.EN | control
        self[Reg.RDT] = COUNT - 1
        self.tail = 0
        self[Reg.ICR] = 0xFFFF_FFFF

    def __getitem__(self, offset: int) -> int:
        return self.card.read(offset, 4)

    def __setitem__(self, offset: int, value: int) -> None:
        self.card.write(offset, 4, value)

    def describe(self, gpa: int, size: int, command: int, cso: int = 0, css: int = 0) -> None:
        data = struct.pack("<QHBBBBH", gpa, size, cso, command, 0, css, 5)
        self.memory.write(TX_RING + 16 * self.tail, data)
        self.tail = (self.tail + 1) % COUNT

    def send(self, data: bytes, command: int = EOP | RS, **offsets: int) -> None:
        self.memory.write(TX_BUFFER, data)
        self.describe(TX_BUFFER, len(data), command, **offsets)
        self[Reg.TDT] = self.tail

    def work(self) -> None:
        while self.posted:
            self.posted.pop(0)[0]()

    def receive(self, *sent: bytes) -> None:
        for each in sent:
            self.port.send(each)
        self.work()

    def received(self, number: int = 0) -> tuple[bytes, int, int, int]:
        fields = struct.unpack("<QHHBBH", self.memory.read(RX_RING + 16 * number, 16))
        gpa, size, _, status, errors, special = fields
        return self.memory.read(gpa, size) if size else b"", status, errors, special


# Registers.


def test_addresses_come_from_the_eeprom_by_both_interfaces() -> None:
    bench = Bench()
    words = []
    for number in range(64):
        bench[Reg.EERD] = number << 8 | 1
        assert bench[Reg.EERD] & 1 << 4
        words.append(bench[Reg.EERD] >> 16)
    assert struct.pack("<3H", *words[:3]) == MAC
    assert sum(words) & 0xFFFF == 0xBABA
    assert [microwire(bench, number) for number in range(64)] == words
    assert struct.pack("<II", bench[Reg.RA], bench[Reg.RA + 4]) == MAC + b"\0\x80"


def microwire(bench: Bench, number: int) -> int:
    """A word by the EEPROM's pins."""

    def clock(bit: int) -> int:
        for pins in (2 | 4 * bit, 2 | 4 * bit | 1, 2 | 4 * bit):
            bench[Reg.EECD] = pins | 0x40
        return bench[Reg.EECD] >> 3 & 1

    for position in reversed(range(9)):
        clock((0b110 << 6 | number) >> position & 1)
    value = 0
    for _ in range(16):
        value = value << 1 | clock(0)
    bench[Reg.EECD] = 0
    return value


def test_the_transceiver_tells_of_the_link() -> None:
    bench = Bench()
    bench[Reg.MDIC] = 2 << 26 | 1 << 21 | 1 << 16
    assert bench[Reg.MDIC] & (1 << 28 | 4) == 1 << 28 | 4
    assert bench[Reg.STATUS] & STATUS.LU
    bench[Reg.IMS] = ICR.LSC
    bench.card.set_link(False)
    assert not bench[Reg.STATUS] & STATUS.LU
    assert bench.line == [True]
    assert bench[Reg.ICR] == ICR.LSC
    bench.send(frame(PEER))
    assert bench.sent == []


def test_a_reset_forgets_what_was_set() -> None:
    bench = Bench()
    bench[Reg.IMS] = bench[Reg.ICS] = ICR.TXDW
    bench[Reg.CTRL] = CTRL.RST
    assert [bench[each] for each in (Reg.IMS, Reg.RCTL, Reg.TDLEN, Reg.ICR)] == [0] * 4
    assert bench.line == [True, False]


# Frames out.


def test_a_frame_goes_out_from_several_buffers() -> None:
    bench = Bench()
    data = frame(PEER, 90)
    bench.memory.write(TX_BUFFER, data)
    bench.describe(TX_BUFFER, 40, 0)
    bench.describe(TX_BUFFER + 40, 50, EOP | RS)
    bench[Reg.TDT] = 2
    assert bench.sent == [data]
    assert bench[Reg.TDH] == 2
    assert bench.memory[TX_RING + 16 + 12] == 1
    assert bench[Reg.ICR] & (ICR.TXDW | ICR.TXQE) == ICR.TXDW | ICR.TXQE
    assert (bench[Stat.GPTC], bench[Stat.GPTC], bench[Stat.GOTCL]) == (1, 0, 94)


def test_checksum_tag_and_padding_are_put_in() -> None:
    bench = Bench()
    bench[Reg.TCTL] = TCTL.EN | TCTL.PSP
    bench[Reg.CTRL] = CTRL.SLU | CTRL.VME
    bench.send(frame(PEER, 40), EOP | IC | RS, cso=20, css=14)
    bench.send(frame(PEER, 40), EOP | VLE | RS)
    value = frames.checksum(frame(PEER, 40)[14:])
    assert bench.sent[0][20:22] == value.to_bytes(2, "big")
    assert len(bench.sent[0]) == 60
    assert frames.vlan_of(bench.sent[1]) == 5


# Frames in.


def test_a_frame_comes_in_with_and_without_fcs() -> None:
    bench = Bench()
    bench.receive(frame())
    data, status, errors, _ = bench.received()
    assert (data, status & 3, errors) == (frame(), 3, 0)
    assert bench[Reg.ICR] & ICR.RXT0
    bench[Reg.RCTL] = RCTL.EN
    bench.receive(frame(size=50))
    padded = frames.pad(frame(size=50))
    assert bench.received(1)[0] == padded + zlib.crc32(padded).to_bytes(4, "little")
    assert (bench[Stat.GPRC], bench[Stat.PRC64]) == (2, 2)


def test_a_long_frame_takes_several_descriptors() -> None:
    bench = Bench(RCTL.SECRC | RCTL.LPE | 3 << RCTL.BSIZE_SHIFT)
    bench.receive(frame(size=600))
    pieces = [bench.received(number) for number in range(3)]
    assert b"".join(each[0] for each in pieces) == frame(size=600)
    assert [each[1] & 3 for each in pieces] == [1, 1, 3]


def test_filters() -> None:
    group, other = bytes.fromhex("01005e000001"), bytes.fromhex("0200000000ff")

    def taken(bench: Bench, data: bytes) -> bool:
        before = bench[Reg.RDH]
        bench.receive(data)
        return bench[Reg.RDH] != before

    bench = Bench(RCTL.SECRC)
    assert not any(taken(bench, frame(each)) for each in (frames.BROADCAST, group, other))
    bench[Reg.RA + 8], bench[Reg.RA + 12] = struct.unpack("<II", other + b"\0\x80")
    assert taken(bench, frame(other))
    value = (group[4] >> 4 | group[5] << 4) & 0xFFF
    bench[Reg.MTA + 4 * (value >> 5)] = 1 << (value & 31)
    assert taken(bench, frame(group))
    assert not taken(Bench(RCTL.UPE), frame(group))
    assert taken(Bench(RCTL.MPE), frame(group))
    assert taken(Bench(RCTL.BAM), frame(frames.BROADCAST))
    bench[Reg.RCTL] = RCTL.EN | RCTL.VFE | RCTL.SECRC
    assert not taken(bench, frames.tag(frame(), 40))
    bench[Reg.VFTA + 4] = 1 << 8
    bench[Reg.CTRL] = CTRL.SLU | CTRL.VME
    assert taken(bench, frames.tag(frame(), 40))
    data, status, _, special = bench.received(bench[Reg.RDH] - 1)
    assert (data, status & 8, special) == (frame(), 8, 40)


def test_frames_wait_for_descriptors_and_are_lost_in_the_end() -> None:
    bench = Bench()
    bench.receive(*[frame()] * 10)
    assert bench[Reg.RDH] == COUNT - 1
    assert bench[Stat.RNBC] > 0
    bench[Reg.RDT] = 2
    assert bench[Reg.RDH] == 2
    bench.receive(*[frame()] * 3000)
    assert bench[Stat.MPC] > 1000
    assert bench[Reg.ICR] & ICR.RXO
    assert len(bench.card.inbox) <= 1024


def test_loopback_brings_back_what_is_sent() -> None:
    bench = Bench(RCTL.SECRC | 3 << RCTL.LBM_SHIFT)
    bench.send(frame())
    assert bench.sent == []
    assert bench.received()[0] == frame()


# Interrupts.


def test_interrupts_follow_mask_and_reads() -> None:
    bench = Bench()
    bench[Reg.ICS] = ICR.RXT0
    assert bench.line == []
    bench[Reg.IMS] = ICR.RXT0
    bench[Reg.IMC] = ICR.RXT0
    bench[Reg.IMS] = ICR.RXT0
    assert bench[Reg.ICR] == ICR.RXT0
    assert bench.line == [True, False, True, False]
    assert bench[Reg.ICR] == 0


def test_interrupts_are_throttled() -> None:
    bench = Bench()
    bench[Reg.IMS], bench[Reg.ITR] = ICR.RXT0, 1000  # 256 µs
    for _ in range(3):
        bench[Reg.ICS] = ICR.RXT0
        assert bench[Reg.ICR] == ICR.RXT0
    assert bench.line == [True, False]
    bench[Reg.ICS] = ICR.RXT0
    ((call, delay_s),) = bench.posted
    assert delay_s == pytest.approx(256e-6)
    bench.now_ns = 256_000
    call()
    assert bench.line == [True, False, True]


# Hostile guests.


@pytest.mark.parametrize("gpa", [RAM, RAM - 8, 1 << 63, 0xFFFF_FFFF_FFFF_FFF8])
def test_buffers_that_are_not_ram(gpa: int) -> None:
    bench = Bench()
    bench.describe(gpa, 100, EOP | RS)
    bench[Reg.TDT] = 1
    assert (bench.sent, bench.card.transmit_errors) == ([], 1)
    bench.memory.write(RX_RING, struct.pack("<Q", gpa))
    bench.receive(frame())
    status, errors = bench.memory.read(RX_RING + 12, 2)
    assert (status & 1, errors) == (1, 0x80)


@pytest.mark.parametrize("gpa", [RAM, 0xFFFF_FFF0])
@pytest.mark.parametrize("high", [0, 0xFFFF_FFFF])
def test_rings_that_are_not_ram(gpa: int, high: int) -> None:
    bench = Bench()
    for base in (Reg.TDBAL, Reg.RDBAL):
        bench[base], bench[base + 4] = gpa, high
    bench[Reg.TDT] = 3
    bench.receive(frame())
    assert (bench.sent, bench[Reg.TDH]) == ([], 0)


@pytest.mark.parametrize(("offset", "value"), [(0x10, 99), (0x18, 99), (0x18, COUNT), (8, 0)])
def test_heads_tails_and_lengths_that_cannot_be(offset: int, value: int) -> None:
    bench = Bench()
    bench[Reg.TDBAL + offset] = bench[Reg.RDBAL + offset] = value
    bench[Reg.TDT] = value if offset == 0x18 else 1
    bench.receive(frame())
    assert bench.sent == []


def test_frames_without_end_do_not_grow() -> None:
    bench = Bench()
    bench.memory.write(TX_RING, struct.pack("<QHBBBBH", 0, 0xFFFF, 0, 0, 0, 0, 0) * COUNT)
    for turn in range(100):
        bench[Reg.TDT] = (turn * 7 + 7) % COUNT
    bench.memory.write(TX_RING, struct.pack("<QHBBBBH", 0, 0, 0, EOP, 0, 0, 0) * COUNT)
    bench[Reg.TDT] = (bench[Reg.TDH] + 1) % COUNT
    assert (bench.sent, bench.card.transmit_errors) == ([], 1)


# Much at once, and memory that may not be written.


def test_a_ring_of_long_frames_is_sent_in_turns() -> None:
    bench = Bench()
    count = 200
    gpa = 0x8_0000
    bench.memory.write(TX_BUFFER, frame(PEER, 16_000))
    entry = struct.pack("<QHBBBBH", TX_BUFFER, 16_000, 0, EOP | RS, 0, 0, 0)
    bench.memory.write(gpa, entry * (count + 24))
    bench[Reg.TCTL] = 0
    bench[Reg.TDBAL], bench[Reg.TDLEN], bench[Reg.TDH] = gpa, 16 * (count + 24), 0
    bench[Reg.TDT] = count
    bench[Reg.TCTL] = TCTL.EN
    assert TURN_BYTES <= 16_000 * len(bench.sent) < TURN_BYTES + 16_000
    assert len(bench.posted) == 1
    bench[Reg.TDT] = count
    assert len(bench.posted) == 1  # what is put off does not pile up
    bench.work()
    assert len(bench.sent) == count
    assert bench[Reg.TDH] == count


@pytest.mark.parametrize("part", ["transmit ring", "receive ring", "buffers"])
def test_nothing_is_written_to_read_only_memory(part: str) -> None:
    bench = Bench()
    rom = 0x80_0000
    bench.memory.add(rom, 0x1000, readonly=True)
    if part == "transmit ring":
        bench.memory.write(TX_BUFFER, frame(PEER))
        bench.memory.write(rom, struct.pack("<QHBBBBH", TX_BUFFER, 60, 0, EOP | RS, 0, 0, 0))
        bench[Reg.TDBAL] = rom
    elif part == "receive ring":
        bench.memory.write(rom, struct.pack("<QQ", RX_BUFFERS, 0) * COUNT)
        bench[Reg.RDBAL] = rom
    else:
        bench.memory.write(RX_RING, struct.pack("<QQ", rom, 0) * COUNT)
    before = bench.memory.read(rom, 0x1000)
    bench[Reg.TDT] = 1
    bench.receive(frame())
    assert bench.memory.read(rom, 0x1000) == before
    if part == "buffers":
        assert bench.received()[2] == 0x80  # RXE, as for addresses outside of memory
