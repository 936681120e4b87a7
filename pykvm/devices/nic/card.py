"""The register file of the card, and how its parts hang together. SDM 8254x §13."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from functools import partial

from pykvm.devices.nic.datapath import Receiver, Statistics, Transmitter, accepts
from pykvm.devices.nic.eeprom import Eeprom
from pykvm.devices.nic.interrupts import Interrupts
from pykvm.devices.nic.phy import Phy
from pykvm.devices.nic.registers import CTRL, ICR, RCTL, STATUS, Reg, Stat
from pykvm.memory import GuestMemory
from pykvm.net import frames
from pykvm.net.port import Inbox, Port
from pykvm.turn import Turn

_LOOPED = (1, 3)  # RCTL.LBM: the MAC, the transceiver

# Writable bits of registers that are more than storage. §13.4, table 13-2.
_MASKS = {
    Reg.RDBAL: 0xFFFF_FFF0, Reg.TDBAL: 0xFFFF_FFF0, Reg.RDLEN: 0xF_FF80, Reg.TDLEN: 0xF_FF80,
    Reg.RDH: 0xFFFF, Reg.RDT: 0xFFFF, Reg.TDH: 0xFFFF, Reg.TDT: 0xFFFF,
    Reg.RDBAH: 0xFFFF_FFFF, Reg.TDBAH: 0xFFFF_FFFF, Reg.VET: 0xFFFF, Reg.RXCSUM: 0x3FF,
    Reg.RCTL: 0x07DF_FFFE, Reg.TCTL: 0x01FF_FFFA,
}  # fmt: skip


class Nic82540em:
    """The card, for a bus of memory-mapped registers.

    Args:
        memory: the machine's.
        set_line: raises or lowers the interrupt line.
        post: runs a call soon or after a delay in seconds, under the machine's lock.
        mac: the address in its EEPROM.
        clock: gives nanoseconds; for interrupt throttling.
        later: takes what the card puts off; in place of `post`.
        work_off: called where there may be some of it, when a register was written.

    Attributes:
        port: where its cable goes.
        turn: what it may do before it puts the rest off.
    """

    def __init__(
        self,
        memory: GuestMemory,
        set_line: Callable[[bool], None],
        post: Callable[[Callable[[], None], float], None],
        mac: str,
        clock: Callable[[], int] = time.monotonic_ns,
        later: Callable[[Callable[[], None]], None] | None = None,
        work_off: Callable[[], None] = lambda: None,
    ) -> None:
        self._mac = frames.parse_mac(mac)
        self._registers: dict[int, int] = {}
        self._counters = Statistics()
        self._interrupts = Interrupts(set_line, post, clock)
        self._eeprom, self._phy = Eeprom(self._mac), Phy()
        self._later = later or (lambda work: post(work, 0.0))
        self._work_off = work_off
        self._is_put_off = False
        self.turn = Turn()
        self.inbox = Inbox(lambda: post(partial(self._serve, transmits=False), 0.0))
        self.port = Port(self.inbox.put, "nic")
        cause = self._interrupts.cause
        self._transmitter = Transmitter(
            self._registers, memory, self._counters, self._send, cause, self.turn
        )
        self._receiver = Receiver(self._registers, memory, self._counters, cause)
        self._cable = True
        self._lost = 0
        self._reset()

    def _reset(self) -> None:
        """§14.3.1: registers as after power-on, addresses out of the EEPROM."""
        self._registers.clear()
        self._registers.update(dict.fromkeys(_MASKS, 0))
        low, high = struct.unpack("<IH", self._mac)
        self._registers[Reg.CTRL] = CTRL.RESET_VALUE
        self._registers[Reg.RA], self._registers[Reg.RA + 4] = low, 1 << 31 | high
        self._counters.clear()
        self._transmitter.reset()
        self._eeprom.reset()
        self._phy.reset()
        self._interrupts.reset()
        self.inbox.clear()

    # For the user.

    @property
    def transmit_errors(self) -> int:
        """Frames that were none, or whose buffers or ring were not RAM."""
        return self._transmitter.errors

    def set_link(self, up: bool) -> None:
        """Pull the cable's plug, or put it in; call it by `Machine.post` while a guest runs."""
        before = self._link
        self._cable = up
        self._tell_link(before)

    @property
    def _link(self) -> bool:
        return self._cable and bool(self._registers[Reg.CTRL] & CTRL.SLU)

    def _tell_link(self, before: bool) -> None:
        if self._link != before:
            self._interrupts.cause(ICR.LSC)

    # Registers.

    def read(self, offset: int, size_bytes: int) -> int:
        """A register of 32 bits, or as much of it as is asked for."""
        if offset % 4 or size_bytes > 4:
            return 0
        return self._read(offset) & (1 << 8 * size_bytes) - 1

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """A register; only whole ones can be written. §13.2."""
        if size_bytes == 4 and offset % 4 == 0:
            self._write(offset, value)

    def _read(self, offset: int) -> int:
        match offset:
            case Reg.STATUS:
                return STATUS.FD | STATUS.SPEED_1000 | (STATUS.LU if self._link else 0)
            case Reg.EECD:
                return self._eeprom.read_eecd()
            case Reg.EERD:
                return self._eeprom.read_eerd()
            case Reg.MDIC:
                return self._phy.read_mdic()
            case Reg.ICR:
                return self._interrupts.take()
            case Reg.ITR:
                return self._interrupts.itr
            case Reg.IMS:
                return self._interrupts.mask
        if Reg.STATISTICS <= offset < Reg.STATISTICS_END:
            return self._counters.read(offset)
        return self._registers.get(offset, 0)

    def _write(self, offset: int, value: int) -> None:
        match offset:
            case Reg.CTRL:
                self._write_control(value)
            case Reg.EECD:
                self._eeprom.write_eecd(value)
            case Reg.EERD:
                self._eeprom.write_eerd(value)
            case Reg.MDIC:
                self._phy.write_mdic(value, self._link)
            case Reg.ICR:
                self._interrupts.clear(value)
            case Reg.ICS:
                self._interrupts.cause(value)
            case Reg.IMS:
                self._interrupts.enable(value)
            case Reg.IMC:
                self._interrupts.enable(0, value)
            case Reg.ITR:
                self._interrupts.itr = value & 0xFFFF
            case _:
                self._store(offset, value)

    def _write_control(self, value: int) -> None:
        if value & CTRL.RST:
            self._reset()
            return
        before = self._link
        if value & CTRL.PHY_RST:
            self._phy.reset()
        self._registers[Reg.CTRL] = value & ~(CTRL.RST | CTRL.PHY_RST)
        self._tell_link(before)

    def _store(self, offset: int, value: int) -> None:
        is_table = Reg.MTA <= offset < Reg.RA_END or Reg.VFTA <= offset < Reg.VFTA_END
        if offset not in _MASKS and offset not in Reg.KEPT and not is_table:
            return
        self._registers[offset] = value & _MASKS.get(offset, 0xFFFF_FFFF)
        if offset in (Reg.TDT, Reg.TCTL, Reg.RDT, Reg.RCTL):
            self._serve(transmits=offset in (Reg.TDT, Reg.TCTL))
            self._work_off()

    # Frames.

    def _serve(self, transmits: bool) -> None:
        """A turn: both rings, or the one that receives."""
        self.turn.begin()
        self.inbox.attend()
        is_done = not transmits or self._transmitter.run()
        if not (self._take_in() and is_done) and not self._is_put_off:
            self._is_put_off = True
            self._later(self._go_on)

    def _go_on(self) -> None:
        self._is_put_off = False
        self._serve(transmits=True)

    def _send(self, frame: bytes) -> None:
        looped = self._registers[Reg.RCTL] >> RCTL.LBM_SHIFT & 3 in _LOOPED or self._phy.is_looped
        if looped:
            self.inbox.put(frame)
        elif self._link:
            self.port.send(frame)

    def _take_in(self) -> bool:
        """Put what waits into the ring, as far as there are descriptors and the turn allows."""
        if self.inbox.lost != self._lost:  # the card's packet buffer ran over
            self._counters.add(Stat.MPC, self.inbox.lost - self._lost)
            self._lost = self.inbox.lost
            self._interrupts.cause(ICR.RXO)
        while not self.turn.is_over:
            waiting = self.inbox.take(1)
            if not waiting:
                return True
            self.turn.spend(len(waiting[0]))
            if self._wants(waiting[0]) and not self._receiver.put(waiting[0]):
                self.inbox.put_back(waiting)
                return True
        return False

    def _wants(self, frame: bytes) -> bool:
        control = self._registers[Reg.RCTL]
        looped = control >> RCTL.LBM_SHIFT & 3 in _LOOPED or self._phy.is_looped
        if not control & RCTL.EN or not (self._link or looped):
            return False
        return len(frame) >= frames.HEADER_SIZE and accepts(self._registers, frame)
