"""The card's EEPROM, 64 words, by its two interfaces. SDM 8254x §5.3 to §5.6, §13.4.3, §13.4.4."""

from __future__ import annotations

import struct

_WORDS = 64
_SUM = 0xBABA  # of all words, §5.6.35
_SK, _CS, _DI, _DO, _REQ, _GNT, _PRES = 1, 2, 4, 8, 0x40, 0x80, 0x100
_EERD_START, _EERD_DONE = 1, 1 << 4
_READ = 0b110  # start bit and opcode
_COMMAND_BITS = 9  # and six of address


class Eeprom:
    """The words, and the Microwire state machine in front of them."""

    def __init__(self, mac: bytes) -> None:
        words = [0xFFFF] * _WORDS
        words[0:3] = struct.unpack("<3H", mac)
        words[0x0B:0x0F] = 0x100E, 0x8086, 0x100E, 0x8086  # subsystem, device
        words[0x3F] = _SUM - sum(words[:0x3F]) & 0xFFFF
        self.words = words
        self.reset()

    def reset(self) -> None:
        """Nothing under way."""
        self._eecd = self._eerd = self._shifted = self._count = 0
        self._output: list[int] = []

    def read_eerd(self) -> int:
        """The word that was asked for, which is there at once."""
        return self._eerd

    def write_eerd(self, value: int) -> None:
        """Ask for a word."""
        self._eerd = value & 0xFF00
        if value & _EERD_START:
            word = self.words[(value >> 8 & 0xFF) % _WORDS]
            self._eerd |= word << 16 | _EERD_DONE

    def read_eecd(self) -> int:
        """The pins; whoever asks for access has it."""
        granted = _GNT if self._eecd & _REQ else 0
        data = _DO if not self._output or self._output[-1] else 0
        return self._eecd | granted | data | _PRES

    def write_eecd(self, value: int) -> None:
        """Move the pins: a bit goes in, and one comes out, where the clock rises."""
        rises = value & ~self._eecd & _SK
        self._eecd = value & (_SK | _CS | _DI | _REQ | 0x30)
        if not value & _CS:
            self._shifted = self._count = 0
            self._output = []
        elif rises:
            self._clock(bool(value & _DI))

    def _clock(self, bit: bool) -> None:
        if self._output:
            if len(self._output) > 1:
                self._output.pop()
            return
        if self._count == 0 and not bit:
            return  # before the start bit
        self._shifted = self._shifted << 1 | bit
        self._count += 1
        if self._count == _COMMAND_BITS:
            if self._shifted >> 6 == _READ:
                word = self.words[self._shifted % _WORDS]
                self._output = [word >> number & 1 for number in range(16)] + [0]
            self._shifted = self._count = 0
