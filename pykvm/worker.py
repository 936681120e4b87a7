"""A machine's own thread, for what comes from outside of it: host files, doorbells, time."""

from __future__ import annotations

import errno
import heapq
import math
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from itertools import count
from weakref import WeakMethod

from pykvm.errors import UsageError

Call = Callable[[], None]
READ, WRITE = select.EPOLLIN, select.EPOLLOUT
EPOLL_STEP_S = 0.001
WAIT_MAX_S = 3600.0  # for one look: epoll counts milliseconds in 31 bits


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
            UsageError: the delay is no finite number.
        """
        if not callable(call):
            raise UsageError(f"a call is a function without arguments, not {call!r}")
        if not isinstance(delay_s, int | float) or not math.isfinite(delay_s):
            raise UsageError(f"a delay is a finite number of seconds, not {delay_s}")
        with self._guard:
            if self._closed:
                return
            self._start()
            due_s = time.monotonic() + delay_s
            heapq.heappush(self._calls, (due_s, next(self._numbers), call))
            self._wake()

    def watch(self, fd: int, callback: Call, events: int = READ) -> None:
        """Run `callback` whenever a file is ready, until `unwatch`; any thread may ask.

        It is called again and again while the file stays ready: a callback that takes nothing,
        as it has no room or the other end is closed, ends the watch, and somebody starts it
        anew. One that raises ends it, too. End it before the file is closed.

        Args:
            fd: the file's number.
            events: READ, WRITE or both.

        Raises:
            UsageError: no open file has that number.
            PermissionError: the file cannot be waited for: it is a regular one, say.
        """
        if not isinstance(fd, int):
            raise UsageError(f"a file is watched by its number, fileno(), not by {fd!r}")
        with self._guard:
            if self._closed:
                return
            self._start()
            try:
                self._register(fd, events)
            except (OSError, ValueError, OverflowError) as error:
                self.unwatch(fd)
                if isinstance(error, PermissionError):
                    raise
                raise UsageError(f"{fd} is no open file's number that can be watched") from None
            self._watched[fd] = callback

    def _register(self, fd: int, events: int) -> None:
        if fd in self._watched:
            try:
                self._epoll.modify(fd, events)
                return
            except OSError as error:
                if error.errno != errno.ENOENT:  # closed meanwhile, and another file's now
                    raise
        self._epoll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Call nothing more for a file; one that is not watched is no error."""
        with self._guard:
            if self._watched.pop(fd, None) and not self._closed:
                with suppress(OSError):  # it was closed, which ended the watch
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
        if not self.is_current:
            self._thread.join()

    @property
    def is_current(self) -> bool:
        """Whether its thread asks."""
        return self._thread is threading.current_thread()

    # The thread.

    def _start(self) -> None:
        if self._thread is None:
            self._epoll = select.epoll()
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._epoll.register(self._bell, READ)
            thread = threading.Thread(target=self._run, name="pykvm", daemon=True)
            thread.start()
            self._thread = thread

    def _wake(self) -> None:
        if not self._wakes and not self.is_current:
            self._wakes = True
            os.eventfd_write(self._bell, 1)

    def _run(self) -> None:
        try:
            while not self._closed:
                for fd, _ in self._wait():
                    if callback := self._watched.get(fd):
                        self._call(callback, fd)
                self._take_wake()
                self._call_due()
        finally:
            with self._guard:
                self._closed = True  # whatever ended it: these numbers are others' from now on
                self._epoll.close()
                os.close(self._bell)

    def _wait(self) -> list[tuple[int, int]]:
        """Files that are ready; none where a call is due. epoll counts whole milliseconds."""
        wait_s = self._until_due()
        if wait_s is None:
            return self._epoll.poll()
        if 0 < wait_s < EPOLL_STEP_S:
            time.sleep(wait_s)
        return self._epoll.poll(wait_s // EPOLL_STEP_S * EPOLL_STEP_S)

    def _until_due(self) -> float | None:
        with self._guard:
            if not self._calls:
                return None
            return min(max(0.0, self._calls[0][0] - time.monotonic()), WAIT_MAX_S)

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

    def _call(self, call: Call, fd: int | None = None) -> None:
        """Make a call; that of a watched file, if it is still watched when the lock is free."""
        with self._lock:
            if self._closed or (fd is not None and self._watched.get(fd) is not call):
                return
            try:
                call()
            except BaseException as error:
                if fd is not None:
                    self.unwatch(fd)  # it would be called at once again, and raise again
                if (failed := self._failed()) is not None:
                    failed(error)
