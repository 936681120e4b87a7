"""Turns: how much a device does at once, and what it puts off until others had theirs.

A guest may ask for any amount of work by one store to a register. A device does a bounded part of
it and puts the rest off; the machine goes on with that, and looks in between whether the run is
to end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

Work = Callable[[], None]

TURN_BYTES = 1 << 20
TURN_ITEMS = 4096  # buffers, frames and what else is one of many
TURN_NS = 10_000_000
FED_NS = 50_000_000  # then the processor goes on, though others put in more and more


def _still() -> int:
    return 0


class Turn:
    """What is left of a device's turn.

    Attributes:
        clock_ns: the machine's clock. One that stands still, as a clock of instructions does
            between two of them, leaves turns to their bytes and items alone, which repeat.
        items_left: may be taken from without a call; `spend` sees it.
        is_over: the rest is to be put off; never before anything was spent.
    """

    __slots__ = ("_bytes_left", "_end_ns", "clock_ns", "is_over", "items_left")

    def __init__(self) -> None:
        self.clock_ns: Callable[[], int] = _still
        self.begin()

    def begin(self) -> None:
        """Another one."""
        self._bytes_left, self.items_left = TURN_BYTES, TURN_ITEMS
        self._end_ns = self.clock_ns() + TURN_NS
        self.is_over = False

    def spend(self, size_bytes: int, items: int = 1) -> None:
        """So much was done."""
        self._bytes_left -= size_bytes
        self.items_left -= items
        if self._bytes_left <= 0 or self.items_left <= 0 or self.clock_ns() >= self._end_ns:
            self.is_over = True


class Backlog:
    """What devices of a machine have put off.

    Args:
        is_fed: others can put in new requests while these are done: processors that run on.

    Attributes:
        deadline_ns: when the run under way is to end, by time.monotonic_ns; None: it need not.
        is_stopped: it is to end now.
    """

    def __init__(self, *, is_fed: bool) -> None:
        self.deadline_ns: int | None = None
        self.is_stopped = False
        self._is_fed = is_fed
        self._works: deque[Work] = deque()

    def __len__(self) -> int:
        return len(self._works)

    def add(self, work: Work) -> None:
        """Put work off: a part that ends soon, and puts the next one off again."""
        self._works.append(work)

    def work_off(self) -> None:
        """Do it part by part, in order, as long as the run goes on; under the machine's lock."""
        works = self._works
        if not works:
            return
        end_ns = time.monotonic_ns() + FED_NS if self._is_fed else None
        while works and not self.is_stopped and not _is_over(self.deadline_ns):
            works.popleft()()
            if _is_over(end_ns):
                return


def _is_over(end_ns: int | None) -> bool:
    return end_ns is not None and time.monotonic_ns() >= end_ns
