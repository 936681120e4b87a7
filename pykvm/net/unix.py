"""A UNIX stream socket in the framing of QEMU's `-netdev stream` and of passt.

Each frame comes behind its length, four bytes, big-endian.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from pathlib import Path
from types import TracebackType

from pykvm.errors import UsageError
from pykvm.net import frames
from pykvm.net.port import Port

WAITING_MAX = 1024  # frames on their way out; more are lost
_LENGTH = struct.Struct(">I")


class StreamSocket:
    """The socket, and two threads: one for each direction, so that no guest waits for it.

    Args:
        peer: a connected stream socket, or the path of one that listens.

    Attributes:
        port: where its cable goes.
        lost: frames that were too many for the other side.

    Raises:
        UsageError: nobody listens there.
    """

    def __init__(self, peer: socket.socket | Path | str) -> None:
        self._socket = peer if isinstance(peer, socket.socket) else _connect(str(peer))
        self.port = Port(self._queue, "stream")
        self.lost = 0
        self._waiting: deque[bytes] = deque()
        self._wanted = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._read, self._write)
        ]
        for thread in self._threads:
            thread.start()

    def _queue(self, frame: bytes) -> None:
        with self._wanted:
            if self._closed or len(self._waiting) >= WAITING_MAX:
                self.lost += 1
                return
            self._waiting.append(frame)
            self._wanted.notify()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while (frame := self._next()) is not None:
                self._socket.sendall(_LENGTH.pack(len(frame)) + frame)

    def _next(self) -> bytes | None:
        with self._wanted:
            while not self._waiting and not self._closed:
                self._wanted.wait()
            return None if self._closed else self._waiting.popleft()

    def _read(self) -> None:
        """Until the other side ends, or sends a length that no frame has."""
        with contextlib.suppress(OSError), self._socket.makefile("rb") as stream:
            while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
                (size_bytes,) = _LENGTH.unpack(head)
                if not frames.HEADER_SIZE <= size_bytes <= frames.MAX_SIZE:
                    break
                frame = stream.read(size_bytes)
                if len(frame) == size_bytes:
                    self.port.send(frame)

    def close(self) -> None:
        """Hang up; what waits is lost."""
        with self._wanted:
            self._closed = True
            self._wanted.notify()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def __enter__(self) -> StreamSocket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _connect(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.connect(path)
    except OSError as error:
        found.close()
        raise UsageError(f"{path}: {error.strerror}; start what listens there first") from None
    return found
