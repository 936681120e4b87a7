"""The transmit and receive rings: legacy descriptors, and DMA. SDM 8254x §3.2, §3.3, §3.4.

The register file is a mapping that both share; nothing here knows where the card sits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from pykvm.devices.nic.registers import CTRL, ICR, RCTL, SIZE_CLASSES, TCTL, Reg, Stat
from pykvm.errors import MemoryAccessError
from pykvm.memory import GuestMemory
from pykvm.net import frames
from pykvm.turn import Turn

DESCRIPTOR_SIZE = 16
FRAME_MAX = 16_288  # §3.3.3; with the FCS
LONG = 1522  # §13.4.22: longer frames need LPE
_TRANSMIT = struct.Struct("<QHBBBBH")  # address, length, CSO, CMD, STA, CSS, special: §3.3.3
_RECEIVE = struct.Struct("<QHHBBH")  # address, length, checksum, status, errors, special: §3.2.3
_CMD_EOP, _CMD_IC, _CMD_RS, _CMD_DEXT, _CMD_VLE = 0x01, 0x04, 0x08, 0x20, 0x40
_DD, _EOP, _IXSM, _VP, _PIF = 0x01, 0x02, 0x04, 0x08, 0x80
_ERROR_RXE = 0x80
_FCS_SIZE = 4


class Ring:
    """Where a ring is, as its registers say now; a guest may have put anything there."""

    def __init__(self, registers: dict[int, int], base: int) -> None:
        self._registers = registers
        self._base = base
        self.gpa = registers[base] & ~0xF | registers[base + 4] << 32
        self.count = registers[base + 8] // DESCRIPTOR_SIZE
        self.head, self.tail = registers[base + 0x10], registers[base + 0x18]

    @property
    def waiting(self) -> int:
        """Descriptors that are the card's; 0 where head or tail is not in the ring."""
        if self.head >= self.count or self.tail >= self.count:
            return 0
        return (self.tail - self.head) % self.count

    @property
    def place(self) -> int:
        """Where the next descriptor is."""
        return self.gpa + DESCRIPTOR_SIZE * self.head

    def advance(self) -> None:
        """The descriptor is done."""
        self.head = (self.head + 1) % self.count
        self._registers[self._base + 0x10] = self.head


class Statistics:
    """Counters that a read clears. §13.7."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}

    def add(self, offset: int, value: int = 1) -> None:
        """Count; at their largest value they stay."""
        limit = (1 << 64 if offset in Stat.LOW_HALVES else 1 << 32) - 1
        self._values[offset] = min(self._values.get(offset, 0) + value, limit)

    def count_size(self, first: int, size_bytes: int) -> None:
        """One of the six counters by size."""
        number = sum(size_bytes > each for each in SIZE_CLASSES)
        self.add(first + 4 * number)

    def read(self, offset: int) -> int:
        """A counter; the high half of a long one clears both."""
        if offset in Stat.LOW_HALVES:
            return self._values.get(offset, 0) & 0xFFFF_FFFF
        if offset - 4 in Stat.LOW_HALVES:
            return self._values.pop(offset - 4, 0) >> 32
        return self._values.pop(offset, 0)

    def clear(self) -> None:
        """All of them."""
        self._values.clear()


class Transmitter:
    """Takes frames out of the transmit ring.

    Args:
        send: what a whole frame goes to.
        cause: raises interrupt causes.
        turn: the card's.
    """

    def __init__(
        self,
        registers: dict[int, int],
        memory: GuestMemory,
        statistics: Statistics,
        send: Callable[[bytes], None],
        cause: Callable[[int], None],
        turn: Turn,
    ) -> None:
        self._registers = registers
        self._memory = memory
        self._statistics = statistics
        self._send = send
        self._cause = cause
        self._turn = turn
        self.reset()

    def reset(self) -> None:
        """Forget a frame that is not whole yet."""
        self._frame = bytearray()
        self._is_bad = False
        self.errors = 0

    def run(self) -> bool:
        """Do what is there: once around the ring at most; False where the turn is over before."""
        if not self._registers[Reg.TCTL] & TCTL.EN:
            return True
        ring = Ring(self._registers, Reg.TDBAL)
        causes = 0
        for _ in range(ring.waiting):
            if self._turn.is_over:
                self._cause(causes)
                return False
            try:
                causes |= self._one(ring)
            except MemoryAccessError:
                self.errors += 1  # the ring is not RAM: nothing can be read or told
                return True
            ring.advance()
        if ring.waiting == 0 and ring.count:
            causes |= ICR.TXQE
        self._cause(causes)
        return True

    def _one(self, ring: Ring) -> int:
        fields = _TRANSMIT.unpack(self._memory.read(ring.place, DESCRIPTOR_SIZE))
        gpa, size_bytes, offset, command, status, start, special = fields
        self._turn.spend(size_bytes)
        if command & _CMD_DEXT:
            self._is_bad = True  # contexts and what needs them: not of the legacy model
        elif len(self._frame) + size_bytes > FRAME_MAX:
            self._is_bad = True
        elif not self._is_bad:
            try:
                self._frame += self._memory.read(gpa, size_bytes)
            except MemoryAccessError:
                self._is_bad = True
        if command & _CMD_EOP:
            self._finish(command, offset, start, special)
        if not command & _CMD_RS:
            return 0
        self._memory.write_by_device(ring.place + 12, bytes((status | _DD,)))
        return ICR.TXDW

    def _finish(self, command: int, offset: int, start: int, special: int) -> None:
        frame, bad = bytes(self._frame), self._is_bad
        self._frame, self._is_bad = bytearray(), False
        if bad or len(frame) < frames.HEADER_SIZE:
            self.errors += 1
            return
        if command & _CMD_IC and start <= offset and offset + 2 <= len(frame):
            value = frames.checksum(frame[start:])
            frame = frame[:offset] + value.to_bytes(2, "big") + frame[offset + 2 :]
        if command & _CMD_VLE and self._registers[Reg.CTRL] & CTRL.VME:
            frame = frames.tag(frame, special)
        if self._registers[Reg.TCTL] & TCTL.PSP:
            frame = frames.pad(frame)
        self._count(frame)
        self._send(frame)

    def _count(self, frame: bytes) -> None:
        size_bytes, add = len(frame) + _FCS_SIZE, self._statistics.add
        for counter in (Stat.GPTC, Stat.TPT):
            add(counter)
        for counter in (Stat.GOTCL, Stat.TOTL):
            add(counter, size_bytes)
        if frames.is_group(frame):
            add(Stat.BPTC if frame[:6] == frames.BROADCAST else Stat.MPTC)
        self._statistics.count_size(Stat.PTC64, size_bytes)


class Receiver:
    """Puts frames into the receive ring."""

    def __init__(
        self,
        registers: dict[int, int],
        memory: GuestMemory,
        statistics: Statistics,
        cause: Callable[[int], None],
    ) -> None:
        self._registers = registers
        self._memory = memory
        self._statistics = statistics
        self._cause = cause

    @property
    def buffer_size(self) -> int:
        """§13.4.22: BSIZE and BSEX; the reserved value is taken as the smallest."""
        control = self._registers[Reg.RCTL]
        size = 2048 >> (control >> RCTL.BSIZE_SHIFT & 3)
        if control & RCTL.BSEX:
            return 16 * size if size < 2048 else 2048
        return size

    def put(self, frame: bytes) -> bool:
        """Store a frame; False where there are too few descriptors now."""
        control = self._registers[Reg.RCTL]
        data, special, status = self._prepare(frame)
        if len(data) + (_FCS_SIZE if control & RCTL.SECRC else 0) > self._longest:
            self._statistics.add(Stat.ROC)
            return True
        size = self.buffer_size
        count = -(-len(data) // size)
        ring = Ring(self._registers, Reg.RDBAL)
        if count >= ring.count > 0:
            self._statistics.add(Stat.MPC)
            return True
        if ring.waiting < count:
            self._statistics.add(Stat.RNBC)
            return False
        for number in range(count):
            piece = data[number * size : (number + 1) * size]
            last = _EOP if number == count - 1 else 0
            if not self._store(ring, piece, status | last | _DD, special):
                return True
        self._count(frame)
        low = ring.count >> 1 + (control >> RCTL.RDMTS_SHIFT & 3)
        self._cause(ICR.RXT0 | (ICR.RXDMT0 if ring.waiting <= low else 0))
        return True

    @property
    def _longest(self) -> int:
        return FRAME_MAX if self._registers[Reg.RCTL] & RCTL.LPE else LONG

    def _prepare(self, frame: bytes) -> tuple[bytes, int, int]:
        """What goes into memory, the VLAN's control information, and status bits."""
        special, status = 0, _IXSM
        if self._registers[Reg.CTRL] & CTRL.VME and frames.vlan_of(frame) is not None:
            special, status = int.from_bytes(frame[14:16], "big"), status | _VP
            frame = frames.untag(frame)
        if frames.is_group(frame):
            status |= _PIF if frame[:6] != frames.BROADCAST else 0
        frame = frames.pad(frame)
        if not self._registers[Reg.RCTL] & RCTL.SECRC:
            frame += zlib.crc32(frame).to_bytes(_FCS_SIZE, "little")
        return frame, special, status

    def _store(self, ring: Ring, piece: bytes, status: int, special: int) -> bool:
        """One buffer and its descriptor; False where the ring itself is not RAM."""
        errors = 0
        try:
            (gpa,) = struct.unpack("<Q", self._memory.read(ring.place, 8))
        except MemoryAccessError:
            return False
        try:
            self._memory.write_by_device(gpa, piece)
        except MemoryAccessError:
            errors = _ERROR_RXE
        head = self._registers[Reg.RXCSUM] & 0xFF
        value = frames.ones_sum(piece[head:]) if errors == 0 else 0
        done = _RECEIVE.pack(gpa, len(piece), value, status, errors, special)
        try:
            self._memory.write_by_device(ring.place, done)
        except MemoryAccessError:
            return False
        ring.advance()
        return True

    def _count(self, frame: bytes) -> None:
        size_bytes, add = max(len(frame), frames.MIN_SIZE) + _FCS_SIZE, self._statistics.add
        for counter in (Stat.GPRC, Stat.TPR):
            add(counter)
        for counter in (Stat.GORCL, Stat.TORL):
            add(counter, size_bytes)
        if frames.is_group(frame):
            add(Stat.BPRC if frame[:6] == frames.BROADCAST else Stat.MPRC)
        self._statistics.count_size(Stat.PRC64, size_bytes)


def accepts(registers: dict[int, int], frame: bytes) -> bool:
    """Whether a frame passes the filters. §3.2.1, §13.5."""
    control = registers[Reg.RCTL]
    vlan = frames.vlan_of(frame) if control & RCTL.VFE else None
    if vlan is not None and not registers.get(Reg.VFTA + 4 * (vlan >> 5), 0) >> (vlan & 31) & 1:
        return False
    target = frame[:6]
    if target == frames.BROADCAST and control & RCTL.BAM:
        return True
    group = frames.is_group(target)
    if control & (RCTL.MPE if group else RCTL.UPE) or _is_exact(registers, target):
        return True
    return group and _is_hashed(registers, target, control >> RCTL.MO_SHIFT & 3)


def _is_exact(registers: dict[int, int], target: bytes) -> bool:
    low, high = struct.unpack("<IH", target)
    return any(
        registers.get(offset, 0) == low and registers.get(offset + 4, 0) == 1 << 31 | high
        for offset in range(Reg.RA, Reg.RA_END, 8)
    )


def _is_hashed(registers: dict[int, int], target: bytes, choice: int) -> bool:
    """Twelve bits of the address choose one of 4,096. §13.5.1."""
    value = (target[4] | target[5] << 8) >> (4, 3, 2, 0)[choice] & 0xFFF
    return bool(registers.get(Reg.MTA + 4 * (value >> 5), 0) >> (value & 31) & 1)
