"""Cables: a port at each end, and the queue in which frames wait for a machine.

Frames travel on the sender's thread, under the sending machine's lock. Whoever belongs to a
machine takes them into an Inbox, whose owner comes for them under its own lock: so no thread
ever holds the locks of two machines.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from pykvm.errors import UsageError

DEPTH_MAX = 8  # hops within one call: a cable that leads back to its own switch ends here
INBOX_FRAMES, INBOX_BYTES = 1024, 2 << 20


class _Hops(threading.local):
    """How many the frames that a thread is sending have made."""

    count = 0


_hops = _Hops()

# Sees each frame at a port: the frame, and whether it goes out.
Watcher = Callable[[bytes, bool], None]


class Port:
    """One end of a cable.

    Args:
        receive: called with the frames that arrive together, on the sender's thread.

    Attributes:
        peer: the port at the other end.
        watchers: who is shown the frames that pass here.
        lost: frames that did not arrive: no cable, or one in a circle.
    """

    def __init__(self, receive: Callable[..., None], name: str = "") -> None:
        self._receive = receive
        self.name = name
        self.peer: Port | None = None
        self.watchers: list[Watcher] = []
        self.lost = 0

    def send(self, *frames: bytes) -> None:
        """Put frames on the cable, one behind the other."""
        if self.watchers:
            self._show(frames, True)
        peer, hops = self.peer, _hops.count
        if peer is None or hops == DEPTH_MAX:
            self.lost += len(frames)
            return
        _hops.count = hops + 1
        try:
            if peer.watchers:
                peer._show(frames, False)
            peer._receive(*frames)
        finally:
            _hops.count = hops

    def deliver(self, *frames: bytes) -> None:
        """Frames arrive."""
        self._show(frames, False)
        self._receive(*frames)

    def _show(self, frames: Sequence[bytes], outgoing: bool) -> None:
        for watch in self.watchers:
            for frame in frames:
                watch(frame, outgoing)


def connect(one: Port, other: Port) -> None:
    """Put a cable between two ports.

    Raises:
        UsageError: one of them has a cable already.
    """
    for port in (one, other):
        if port.peer is not None:
            raise UsageError(f"port {port.name!r} has a cable; disconnect() it first")
    if one is other:
        raise UsageError("a cable needs two ports; a Loopback gives frames back")
    one.peer, other.peer = other, one


def disconnect(port: Port) -> None:
    """Pull the cable out at both ends."""
    if port.peer is not None:
        port.peer.peer = None
        port.peer = None


class Inbox:
    """Frames on their way into a machine; any thread puts them, the machine takes them.

    Args:
        wake: lets the machine come for them; called when nobody is about to.
        limit: how many wait at most, INBOX_BYTES together; more are lost.
    """

    def __init__(self, wake: Callable[[], None], limit: int = INBOX_FRAMES) -> None:
        self._wake = wake
        self._limit = limit
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._attended = False
        self.lost = 0

    def put(self, *frames: bytes) -> None:
        """Frames have come."""
        with self._lock:
            waiting, size_bytes = self._frames, self._bytes + sum(map(len, frames))
            if len(waiting) + len(frames) > self._limit or size_bytes > INBOX_BYTES:
                frames, size_bytes = self._fitting(frames, size_bytes)
                if not frames:
                    return
            waiting.extend(frames)
            self._bytes = size_bytes
            asleep, self._attended = not self._attended, True
        if asleep:
            self._wake()

    def _fitting(self, frames: tuple[bytes, ...], size_bytes: int) -> tuple[tuple[bytes, ...], int]:
        """The first of them for which there is room, and how many bytes wait then."""
        count, room = len(frames), self._limit - len(self._frames)
        while count and (count > room or size_bytes > INBOX_BYTES):
            count -= 1
            size_bytes -= len(frames[count])
        self.lost += len(frames) - count
        return frames[:count], size_bytes

    def attend(self) -> None:
        """The machine will take what is there, and what comes until `take` leaves nothing."""
        with self._lock:
            self._attended = True

    def take(self, limit: int) -> list[bytes]:
        """The oldest frames. Where none is left, the next that comes wakes the machine."""
        with self._lock:
            if len(self._frames) <= limit:
                found = list(self._frames)
                self._frames.clear()
                self._bytes = 0
                self._attended = False
                return found
            found = [self._frames.popleft() for _ in range(limit)]
            self._bytes -= sum(map(len, found))
            self._attended = True
            return found

    def put_back(self, frames: Sequence[bytes]) -> None:
        """There is no room for these yet; the machine comes again when there is."""
        with self._lock:
            self._frames.extendleft(reversed(frames))
            self._bytes += sum(map(len, frames))
            self._attended = False

    def clear(self) -> None:
        """Forget what waits."""
        with self._lock:
            self._frames.clear()
            self._bytes = 0
            self._attended = False

    def __len__(self) -> int:
        return len(self._frames)


class Loopback:
    """Gives back every frame."""

    def __init__(self) -> None:
        self.port = Port(self._receive, "loopback")

    def _receive(self, *frames: bytes) -> None:
        self.port.send(*frames)
