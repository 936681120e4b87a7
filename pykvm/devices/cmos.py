"""CMOS memory and the real-time clock in it. Source: Motorola MC146818 data sheet.

Time is the host's, moved by what the guest sets. Nothing runs between accesses: flags are worked
out when the chip is looked at, and where an interrupt is enabled it looks at itself in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from pykvm.devices import rtc
from pykvm.devices.bytewise import Bytewise
from pykvm.errors import UsageError

SIZE = 2
INDEX, DATA = 0, 1
RAM_SIZE = 128
NMI_MASK = 0x80  # shares the index port; there is no NMI to mask


class Reg:
    """Indices. 0 to 9 and CENTURY are the time, the rest but A to D is memory."""

    SECONDS = 0x00
    SECONDS_ALARM = 0x01
    MINUTES = 0x02
    MINUTES_ALARM = 0x03
    HOURS = 0x04
    HOURS_ALARM = 0x05
    WEEKDAY = 0x06  # 1 is Sunday
    DAY = 0x07
    MONTH = 0x08
    YEAR = 0x09
    A, B, C, D = 0x0A, 0x0B, 0x0C, 0x0D
    EQUIPMENT = 0x14
    BASE_KIB = 0x15  # two bytes: memory below 640 KiB
    EXTENDED_KIB = 0x17  # two bytes: memory above 1 MiB
    CHECKSUM = 0x2E  # two bytes, high one first: sum of 0x10 to 0x2D
    EXTENDED_KIB_FOUND = 0x30  # two bytes: the same, as the firmware counted it
    CENTURY = 0x32
    ABOVE_16M = 0x34  # two bytes: 64 KiB blocks between 16 MiB and 4 GiB
    ABOVE_4G = 0x5B  # three bytes: 64 KiB blocks


class A:
    """Register A."""

    UIP = 1 << 7  # update in progress: the time is about to change
    DIVIDER_32768HZ = 0b010 << 4
    RATE = 0x0F  # period of the periodic flag
    RATE_1024HZ = 6


class B:
    """Register B."""

    SET = 1 << 7  # updates stop while the time is set
    PIE = 1 << 6  # periodic interrupt
    AIE = 1 << 5  # alarm interrupt
    UIE = 1 << 4  # update-ended interrupt
    DM = 1 << 2  # time is binary, not BCD
    H24 = 1 << 1  # hours 0 to 23, not 1 to 12 with PM in bit 7


class C:
    """Register C; reading clears it."""

    IRQF = 1 << 7  # an enabled flag is set
    PF = 1 << 6
    AF = 1 << 5
    UF = 1 << 4


class D:
    """Register D."""

    VRT = 1 << 7  # the battery is good


_PM = 0x80
_DONT_CARE = 0xC0
_ALARMS = (Reg.SECONDS_ALARM, Reg.MINUTES_ALARM, Reg.HOURS_ALARM)
_TIME = frozenset((
    Reg.SECONDS, Reg.MINUTES, Reg.HOURS, Reg.WEEKDAY, Reg.DAY, Reg.MONTH, Reg.YEAR, Reg.CENTURY,
))  # fmt: skip
_MICROSECOND = timedelta(microseconds=1)
_UPDATE_US = 244 + 1984  # warning and update cycle, from the data sheet's table of times
_EQUIPMENT_FPU = 1 << 1
_BASE_KIB = 640
_BLOCK_SIZE = 0x1_0000


class _Time(NamedTuple):
    """What the time registers hold; while they are being set it need not be a date."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int

    @classmethod
    def of(cls, time: datetime) -> _Time:
        return cls(time.year, time.month, time.day, time.hour, time.minute, time.second)

    @property
    def weekday(self) -> int:
        try:
            return date(self.year, self.month, self.day).isoweekday() % 7 + 1
        except ValueError:
            return 1


class Cmos(Bytewise):
    """Index and data register, 128 bytes behind them.

    Args:
        low_bytes: memory below 4 GiB.
        high_bytes: memory above 4 GiB.
        clock: gives the time, without a time zone.
        set_line: raises or lowers the interrupt line.
        look_after: has `look` called, or the line raised, after so many nanoseconds of the
            machine's time; None: not any more.

    Attributes:
        clock: may be replaced at any time. What gives no time is a UsageError when it is read.
    """

    def __init__(
        self,
        low_bytes: int,
        high_bytes: int = 0,
        clock: Callable[[], datetime] = rtc.utc_now,
        set_line: Callable[[bool], None] = lambda level: None,
        look_after: Callable[[int | None], None] = lambda delay_ns: None,
    ) -> None:
        self.clock = clock
        self._index = Reg.D
        self._ram = bytearray(RAM_SIZE)
        self._a = A.DIVIDER_32768HZ | A.RATE_1024HZ
        self._b = B.H24
        self._offset = timedelta(0)
        self._held: _Time | None = None  # the time while it stands still for SET
        self._set_line, self._look_after = set_line, look_after
        self._looked_at: datetime | None = None  # at register A
        self._flags = 0
        self._flags_at = self._now()
        self._periods_at = self._read_clock()
        self._fill(low_bytes, high_bytes)

    def _fill(self, low_bytes: int, high_bytes: int) -> None:
        ram = self._ram
        ram[Reg.EQUIPMENT] = _EQUIPMENT_FPU
        extended_kib = max(0, low_bytes - (1 << 20)) >> 10
        above_16m = max(0, low_bytes - (16 << 20)) // _BLOCK_SIZE
        for index, size_bytes, value in (
            (Reg.BASE_KIB, 2, _BASE_KIB),
            (Reg.EXTENDED_KIB, 2, extended_kib),
            (Reg.EXTENDED_KIB_FOUND, 2, extended_kib),
            (Reg.ABOVE_16M, 2, above_16m),
            (Reg.ABOVE_4G, 3, high_bytes // _BLOCK_SIZE),
        ):
            most = (1 << 8 * size_bytes) - 1
            ram[index : index + size_bytes] = min(value, most).to_bytes(size_bytes, "little")
        checksum = sum(ram[0x10 : Reg.CHECKSUM])
        ram[Reg.CHECKSUM : Reg.CHECKSUM + 2] = checksum.to_bytes(2, "big")

    # Registers.

    def read_byte(self, offset: int) -> int:
        """The byte that the index selects; the index itself cannot be read."""
        if offset == INDEX:
            return 0xFF
        match self._index:
            case Reg.A:
                return self._a | (A.UIP if self._updating() else 0)
            case Reg.B:
                return self._b
            case Reg.C:
                return self._read_flags()
            case Reg.D:
                return D.VRT
            case index if index in _TIME:
                return self._time_byte(index, self._held or _Time.of(self._now()))
        return self._ram[self._index]

    def write_byte(self, offset: int, value: int) -> None:
        """Select a byte or write it; C, D and the UIP bit are read-only."""
        if offset == INDEX:
            self._index = value & ~NMI_MASK
            return
        match self._index:
            case Reg.A:
                self._note_flags()
                self._a = value & ~A.UIP
                self._drive()
            case Reg.B:
                self._write_b(value)
            case Reg.C | Reg.D:
                pass
            case index if index in _TIME:
                self._set_time(index, value)
            case index if index in _ALARMS:
                self._note_flags()
                self._ram[index] = value
                self._drive()
            case index:
                self._ram[index] = value

    def _write_b(self, value: int) -> None:
        self._note_flags()
        if value & B.SET:
            value &= ~B.UIE  # data sheet, "SET"
        if value & B.SET and self._held is None:
            self._held = _Time.of(self._now())
        elif not value & B.SET and self._held is not None:
            self._move_to(self._held)
            self._held = None
        self._b = value
        self._drive()

    # The time.

    def _now(self) -> datetime:
        try:
            return self._read_clock() + self._offset
        except OverflowError:
            self._offset = timedelta(0)
            return self._read_clock()

    def _read_clock(self) -> datetime:
        time = self.clock() if callable(self.clock) else self.clock
        if not isinstance(time, datetime) or time.tzinfo:
            raise UsageError(
                "the clock of the CMOS is a function that gives a datetime without a time zone, "
                f"not {time!r}"
            )
        return time

    def _updating(self) -> bool:
        """Whether the second is about to change. A clock that stands still shows it once.

        So it does where a second has changed since the last look, which did not see it coming: a
        guest that waits for it sees it, however seldom it has its turn.
        """
        now = self._now()
        seen, self._looked_at = self._looked_at, now
        if self._held is not None or seen is None:
            return self._held is None and _is_late(now)
        if _is_late(now):
            return now != seen
        return now >= rtc.next_second(seen) and not _is_late(seen)

    def _time_byte(self, index: int, time: _Time) -> int:
        match index:
            case Reg.SECONDS:
                return self._encode(time.second)
            case Reg.MINUTES:
                return self._encode(time.minute)
            case Reg.HOURS:
                return self._encode_hour(time.hour)
            case Reg.WEEKDAY:
                return time.weekday
            case Reg.DAY:
                return self._encode(time.day)
            case Reg.MONTH:
                return self._encode(time.month)
            case Reg.YEAR:
                return self._encode(time.year % 100)
        return _to_bcd(time.year // 100)

    def _set_time(self, index: int, value: int) -> None:
        if self._held is not None:
            self._held = self._changed(self._held, index, value)
        else:
            self._note_flags()
            self._move_to(self._changed(_Time.of(self._now()), index, value))
            self._drive()

    def _changed(self, time: _Time, index: int, value: int) -> _Time:
        match index:
            case Reg.SECONDS:
                return time._replace(second=self._decode(value))
            case Reg.MINUTES:
                return time._replace(minute=self._decode(value))
            case Reg.HOURS:
                return time._replace(hour=self._decode_hour(value))
            case Reg.DAY:
                return time._replace(day=self._decode(value))
            case Reg.MONTH:
                return time._replace(month=self._decode(value))
            case Reg.YEAR:
                return time._replace(year=time.year // 100 * 100 + self._decode(value) % 100)
            case Reg.CENTURY:
                return time._replace(year=_from_bcd(value) % 100 * 100 + time.year % 100)
        return time  # the weekday follows from the date

    def _move_to(self, time: _Time) -> None:
        """Go on from `time`; one that is no date is ignored."""
        try:
            start = datetime(*time)
        except ValueError:
            return
        self._offset = start - self._read_clock()
        self._flags_at = start
        self._looked_at = None

    def _encode(self, value: int) -> int:
        return value if self._b & B.DM else _to_bcd(value)

    def _decode(self, value: int) -> int:
        return value if self._b & B.DM else _from_bcd(value)

    def _encode_hour(self, hour: int) -> int:
        if self._b & B.H24:
            return self._encode(hour)
        return self._encode((hour + 11) % 12 + 1) | (_PM if hour >= 12 else 0)

    def _decode_hour(self, value: int) -> int:
        if self._b & B.H24:
            return self._decode(value)
        return self._decode(value & ~_PM) % 12 + (12 if value & _PM else 0)

    # Flags and interrupts.

    def look(self) -> None:
        """See what has come; the line tells, where it is an interrupt."""
        self._note_flags()
        self._drive()

    def _read_flags(self) -> int:
        """What has happened since the last read, which ends the interrupt."""
        self._note_flags()
        flags, self._flags = self._flags, 0
        is_interrupt = flags & self._enabled
        self._drive()
        return flags | (C.IRQF if is_interrupt else 0)

    @property
    def _enabled(self) -> int:
        """Of B; the flags have the same bits."""
        return self._b & (B.PIE | B.AIE | B.UIE)

    def _note_flags(self) -> None:
        """What has come since the last time. No update, and no alarm, while SET holds the time."""
        raw, before = self._read_clock(), self._flags_at
        rate = self._a & A.RATE
        if rtc.periods(raw, rate) > rtc.periods(self._periods_at, rate):
            self._flags |= C.PF
        self._periods_at = raw
        if self._held is not None:
            return
        self._flags_at = now = self._now()
        if now >= rtc.next_second(before):
            self._flags |= C.UF
            if (alarm := self._next_alarm(before)) is not None and alarm <= now:
                self._flags |= C.AF

    def _next_alarm(self, time: datetime) -> datetime | None:
        """A byte of the alarm stands for itself, or from _DONT_CARE on for any."""
        hour, minute, second = (
            [value for value in range(count) if alarm >= _DONT_CARE or encode(value) == alarm]
            for count, encode, alarm in (
                (24, self._encode_hour, self._ram[Reg.HOURS_ALARM]),
                (60, self._encode, self._ram[Reg.MINUTES_ALARM]),
                (60, self._encode, self._ram[Reg.SECONDS_ALARM]),
            )
        )
        return rtc.next_match(time, hour, minute, second)

    def _drive(self) -> None:
        """Raise the line where an enabled flag is set; otherwise look again when one may be."""
        if self._flags & self._enabled:
            self._look_after(None)
            self._set_line(True)
            return
        self._set_line(False)
        due = min(self._due(), default=None)
        self._look_after(None if due is None else due // _MICROSECOND * 1000)

    def _due(self) -> Iterator[timedelta]:
        """How long it is to each flag that is enabled."""
        raw, now = self._periods_at, self._flags_at
        if self._b & B.PIE and (period := rtc.next_period(raw, self._a & A.RATE)):
            yield period - raw
        if self._held is None and self._b & B.UIE:
            yield rtc.next_second(now) - now
        if self._held is None and self._b & B.AIE and (alarm := self._next_alarm(now)):
            yield alarm - now


def _is_late(time: datetime) -> bool:
    """Whether the second is about to change."""
    return time.microsecond >= 1_000_000 - _UPDATE_US


def _to_bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


def _from_bcd(value: int) -> int:
    return (value >> 4) * 10 + (value & 0xF)
