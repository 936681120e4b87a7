"""The transceiver behind MDIC, as much of it as drivers look at. SDM 8254x §8, §13.4.8."""

from __future__ import annotations

_ADDRESS = 1
_WRITE, _READ = 1, 2
_READY, _ERROR = 1 << 28, 1 << 30
CONTROL, STATUS, SPECIFIC_STATUS = 0, 1, 17
_CONTROL_LOOPBACK, _CONTROL_RESET, _CONTROL_RESTART = 1 << 14, 1 << 15, 1 << 9
_CONTROL_VALUE = 0x1140  # auto-negotiation, full duplex, 1000 Mb/s
_FIXED = {2: 0x0141, 3: 0x0C20, 5: 0x45E1, 10: 0x3C00}  # identifier; what the partner can do
_WRITABLE = {CONTROL: _CONTROL_VALUE, 4: 0x01E1, 9: 0x0200, 16: 0x0068, 18: 0, 20: 0x0CE4}
_STATUS_UP, _STATUS_DOWN = 0x796D, 0x7949  # with and without link and negotiation
_SPECIFIC_UP, _SPECIFIC_DOWN = 0xAC00, 0x8000  # 1000 Mb/s, full duplex, resolved, link


class Phy:
    """Its registers."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As after power-on."""
        self._values = dict(_WRITABLE)
        self._mdic = _READY

    @property
    def is_looped(self) -> bool:
        """Whether what is sent comes back here."""
        return bool(self._values[CONTROL] & _CONTROL_LOOPBACK)

    def read_mdic(self) -> int:
        """The last command, which is done."""
        return self._mdic

    def write_mdic(self, value: int, link: bool) -> None:
        """Read or write a register of the transceiver."""
        number, address, operation = value >> 16 & 31, value >> 21 & 31, value >> 26 & 3
        self._mdic = value & 0x2FFF_FFFF | _READY
        if address != _ADDRESS or operation not in (_READ, _WRITE):
            self._mdic |= _ERROR
        elif operation == _READ:
            self._mdic = self._mdic & ~0xFFFF | self._read(number, link)
        elif number in self._values:
            self._write(number, value & 0xFFFF)

    def _read(self, number: int, link: bool) -> int:
        if number == STATUS:
            return _STATUS_UP if link else _STATUS_DOWN
        if number == SPECIFIC_STATUS:
            return _SPECIFIC_UP if link else _SPECIFIC_DOWN
        return self._values.get(number, _FIXED.get(number, 0))

    def _write(self, number: int, value: int) -> None:
        if number == CONTROL and value & _CONTROL_RESET:
            self._values = dict(_WRITABLE)
        else:
            self._values[number] = value & ~(_CONTROL_RESTART if number == CONTROL else 0)
