"""CMOS memory and the real-time clock, against a clock that the test holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pykvm
from pykvm.devices import rtc
from pykvm.devices.cmos import A, B, C, Cmos, D, Reg
from pykvm.errors import UsageError
from pykvm.guest import load_guest

GIB, MIB = 1 << 30, 1 << 20
NOON = datetime(2024, 2, 29, 15, 4, 5)  # a Thursday


class Chip:
    """A CMOS chip whose time the test moves."""

    def __init__(self, now: datetime = NOON, low_bytes: int = 16 * MIB, high_bytes: int = 0):
        self.now = now
        self.cmos = Cmos(low_bytes, high_bytes, lambda: self.now)

    def __getitem__(self, index: int) -> int:
        self.cmos.write(0, 1, index)
        return self.cmos.read(1, 1)

    def __setitem__(self, index: int, value: int) -> None:
        self.cmos.write(0, 1, index)
        self.cmos.write(1, 1, value)

    def number(self, index: int, size_bytes: int) -> int:
        return sum(self[index + i] << 8 * i for i in range(size_bytes))

    def time(self) -> list[int]:
        return [self[index] for index in (Reg.CENTURY, 9, 8, 7, 4, 2, 0)]

    def forward(self, **how_far: float) -> None:
        self.now += timedelta(**how_far)


def test_time_is_bcd_and_24_hours_after_reset() -> None:
    chip = Chip()
    assert chip.time() == [0x20, 0x24, 0x02, 0x29, 0x15, 0x04, 0x05]
    assert chip[Reg.WEEKDAY] == 5


def test_time_in_binary() -> None:
    chip = Chip()
    chip[Reg.B] = B.DM | B.H24
    assert chip.time() == [0x20, 24, 2, 29, 15, 4, 5]


@pytest.mark.parametrize(
    ("hour", "expected"), [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)]
)
def test_hours_of_a_12_hour_clock(hour: int, expected: int) -> None:
    chip = Chip(NOON.replace(hour=hour))
    chip[Reg.B] = 0
    assert chip[Reg.HOURS] == expected


def test_index_ignores_the_nmi_bit_and_cannot_be_read() -> None:
    chip = Chip()
    assert chip[0x80 | Reg.SECONDS] == 0x05
    assert chip.cmos.read(0, 1) == 0xFF


def test_a_16_bit_write_selects_and_writes() -> None:
    chip = Chip()
    chip.cmos.write(0, 2, 0xAB40)
    assert chip[0x40] == 0xAB


@pytest.mark.parametrize("how", [B.H24, B.H24 | B.DM, 0, B.DM])
def test_time_that_is_set_comes_back_and_goes_on(how: int) -> None:
    source = Chip(datetime(1999, 12, 31, 23, 59, 58))
    chip = Chip()
    source[Reg.B] = how
    chip[Reg.B] = how | B.SET
    for index in (8, 7, 9, Reg.CENTURY, 4, 2, 0):  # February, 31st on the way
        chip[index] = source[index]
    chip.forward(seconds=100)
    assert chip.time() == source.time()
    chip[Reg.B] = how
    assert chip.time() == source.time()
    chip.forward(seconds=2)
    source.forward(seconds=2)
    assert chip.time() == source.time()


def test_a_date_that_cannot_be_is_ignored() -> None:
    chip = Chip()
    chip[Reg.MONTH] = 0x13
    chip[Reg.HOURS] = 0x42
    assert chip.time() == [0x20, 0x24, 0x02, 0x29, 0x15, 0x04, 0x05]


def test_update_in_progress_comes_and_goes() -> None:
    chip = Chip()
    assert not chip[Reg.A] & A.UIP
    chip.forward(microseconds=999_000)
    assert chip[Reg.A] & A.UIP
    chip.forward(microseconds=1_000)
    assert not chip[Reg.A] & A.UIP


def test_a_clock_that_stands_still_does_not_hold_a_guest_up() -> None:
    chip = Chip(NOON.replace(microsecond=999_999))
    assert not all(chip[Reg.A] & A.UIP for _ in range(3))


@pytest.mark.parametrize("made", [None, 5.0, date(2024, 2, 29), NOON.replace(tzinfo=UTC)], ids=str)
def test_a_clock_that_gives_no_time_is_refused(made: object) -> None:
    chip = Chip()
    for clock in (made, lambda: made):
        chip.cmos.clock = cast(Any, clock)
        with pytest.raises(UsageError, match="datetime without a time zone"):
            chip[Reg.SECONDS] = 1
    with pytest.raises(UsageError, match="datetime without a time zone"):
        Cmos(MIB, clock=cast(Any, lambda: made))


def test_no_update_while_time_is_set() -> None:
    chip = Chip(NOON.replace(microsecond=999_999))
    chip[Reg.B] = B.SET | B.H24
    assert not chip[Reg.A] & A.UIP
    assert chip[Reg.C] == 0


def test_flags_say_what_happened_and_reading_clears_them() -> None:
    chip = Chip()
    assert chip[Reg.C] == 0
    chip.forward(seconds=1)
    assert chip[Reg.C] == C.UF | C.PF
    assert chip[Reg.C] == 0
    chip[Reg.B] = B.H24 | B.UIE
    chip.forward(seconds=1)
    assert chip[Reg.C] == C.IRQF | C.UF | C.PF


def test_periodic_flag_keeps_register_a_s_rate() -> None:
    chip = Chip()
    chip.forward(microseconds=900)
    assert not chip[Reg.C] & C.PF
    chip.forward(microseconds=100)
    assert chip[Reg.C] & C.PF
    chip[Reg.A] = A.DIVIDER_32768HZ | 15  # 2 Hz
    chip.forward(milliseconds=400)
    assert not chip[Reg.C] & C.PF
    chip.forward(milliseconds=100)
    assert chip[Reg.C] & C.PF


def test_alarm_at_a_time_and_at_any_hour() -> None:
    chip = Chip()
    chip[Reg.SECONDS_ALARM], chip[Reg.MINUTES_ALARM], chip[Reg.HOURS_ALARM] = 0x00, 0x30, 0x16
    chip.forward(hours=1)
    assert not chip[Reg.C] & C.AF
    chip.forward(minutes=30)
    assert chip[Reg.C] & C.AF
    chip[Reg.HOURS_ALARM] = 0xFF
    chip.forward(hours=1)
    assert chip[Reg.C] & C.AF


def test_registers_c_and_d_are_read_only() -> None:
    chip = Chip()
    chip[Reg.C] = chip[Reg.D] = 0xFF
    assert chip[Reg.C] == 0
    assert chip[Reg.D] == D.VRT


@pytest.mark.parametrize(
    ("low_bytes", "high_bytes", "extended_kib", "above_16m", "above_4g"),
    [
        (1 * MIB, 0, 0, 0, 0),
        (16 * MIB, 0, 15 * 1024, 0, 0),
        (48 * MIB, 0, 47 * 1024, 512, 0),
        (3 * GIB, 5 * GIB, 0xFFFF, (3 * GIB - 16 * MIB) >> 16, 5 * GIB >> 16),
    ],
)
def test_memory_size(
    low_bytes: int, high_bytes: int, extended_kib: int, above_16m: int, above_4g: int
) -> None:
    chip = Chip(low_bytes=low_bytes, high_bytes=high_bytes)
    assert chip.number(Reg.BASE_KIB, 2) == 640
    assert chip.number(Reg.EXTENDED_KIB, 2) == extended_kib
    assert chip.number(Reg.EXTENDED_KIB_FOUND, 2) == extended_kib
    assert chip.number(Reg.ABOVE_16M, 2) == above_16m
    assert chip.number(Reg.ABOVE_4G, 3) == above_4g


def test_checksum_holds() -> None:
    chip = Chip(low_bytes=64 * MIB)
    total = sum(chip[index] for index in range(0x10, 0x2E))
    assert chip[Reg.CHECKSUM] << 8 | chip[Reg.CHECKSUM + 1] == total


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 1), st.integers(0, 0xFF), st.floats(0, 2)),
        max_size=200,
    )
)
def test_random_traffic_raises_nothing(traffic: list[tuple[bool, int, int, float]]) -> None:
    chip = Chip()
    for is_write, offset, value, seconds in traffic:
        if is_write:
            chip.cmos.write(offset, 1, value)
        else:
            assert 0 <= chip.cmos.read(offset, 1) <= 0xFF
        chip.forward(seconds=seconds)
    assert len(chip.cmos._ram) == 128


def test_a_guest_reads_the_year() -> None:
    source = "mov al, 9\nout 0x70, al\nin al, 0x71\nout 0xe9, al\nhlt"
    with pykvm.VM(memory="1M") as vm:
        assert vm.cmos is not None
        vm.cmos.clock = lambda: NOON
        vm.load(pykvm.assemble(source))
        assert vm.run(timeout=60).output == b"\x24"


class Told:
    """What a chip asks for: its line, and when it wants to look again."""

    def __init__(self, now: datetime = NOON) -> None:
        self.level = False
        self.rises = 0
        self.delay_ns: int | None = None
        self.chip = Chip(now)
        self.chip.cmos = Cmos(
            MIB, clock=lambda: self.chip.now, set_line=self._set, look_after=self._after
        )

    def _set(self, level: bool) -> None:
        self.rises += level and not self.level
        self.level = level

    def _after(self, delay_ns: int | None) -> None:
        self.delay_ns = delay_ns

    def wait(self) -> None:
        """Until it looks."""
        assert self.delay_ns is not None
        self.chip.forward(microseconds=self.delay_ns // 1000)
        self.chip.cmos.look()


def test_a_rate_interrupts_until_register_c_is_read_and_again() -> None:
    told = Told()
    chip = told.chip
    chip[Reg.A] = A.DIVIDER_32768HZ | 6  # 1,024 Hz
    chip[Reg.B] = B.H24 | B.PIE
    for count in range(1, 1025):
        told.wait()
        assert told.level
        assert told.rises == count
        assert told.delay_ns is None  # the line is up: nothing more comes before it is read
        assert chip[Reg.C] & (C.IRQF | C.PF) == C.IRQF | C.PF
        assert not told.level
    assert abs(chip.now - NOON - timedelta(seconds=1)) < timedelta(milliseconds=1)
    chip[Reg.B] = B.H24
    assert told.delay_ns is None


def test_an_update_interrupts_each_second() -> None:
    told = Told(NOON.replace(microsecond=250_000))
    told.chip[Reg.B] = B.H24 | B.UIE
    assert told.delay_ns == 750_000_000
    told.wait()
    assert told.level
    assert told.chip[Reg.C] & (C.IRQF | C.UF) == C.IRQF | C.UF
    assert told.delay_ns == 1_000_000_000
    told.chip[Reg.B] = B.H24 | B.UIE | B.SET
    assert told.chip[Reg.B] == B.H24 | B.SET
    assert told.delay_ns is None


def test_an_alarm_interrupts_at_its_time() -> None:
    told = Told()
    chip = told.chip
    chip[Reg.HOURS_ALARM], chip[Reg.MINUTES_ALARM], chip[Reg.SECONDS_ALARM] = 0x15, 0xFF, 0x04
    chip[Reg.B] = B.H24 | B.AIE
    told.wait()
    assert told.level
    assert chip.now == NOON + timedelta(seconds=59)
    assert chip[Reg.C] & (C.IRQF | C.AF) == C.IRQF | C.AF
    assert told.delay_ns == 60_000_000_000
    chip[Reg.SECONDS_ALARM] = 0x7F  # no second there is
    assert told.delay_ns is None


def test_an_interrupt_that_is_enabled_late_comes_at_once() -> None:
    told = Told()
    told.chip.forward(seconds=2)
    told.chip[Reg.B] = B.H24 | B.UIE
    assert told.level


def test_the_last_second_of_all_ends_nothing() -> None:
    told = Told(datetime.max - timedelta(milliseconds=500))
    told.chip[Reg.B] = B.H24 | B.UIE | B.AIE | B.PIE
    assert told.chip[Reg.C] & C.UF == 0


def test_an_update_between_two_looks_is_seen_once() -> None:
    chip = Chip(NOON.replace(microsecond=900_000))
    assert not chip[Reg.A] & A.UIP
    chip.forward(milliseconds=200)
    assert chip[Reg.A] & A.UIP
    assert not chip[Reg.A] & A.UIP
    chip.forward(milliseconds=899)
    assert chip[Reg.A] & A.UIP
    chip.forward(milliseconds=10)
    assert not chip[Reg.A] & A.UIP  # which was seen already


def test_a_guest_whose_time_is_its_instructions_need_not_look_for_long() -> None:
    elapsed_ns = 0

    def elapsed() -> int:
        nonlocal elapsed_ns
        elapsed_ns += 10
        return elapsed_ns

    cmos = Cmos(MIB, clock=rtc.clock(elapsed))
    cmos.write(0, 1, Reg.A)
    for _ in range(3):
        looks = next(count for count in range(2000) if cmos.read(1, 1) & A.UIP)
        assert 0 < looks < 2000
        while cmos.read(1, 1) & A.UIP:
            pass


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
    *[st.lists(st.integers(0, most), unique=True, max_size=3).map(sorted) for most in (23, 59, 59)],
)
def test_the_next_match_is_the_first(
    time: datetime, hours: list[int], minutes: list[int], seconds: list[int]
) -> None:
    found = rtc.next_match(time, hours, minutes, seconds)
    starts = [
        time.replace(microsecond=0, hour=0, minute=0, second=0) + timedelta(day) for day in (0, 1)
    ]
    every = [
        start.replace(hour=hour, minute=minute, second=second)
        for start in starts
        for hour in hours
        for minute in minutes
        for second in seconds
    ]
    assert found == min((each for each in every if each > time), default=None)


POLL = """
    mov ecx, 3
next:
    mov al, 0x0A
    out 0x70, al
high:
    in al, 0x71
    test al, 0x80
    jz high
low:
    in al, 0x71
    test al, 0x80
    jnz low
    dec ecx
    jnz next
    mov eax, 0
    out 0xf8, eax
"""


def test_waiting_for_an_update_by_a_clock_of_instructions_takes_few_looks() -> None:
    with pykvm.VM(backend="emu", clock="instructions") as vm:
        vm.load(pykvm.assemble(POLL))
        result = vm.run(timeout=120)
    assert result.outcome is pykvm.Outcome.EXIT
    assert sum(result.exits.values()) < 10_000


def test_interrupts_by_a_clock_of_instructions_repeat() -> None:
    guest = load_guest(Path(__file__).parents[2] / "guests/rtc_interrupts.S")
    ends = []
    for _ in range(2):
        with guest.machine(backend="emu", clock="instructions") as vm:
            result = vm.run(timeout=120)
            ends.append((result.outcome, result.output, result.exits, vm.vm.now_ns()))
    assert ends[0] == ends[1]
    assert ends[0][0] is pykvm.Outcome.EXIT
    assert 1_000_000_000 < ends[0][3] < 4_000_000_000
