"""Cables: a port at each end, and the queue in which frames wait for a machine.

Frames travel on the sender's thread, under the sending machine's lock. Whoever belongs to a
machine takes them into an Inbox, whose owner comes for them under its own lock: so no thread
ever holds the locks of two machines.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from pykvm.errors import UsageError

DEPTH_MAX = 8  # hops within one call: a cable that leads back to its own switch ends here
INBOX_FRAMES = 1024

_thread = threading.local()

# Sees each frame at a port: the frame, and whether it goes out.
Watcher = Callable[[bytes, bool], None]


class Port:
    """One end of a cable.

    Args:
        receive: called with each frame that arrives, on the sender's thread.

    Attributes:
        peer: the port at the other end.
        watchers: who is shown the frames that pass here.
        lost: frames that did not arrive: no cable, or one in a circle.
    """

    def __init__(self, receive: Callable[[bytes], None], name: str = "") -> None:
        self._receive = receive
        self.name = name
        self.peer: Port | None = None
        self.watchers: list[Watcher] = []
        self.lost = 0

    def send(self, frame: bytes) -> None:
        """Put a frame on the cable."""
        for watch in self.watchers:
            watch(frame, True)
        depth = getattr(_thread, "depth", 0)
        if self.peer is None or depth == DEPTH_MAX:
            self.lost += 1
            return
        _thread.depth = depth + 1
        try:
            self.peer.deliver(frame)
        finally:
            _thread.depth = depth

    def deliver(self, frame: bytes) -> None:
        """A frame arrives."""
        for watch in self.watchers:
            watch(frame, False)
        self._receive(frame)


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
        limit: how many wait at most; more are lost.
    """

    def __init__(self, wake: Callable[[], None], limit: int = INBOX_FRAMES) -> None:
        self._wake = wake
        self._limit = limit
        self._frames: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._attended = False
        self.lost = 0

    def put(self, frame: bytes) -> None:
        """A frame has come."""
        with self._lock:
            if len(self._frames) >= self._limit:
                self.lost += 1
                return
            self._frames.append(frame)
            asleep, self._attended = not self._attended, True
        if asleep:
            self._wake()

    def attend(self) -> None:
        """The machine will take what is there, and what comes until `take` gives None."""
        with self._lock:
            self._attended = True

    def take(self) -> bytes | None:
        """The oldest frame. After None, the next that comes wakes the machine."""
        with self._lock:
            if self._frames:
                return self._frames.popleft()
            self._attended = False
            return None

    def put_back(self, frame: bytes) -> None:
        """There is no room for it yet; the machine comes again when there is."""
        with self._lock:
            self._frames.appendleft(frame)
            self._attended = False

    def clear(self) -> None:
        """Forget what waits."""
        with self._lock:
            self._frames.clear()
            self._attended = False

    def __len__(self) -> int:
        return len(self._frames)


class Loopback:
    """Gives back every frame."""

    def __init__(self) -> None:
        self.port = Port(self._receive, "loopback")

    def _receive(self, frame: bytes) -> None:
        self.port.send(frame)
