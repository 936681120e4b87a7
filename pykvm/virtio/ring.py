"""What both forms of a virtqueue in memory have in common: how chains come out and go back.

What a form does in Python is the reference; C does the same where it can. How far the device is
both keep in one place, so that each goes on where the other was.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain, Part, Used
from pykvm.virtio.walk import Walk

_fence_lock = threading.Lock()


def fence() -> None:
    """What was stored is seen by other processors before anything is loaded. §2.7.13.4.1."""
    with _fence_lock:  # taking it is an atomic exchange
        pass


class Ring:
    """The device's side of a ring that the driver has set up.

    Attributes:
        in_c: the same in C, where that is wanted.
    """

    def __init__(
        self, memory: GuestMemory, size: int, parts: tuple[Part, Part, Part], features: int
    ) -> None:
        self._memory, self._size = memory, size
        self._event_idx = bool(features & spec.F_EVENT_IDX)
        self._indirect = bool(features & spec.F_INDIRECT_DESC)
        self._native = Walk(memory, size, parts, features)  # it also keeps what `_at` is a part of
        self.in_c = self._native if Walk.wanted else None
        self._at: Any = self._native.at
        self._at.available_wrap = self._at.used_wrap = self._at.quiet = True
        self.listen()

    # What the form knows.

    def _is_empty(self) -> bool:
        """Whether there is no chain to take.

        Raises:
            QueueError: the driver counted wrong.
        """
        raise NotImplementedError

    def _take_one(self) -> Chain:
        """Take the next one.

        Raises:
            QueueError: it breaks a rule.
        """
        raise NotImplementedError

    def _give(self, given: Sequence[Used]) -> None:
        raise NotImplementedError

    def _suppress(self, quiet: bool) -> None:
        """Store whether the driver need not notify; with the event index, of what it shall."""
        raise NotImplementedError

    def _wants_interrupt(self, given: int) -> bool:
        """Whether the driver wants to hear of the last so many that were given back."""
        raise NotImplementedError

    # Chains.

    def take(self, limit: int) -> list[Chain]:
        """The next chains that the driver has made available: `limit` at most."""
        if self.in_c and (found := self.in_c.take(self, limit)):
            return found
        return [] if self._is_empty() else [self._take_one()]

    def give(self, given: Sequence[Used]) -> None:
        """Give chains back; the driver sees all at once."""
        if self.in_c:
            self.in_c.give(given)
        else:
            self._give(given)

    # Notifications.

    def quiet(self) -> None:
        """The driver need not notify: the device looks by itself.

        With the event index nothing is to be done: the one that was asked for is past.
        """
        if not self._at.quiet:
            self._at.quiet = True
            if not self._event_idx:
                self._suppress(True)

    def listen(self) -> None:
        """The driver shall notify of what it puts in from now on."""
        if self._at.quiet:
            self._at.quiet = False
            self._suppress(False)

    def settle(self) -> bool:
        """The same; False where there is something already, so that it may not notify."""
        if self.in_c:
            return self.in_c.settle()
        if self._is_empty():
            self.listen()
            fence()  # what came before the driver could see that is not notified of: look again
        return self._is_empty()

    def wants_interrupt(self) -> bool:
        """Whether the driver wants to hear of what was given back since it was last asked."""
        if self.in_c:
            return self.in_c.wants_interrupt()
        given, self._at.unsignalled = self._at.unsignalled, 0
        fence()
        return given > 0 and self._wants_interrupt(given)
