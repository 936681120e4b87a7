"""Switching off, starting afresh, and the timer that comes with it: ACPI's fixed hardware.

Nothing here raises an interrupt: there is no button to press, and the timer's carry is a
status bit that nobody needs to be told of.

Source: ACPI 6.5 §4.8 (fixed hardware), cited as §; Intel ICH9 data sheet §13.7.5 (reset control).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pykvm.devices.bytewise import Bytewise

EVENT_SIZE, CONTROL_SIZE, TIMER_SIZE = 4, 2, 4
TIMER_HZ = 3_579_545
NS_PER_S = 1_000_000_000

_ENABLES = 0x0521  # §4.8.3.2: timer, global lock, power and sleep button, clock
_SCI_EN = 1 << 0  # §4.8.3.2.1
_SLP_TYP_SHIFT, _SLP_TYP_MASK = 10, 7
_SLP_EN = 1 << 13
_RESET_CPU = 1 << 2
_PULSE_RESET = 0xFE  # 8042 command: pulse output bit 0, the processor's reset line
_NOBODY = 0xFF


class Pm1Event(Bytewise):
    """Status and enable register, two bytes each: events may be enabled, and never come."""

    def __init__(self) -> None:
        self._enable = 0

    def read_byte(self, offset: int) -> int:
        """Status is always 0."""
        return (self._enable << 16) >> 8 * offset & 0xFF

    def write_byte(self, offset: int, value: int) -> None:
        """Writing to status clears what is not set."""
        if offset >= 2:
            shift = 8 * (offset - 2)
            self._enable = (self._enable & ~(0xFF << shift) | value << shift) & _ENABLES


class Pm1Control(Bytewise):
    """The register that puts the machine to sleep; it knows one kind, from which none wakes.

    Args:
        sleep_type_off: the SLP_TYP that switches off; the DSDT's _S5 tells it to the guest.
        end: called when the guest does.
    """

    def __init__(self, sleep_type_off: int, end: Callable[[], None]) -> None:
        self._off = sleep_type_off
        self._end = end
        self._value = 0

    def read_byte(self, offset: int) -> int:
        """The machine is in ACPI mode, always; SLP_EN reads as 0."""
        return (self._value | _SCI_EN) >> 8 * offset & 0xFF

    def write_byte(self, offset: int, value: int) -> None:
        """SLP_EN acts on the type that is written with it."""
        self._value = self._value & ~(0xFF << 8 * offset) | value << 8 * offset
        if self._value & _SLP_EN:
            self._value &= ~_SLP_EN
            if self._value >> _SLP_TYP_SHIFT & _SLP_TYP_MASK == self._off:
                self._end()


class PmTimer:
    """§4.8.3.3: 32 bits that count up at 3.579545 MHz.

    Args:
        clock_ns: gives the time.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._start_ns = clock_ns()

    def read(self, offset: int, size_bytes: int) -> int:
        """The count, or a part of it."""
        count = (self._clock_ns() - self._start_ns) * TIMER_HZ // NS_PER_S & 0xFFFF_FFFF
        return count >> 8 * offset & (1 << 8 * size_bytes) - 1

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """It cannot be set."""


class ResetControl(Bytewise):
    """Port 0xcf9: setting RST_CPU resets the machine.

    Args:
        end: called when the guest does.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._value = 0

    def read_byte(self, offset: int) -> int:
        """What was written, but for RST_CPU."""
        return self._value

    def write_byte(self, offset: int, value: int) -> None:
        """A full or a processor's reset: both start afresh."""
        self._value = value & ~_RESET_CPU
        if value & _RESET_CPU:
            self._end()


class KeyboardReset(Bytewise):
    """Port 0x64 where there is no keyboard controller: all it does is to reset the machine.

    Args:
        end: called when the guest pulses the line.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def read_byte(self, offset: int) -> int:
        """Nobody is there."""
        return _NOBODY

    def write_byte(self, offset: int, value: int) -> None:
        """One command counts."""
        if value == _PULSE_RESET:
            self._end()
