"""The entropy device. §5.4."""

from __future__ import annotations

import os
from collections.abc import Callable

from pykvm.errors import UsageError
from pykvm.virtio import spec
from pykvm.virtio.device import Device

QUEUE_SIZE = 256
CHUNK_MAX = 1 << 16  # bytes given for one request, however large it is


class Entropy(Device):
    """Random bytes.

    Args:
        source: gives that many of them.

    Raises:
        UsageError: the source is no function.
    """

    device_id = spec.ID_ENTROPY
    queue_sizes = (QUEUE_SIZE,)

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__()
        if not callable(source):
            raise UsageError(f"an entropy source is a function of a size, not {source!r}")
        self._source = source

    def notified(self, index: int) -> None:
        """Fill what the driver has put there."""
        queue = self.queues[index]
        for chain in queue:
            size_bytes = min(chain.writable_bytes, CHUNK_MAX)
            queue.push(chain, chain.write(self._source(size_bytes)))
        self.signal(queue)
