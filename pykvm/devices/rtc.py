"""When a real-time clock has something to tell, and the clocks that it goes by.

Source: Motorola MC146818 data sheet, table 5 (periodic rates), "Interrupts", "Alarm".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

EPOCH = datetime(2000, 1, 1)  # where the clock of a guest begins whose time is its instructions
SECOND = timedelta(seconds=1)
_LAST = datetime.max - SECOND
_MICROSECOND = timedelta(microseconds=1)
_LOOK_NS = 20_000  # a guest that looks again so soon waits for something
_LOOKS_FREE = 64
LOOK_MAX_S = 1.0
_LOOK_STEP_NS = 1_000_000


def utc_now() -> datetime:
    """The host's time, as the clock of a PC that runs on UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def clock(elapsed_ns: Callable[[], int] | None) -> Callable[[], datetime]:
    """The host's time, or where the guest has its own what has elapsed of that since EPOCH."""
    return utc_now if elapsed_ns is None else InstructionClock(elapsed_ns)


class InstructionClock:
    """A guest's time that is its instructions, with a longer one for looks at the clock.

    A second is some 10^9 instructions: a guest that waits for one by looking again and again would
    look 10^8 times. So a look that follows many others takes a millisecond.
    """

    def __init__(self, elapsed_ns: Callable[[], int]) -> None:
        self._elapsed_ns = elapsed_ns
        self._skipped_ns = self._seen_ns = self._looks = 0

    def __call__(self) -> datetime:
        """The time."""
        now_ns = self._elapsed_ns()
        self._looks = self._looks + 1 if now_ns - self._seen_ns < _LOOK_NS else 0
        self._seen_ns = now_ns
        if self._looks > _LOOKS_FREE:
            self._skipped_ns += _LOOK_STEP_NS
        return EPOCH + timedelta(microseconds=(now_ns + self._skipped_ns) // 1000)


def periods(time: datetime, rate: int) -> int:
    """How many periods of register A's rate fit before a time."""
    hz = _hz(rate)
    return (time - datetime.min) // _MICROSECOND * hz // 1_000_000


def next_period(time: datetime, rate: int) -> datetime | None:
    """When the next one is over; None where there are none."""
    hz = _hz(rate)
    if not hz:
        return None
    end = (periods(time, rate) + 1) * 1_000_000
    return datetime.min + timedelta(microseconds=-(-end // hz))


def _hz(rate: int) -> int:
    if rate == 0:
        return 0
    return 1 << 16 - rate if rate > 2 else 1 << 9 - rate


def next_second(time: datetime) -> datetime:
    """When the seconds change; never after the last one that there is."""
    if time > _LAST:
        return datetime.max
    return time.replace(microsecond=0) + SECOND


def next_match(
    time: datetime, hours: list[int], minutes: list[int], seconds: list[int]
) -> datetime | None:
    """The first second after that of `time` that is one of these; None where there is none."""
    if not (hours and minutes and seconds) or time > _LAST - timedelta(days=1):
        return None
    start = next_second(time)
    midnight = start.replace(hour=0, minute=0, second=0)
    for hour in hours:
        for minute in minutes if hour >= start.hour else ():
            if (hour, minute) < (start.hour, start.minute):
                continue
            for second in seconds:
                if (hour, minute, second) >= (start.hour, start.minute, start.second):
                    return midnight.replace(hour=hour, minute=minute, second=second)
    tomorrow = midnight + timedelta(days=1)
    return tomorrow.replace(hour=hours[0], minute=minutes[0], second=seconds[0])


class Alarm:
    """Calls something when a delay is over; the latest delay that was asked for counts.

    Args:
        post: runs a call after a delay in seconds, which cannot be taken back: so few are under
            way, none of them for longer than LOOK_MAX_S.

    Attributes:
        call: what is called; it may come sooner.
    """

    def __init__(self, post: Callable[[Callable[[], None], float], None]) -> None:
        self._post = post
        self._due_s: list[float] = []  # of the calls under way
        self.call: Callable[[], None] = lambda: None
        self._wanted_s: float | None = None

    def after(self, delay_ns: int | None) -> None:
        """Have it called then; None: never."""
        self._wanted_s = None if delay_ns is None else time.monotonic() + delay_ns / 1e9
        self._ask()

    def _ask(self) -> None:
        if self._wanted_s is None:
            return
        now_s = time.monotonic()
        due_s = min(self._wanted_s, now_s + LOOK_MAX_S)
        if not self._due_s or due_s < min(self._due_s):
            self._due_s.append(due_s)
            self._post(partial(self._come, due_s), max(0.0, due_s - now_s))

    def _come(self, due_s: float) -> None:
        self._due_s.remove(due_s)
        if self._wanted_s is not None and self._wanted_s <= time.monotonic():
            self._wanted_s = None
            self.call()
        self._ask()
