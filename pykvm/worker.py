"""A machine's own thread, for what comes from outside of it: host files, doorbells, time."""

from __future__ import annotations

import heapq
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from weakref import WeakMethod

from pykvm.errors import UsageError

Call = Callable[[], None]
READ, WRITE = select.EPOLLIN, select.EPOLLOUT
CALLS_MAX = 4096


class Worker:
    """Runs calls one after another, each under the machine's lock.

    Its thread starts with the first call, or with the first file that is watched, and ends
    with `close`.

    Args:
        lock: the machine's.
        failed: told of an exception that a call raised, if it is still there: the thread must
            not keep its machine from being given up.
    """

    def __init__(
        self,
        lock: AbstractContextManager[object],
        failed: WeakMethod[Callable[[BaseException], None]],
    ) -> None:
        self._lock = lock
        self._failed = failed
        self._guard = threading.RLock()  # of what follows
        self._calls: list[tuple[float, int, Call]] = []
        self._numbers = count()
        self._watched: dict[int, Call] = {}
        self._thread: threading.Thread | None = None
        self._wakes = False  # it has been woken, and has not looked yet
        self._closed = False

    def post(self, call: Call, delay_s: float = 0.0) -> None:
        """Run `call` soon, or after a delay; any thread may ask, and never waits for it.

        Whoever posts sees to it that few wait: a device has one call of a kind at most.

        Raises:
            UsageError: CALLS_MAX are waiting.
        """
        with self._guard:
            if self._closed:
                return
            if len(self._calls) >= CALLS_MAX:
                raise UsageError(f"{CALLS_MAX} calls wait for the machine's thread already")
            due_s = time.monotonic() + delay_s
            heapq.heappush(self._calls, (due_s, next(self._numbers), call))
            self._start()
            self._wake()

    def watch(self, fd: int, callback: Call, events: int = READ) -> None:
        """Run `callback` whenever a file is ready, until `unwatch`; any thread may ask.

        It is called again and again while the file stays ready: a callback that takes nothing,
        as it has no room or the other end is closed, ends the watch, and somebody starts it
        anew. End it before the file is closed.

        Args:
            events: READ, WRITE or both.

        Raises:
            OSError: the file cannot be waited for: it is a regular one, or not open.
        """
        with self._guard:
            if self._closed:
                return
            self._start()
            change = self._epoll.modify if fd in self._watched else self._epoll.register
            change(fd, events)
            self._watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Call nothing more for a file; one that is not watched is no error."""
        with self._guard:
            if self._watched.pop(fd, None) and not self._closed:
                self._epoll.unregister(fd)

    def close(self) -> None:
        """Run nothing more; a call under way ends first, unless it is the one that asks."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._calls.clear()
            self._watched.clear()
            if self._thread is None:
                return
            self._wake()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # The thread.

    def _start(self) -> None:
        if self._thread is None:
            self._epoll = select.epoll()
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._epoll.register(self._bell, READ)
            self._thread = threading.Thread(target=self._run, name="pykvm", daemon=True)
            self._thread.start()

    def _wake(self) -> None:
        if not self._wakes and self._thread is not threading.current_thread():
            self._wakes = True
            os.eventfd_write(self._bell, 1)

    def _run(self) -> None:
        try:
            while not self._closed:
                for fd, _ in self._epoll.poll(self._until_due()):
                    self._call(self._watched.get(fd))
                self._take_wake()
                self._call_due()
        finally:
            with self._guard:
                self._epoll.close()
                os.close(self._bell)

    def _until_due(self) -> float | None:
        with self._guard:
            return max(0.0, self._calls[0][0] - time.monotonic()) if self._calls else None

    def _take_wake(self) -> None:
        with self._guard:
            if self._wakes:
                self._wakes = False
                os.eventfd_read(self._bell)

    def _call_due(self) -> None:
        """What is due now; what these calls post comes after a look at the files."""
        now_s = time.monotonic()
        due = []
        with self._guard:
            while self._calls and self._calls[0][0] <= now_s:
                due.append(heapq.heappop(self._calls)[2])
        for call in due:
            self._call(call)

    def _call(self, call: Call | None) -> None:
        if call is None:
            return
        with self._lock:
            if self._closed:
                return
            try:
                call()
            except BaseException as error:
                if (failed := self._failed()) is not None:
                    failed(error)
