"""Ctrl-C during a run: held back until no exit is under way."""

from __future__ import annotations

# What `signal` wraps: that looks each handler up in enumerations, for 4 us.
import _signal  # type: ignore[import-not-found]
import math
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

PATIENCE_S = 0.5  # another Ctrl-C, so much later, interrupts what does not end


class HeldInterrupt:
    """While this is entered SIGINT calls `stop`; at the end, who would have had it has it.

    Python runs handlers between any two instructions of the main thread. One that raises, as
    Python's own does, could come between an exit and its device, and the exit would be lost.

    Args:
        stop: lets what is under way end soon.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop: Callable[[], None] | None = stop
        self._before: Any = None  # the handler; None in other threads, which have none
        self._came_s = math.inf

    def __enter__(self) -> HeldInterrupt:
        """Begin."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and callable(before := _signal.getsignal(_signal.SIGINT)):
            self._before = before
            _signal.signal(_signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._came_s > PATIENCE_S:
            self._before(number, frame)
        self._came_s = min(self._came_s, time.monotonic())
        if self._stop is not None:
            self._stop()

    def let_go(self) -> None:
        """What is under way ends now: `stop` would stop what comes after it."""
        self._stop = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is None:
            return
        if _signal.getsignal(_signal.SIGINT) == self._note:
            _signal.signal(_signal.SIGINT, self._before)
        if self._came_s < math.inf:
            self._before(_signal.SIGINT, None)
