"""A virtqueue as its device sees it: take chains, give them back, ask whether to notify.

The queue knows no device and no transport, and hides which form it has in memory. Whatever the
driver does wrong raises QueueError, nothing outside its buffers is touched, and every walk is
bounded. Source: VIRTIO 1.2 §2.6.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from pykvm.memory import GuestMemory
from pykvm.turn import Turn
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain, QueueError
from pykvm.virtio.packed import PackedRing
from pykvm.virtio.split import SplitRing
from pykvm.virtio.walk import Walk

__all__ = ["Chain", "Queue", "QueueError"]

BURST = 64  # chains that are taken at once
WRITTEN_MAX = 0xFFFF_FFFF  # one less than a chain may have; less is always right to say, §2.7.8.2


class Queue:
    """A virtqueue of `size` entries.

    Attributes:
        needs_notification: whether the driver wants to hear of what was given back since it
            last did.
        size: at most `size_max`; a power of 2 if the ring is split.
        desc_gpa, driver_gpa, device_gpa: its three parts.
        turn: its device's; no chain is taken once that is over.
        cut: called where chains may be left: ask again later.
    """

    def __init__(self, memory: GuestMemory, size_max: int, turn: Turn) -> None:
        self.memory = memory
        self.turn = turn
        self.size_max = size_max
        self.cut: Callable[[], None] = lambda: None
        self._taken: deque[Chain] = deque()
        self.reset()

    def reset(self) -> None:
        """As it was before the driver touched it; chains that are out are forgotten. §2.6.1."""
        self.size = self.size_max
        self.desc_gpa = self.driver_gpa = self.device_gpa = 0
        self._ring: SplitRing | PackedRing | None = None
        self.needs_notification: Callable[[], bool] = bool  # there is none: False
        self._in_order = self._event_idx = False
        self._order: deque[Chain] = deque()
        self._taken.clear()

    @property
    def ready(self) -> bool:
        """Whether the driver has set it up."""
        return self._ring is not None

    def enable(self, features: int) -> None:
        """The driver says that it is set up: check its place once, before any use.

        Raises:
            QueueError: size, alignment or place is not allowed.
        """
        if not 0 < self.size <= self.size_max:
            raise QueueError(f"a queue of {self.size} entries; this one has {self.size_max}")
        form = PackedRing if features & spec.F_RING_PACKED else SplitRing
        places = self.desc_gpa, self.driver_gpa, self.device_gpa
        self._ring = ring = form(self.memory, self.size, places, features)
        self.needs_notification = (ring.in_c or ring).wants_interrupt
        self._in_order = bool(features & spec.F_IN_ORDER)
        self._event_idx = bool(features & spec.F_EVENT_IDX)

    # Taking.

    def take(self, limit: int = BURST) -> list[Chain]:
        """The next chains that the driver has made available; none where there are none.

        While chains are taken the driver need not notify; after that it does again. They are
        `limit` at most, and may be fewer than there are: none where the turn is over, and the
        rest is put off.

        Raises:
            QueueError: the ring or the first of them breaks a rule.
        """
        ring = self._ring
        if ring is None:
            return []
        turn = self.turn
        if turn.is_over or turn.items_left <= 0:
            self.put_off()
            return []
        if self._taken:
            return [self._taken.popleft() for _ in range(min(limit, len(self._taken)))]
        chains = ring.take(limit)
        if not chains and (ring.settle() or not (chains := ring.take(limit))):
            return []
        ring.quiet()
        turn.items_left -= sum([len(each.readable) + len(each.writable) for each in chains])
        if self._in_order:
            self._order.extend(chains)
        return chains

    def direct(self) -> Walk | None:
        """The ring in C, for packets without a Chain for each; `take` finds what these leave.

        None where something comes before what is in it, or back before that. The buffers are to
        be taken from the turn's items.
        """
        turn, ring = self.turn, self._ring
        if ring is None or self._taken or self._order or turn.is_over or turn.items_left <= 0:
            return None
        return ring.in_c

    # Chains.

    def pop(self) -> Chain | None:
        """The next chain; None where there is none. It raises as `take` does."""
        chains = self.take(1)
        return chains[0] if chains else None

    def bursts(self) -> Iterator[list[Chain]]:
        """All chains that are there, some at once: one notification drains them.

        They are as many as the queue has entries at most, since another processor may put in new
        ones for ever, and as the turn allows; the rest is put off.
        """
        chains = 0
        while chains < self.size:
            burst = self.take(min(BURST, self.size - chains))
            if not burst:
                return
            yield burst
            chains += len(burst)
        self.put_off()

    def __iter__(self) -> Iterator[Chain]:
        """The same one by one; what is not taken out of it comes first the next time."""
        turn, taken = self.turn, self._taken
        for burst in self.bursts():
            taken.extend(burst)
            while taken:
                yield taken.popleft()
                if turn.is_over:
                    break

    def put_back(self, chains: Sequence[Chain]) -> None:
        """These were taken, and come first the next time."""
        self._taken.extendleft(reversed(chains))

    def put_off(self) -> None:
        """Leave what is there for later; the driver can ask for it too."""
        if self._ring is not None:
            self._ring.listen()
            self.cut()

    # Giving back.

    def push(self, chain: Chain, written_bytes: int = 0) -> None:
        """Give a chain back, with how many bytes were written to its start. §2.7.8, §2.8.5.

        With VIRTIO_F_IN_ORDER the driver sees it once all that came before are back, §2.7.9. One
        that was taken before the queue was reset is gone.
        """
        ring = self._ring
        if chain.ring is not ring or ring is None:
            return
        if written_bytes > WRITTEN_MAX:
            written_bytes = WRITTEN_MAX
        if not self._in_order:
            ring.give(((chain.head, chain.slots, written_bytes),))
            return
        chain.written_bytes = written_bytes
        while self._order and (written := self._order[0].written_bytes) is not None:
            chain = self._order.popleft()
            ring.give(((chain.head, chain.slots, written),))

    def push_together(self, given: Sequence[tuple[Chain, int]]) -> None:
        """The same for several, which the driver sees at once.

        They must be the oldest that are out where VIRTIO_F_IN_ORDER was negotiated.
        """
        ring = self._ring
        if ring is None or not given or any(chain.ring is not ring for chain, _ in given):
            return
        if self._in_order:
            for _ in given:
                self._order.popleft()
        ring.give([(chain.head, chain.slots, written) for chain, written in given])
