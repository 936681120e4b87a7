"""What both forms of a virtqueue in memory have in common: how chains come out of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from pykvm.virtio.chain import Chain, Used
from pykvm.virtio.walk import Walk


class Ring:
    """The device's side of a ring that the driver has set up."""

    _in_c: Walk | None = None
    _quiet = True

    # What the form knows.

    def _available(self, limit: int) -> int:
        """How many chains there may be to take: `limit` at most, 0 where there are none.

        Raises:
            QueueError: the driver counted wrong.
        """
        raise NotImplementedError

    def _walk_in_c(self, walk: Walk, limit: int) -> int:
        """How many of them C finds from the next entry on."""
        raise NotImplementedError

    def _take_one(self) -> Chain:
        """The next one, found in Python.

        Raises:
            QueueError: it breaks a rule.
        """
        raise NotImplementedError

    def _took(self, slots: Sequence[int]) -> None:
        """So many were taken, of so many descriptors each."""
        raise NotImplementedError

    def give(self, given: Sequence[Used]) -> None:
        """Give chains back; the driver sees all at once."""
        raise NotImplementedError

    # Chains.

    def take(self, limit: int) -> list[Chain]:
        """The next chains that the driver has made available: `limit` at most."""
        count = self._available(limit)
        if count == 0:
            return []
        walk, found = self._in_c, []
        if walk is not None:
            found = walk.chains(self, self._walk_in_c(walk, count))
        if not found:
            found = [self._take_one()]
        self._took([chain.slots for chain in found])
        return found

    @property
    def is_drained(self) -> bool:
        """Whether nothing is there, and the driver notifies of what it puts in."""
        return not self._quiet and self._available(1) == 0

    # Packets, whose chains go back at once; none where the next chain is to be looked at.

    def read_packets(self, limit: int, sizes: range, skip: int) -> tuple[list[bytes], int]:
        """What the driver sends, and of how many buffers; see `Walk.read_packets`."""
        walk, count = self._in_c, self._available(limit)
        if walk is None or count == 0:
            return [], 0
        found, used = walk.read_packets(self._walk_in_c(walk, count), sizes, skip)
        self._pass(used)
        return found, walk.buffers

    def write_packets(self, packets: Iterator[bytes], limit: int) -> tuple[int, int]:
        """Put packets into a chain each: how many, and into how many buffers."""
        walk, count = self._in_c, self._available(limit)
        if walk is None or count == 0:
            return 0, 0
        used = walk.write_packets([*islice(packets, self._walk_in_c(walk, count))])
        self._pass(used)
        return len(used), walk.buffers

    def _pass(self, used: Sequence[Used]) -> None:
        if used:
            self._took([slots for _, slots, _ in used])
            self.give(used)
