"""What leads out of pykvm: a port with one of the host's files behind it, and a thread of its own.

Frames out are written on the sender's thread where the file takes them at once, and wait in a
bounded queue where it does not: no guest waits for the host. The thread writes those, and reads
what comes. It belongs to no machine, as behind a switch there may be several.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self
from weakref import WeakMethod

from pykvm.errors import UsageError
from pykvm.net import frames
from pykvm.net.port import Port
from pykvm.worker import READ, WRITE, Worker

WAITING_MAX = 1024  # frames on their way out; more are lost
TURN_LOOKS = 64  # for what has come, before what waits to go out has its turn


class Link:
    """The port and the thread; what kind of file there is, classes below know.

    Attributes:
        port: where its cable goes.
        lost: frames that did not get out: too many waited, nobody was there to take them, or
            they were shorter or longer than any frame.
    """

    def __init__(self, name: str) -> None:
        self.port = Port(self._send, name)
        self.lost = 0
        self._fd: int | None = None
        self._waiting: deque[bytes] = deque()
        self._lock = threading.RLock()
        self._worker = Worker(threading.Lock(), WeakMethod(self._failed))

    @property
    def is_up(self) -> bool:
        """Whether there is something that frames go to."""
        return self._fd is not None

    # What a kind of file does otherwise.

    def _encode(self, frame: bytes) -> bytes:
        """What is written for a frame."""
        return frame

    def _write(self, data: bytes) -> int:
        """Write without waiting; returns how many bytes were taken.

        Raises:
            BlockingIOError: none can be now.
            OSError: they never can be, and are lost.
        """
        raise NotImplementedError

    def _read(self) -> list[bytes]:
        """Frames that have come, as one look finds them.

        Raises:
            BlockingIOError: there is nothing more.
            OSError: there never will be.
        """
        raise NotImplementedError

    def _await_room(self, on: bool) -> None:
        """Call `_flush` when more can be written; or no longer."""
        if self._fd is not None:
            self._worker.watch(self._fd, self._serve, READ | WRITE if on else READ)

    def _broke(self) -> None:
        """Nothing more can be read."""
        self._drop()

    # The file.

    def _use(self, fd: int) -> None:
        """Frames go to this file from now on."""
        with self._lock:
            self._fd = fd
            self._worker.watch(fd, self._serve)

    def _drop(self) -> None:
        """Use the file no longer; what waits is lost."""
        with self._lock:
            if self._fd is not None:
                self._worker.unwatch(self._fd)
                self._fd = None
            self.lost += len(self._waiting)
            self._waiting.clear()

    def _serve(self) -> None:
        self._flush()
        for _ in range(TURN_LOOKS):
            if self._fd is None:
                return
            try:
                found = self._read()
            except BlockingIOError:
                return
            except OSError:
                self._broke()
                return
            if found:
                self._deliver(found)

    def _deliver(self, found: list[bytes]) -> None:
        try:
            self.port.send(*found)
        except BaseException as error:  # of a receiver's; what comes later is read all the same
            self._failed(error)

    # The way out.

    def _send(self, *sent: bytes) -> None:
        found = [self._encode(each) for each in map(_checked, sent) if each]
        with self._lock:
            was_idle = not self._waiting
            room = WAITING_MAX - len(self._waiting) if self._fd is not None else 0
            self._waiting.extend(found[:room])
            self.lost += len(sent) - min(len(found), room)
            if was_idle and self._waiting:
                self._push()
                if self._waiting:
                    self._await_room(True)

    def _flush(self) -> None:
        with self._lock:
            if self._waiting:
                self._push()
                if not self._waiting:
                    self._await_room(False)

    def _push(self) -> None:
        """Write what is taken without waiting."""
        with suppress(BlockingIOError):
            while self._waiting:
                data = self._waiting[0]
                try:
                    taken = self._write(data)
                except BlockingIOError:
                    raise
                except OSError:
                    taken = len(data)
                    self.lost += 1
                if taken < len(data):
                    self._waiting[0] = data[taken:]
                    return
                self._waiting.popleft()

    # The end.

    def _failed(self, error: BaseException) -> None:
        """What a receiver raised is the thread's own, as with any thread; it goes on."""
        threading.excepthook(
            threading.ExceptHookArgs(
                (type(error), error, error.__traceback__, threading.current_thread())
            )
        )

    def _close_file(self) -> None:
        """Give the file back."""
        raise NotImplementedError

    def close(self) -> None:
        """Use the file no longer; what waits is lost."""
        self._worker.close()
        self._drop()
        self._close_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _checked(frame: bytes) -> bytes:
    """A frame as it is now; nothing where no frame has its size."""
    if not isinstance(frame, bytes | bytearray | memoryview):
        raise UsageError(f"a frame is bytes, not {type(frame).__name__}")
    data = bytes(frame)
    return data if frames.HEADER_SIZE <= len(data) <= frames.MAX_SIZE else b""
