"""ACPI's fixed hardware and the ways to reset."""

from __future__ import annotations

import pytest

from pykvm.devices.power import (
    KeyboardReset,
    Pm1Control,
    Pm1Event,
    PmTimer,
    ResetControl,
)


class Ended:
    """Counts how often the guest ended its run."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_only_the_right_sleep_type_switches_off() -> None:
    ended = Ended()
    control = Pm1Control(5, ended)
    for value in (5 << 10, 1 << 13, 4 << 10 | 1 << 13, 7 << 10 | 1 << 13):
        control.write(0, 2, value)
        assert ended.times == 0
    control.write(0, 2, 5 << 10 | 1 << 13)
    assert ended.times == 1


def test_control_is_in_acpi_mode_and_keeps_what_is_written() -> None:
    control = Pm1Control(5, Ended())
    assert control.read(0, 2) == 1
    control.write(0, 2, 3 << 10)
    assert control.read(0, 2) == 3 << 10 | 1
    control.write(0, 2, 3 << 10 | 1 << 13)
    assert control.read(0, 2) == 3 << 10 | 1
    assert control.read(1, 1) == 3 << 2


def test_events_are_enabled_and_never_come() -> None:
    event = Pm1Event()
    event.write(2, 2, 0xFFFF)
    event.write(0, 2, 0xFFFF)
    assert event.read(0, 4) == 0x0521_0000
    assert event.read(2, 2) == 0x0521
    event.write(2, 2, 1 << 8)
    assert event.read(2, 2) == 1 << 8


def test_the_timer_counts_3_579545_mhz_and_wraps() -> None:
    now_ns = 500
    timer = PmTimer(lambda: now_ns)
    assert timer.read(0, 4) == 0
    now_ns += 1_000_000_000
    assert timer.read(0, 4) == 3_579_545
    assert timer.read(1, 1) == 3_579_545 >> 8 & 0xFF
    timer.write(0, 4, 0)
    assert timer.read(0, 4) == 3_579_545
    now_ns = 500 + (1 << 32) * 1_000_000_000 // 3_579_545 + 1
    assert timer.read(0, 4) == 0


@pytest.mark.parametrize(("value", "times"), [(2, 0), (4, 1), (6, 1), (0xE, 1), (8, 0)])
def test_reset_control(value: int, times: int) -> None:
    ended = Ended()
    control = ResetControl(ended)
    control.write(0, 1, value)
    assert ended.times == times
    assert control.read(0, 1) == value & ~4


@pytest.mark.parametrize(("value", "times"), [(0xFE, 1), (0xAA, 0), (0xD1, 0)])
def test_keyboard_reset(value: int, times: int) -> None:
    ended = Ended()
    device = KeyboardReset(ended)
    device.write(0, 1, value)
    assert ended.times == times
    assert device.read(0, 1) == 0xFF
