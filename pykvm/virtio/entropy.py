"""The entropy device. §5.4."""

from __future__ import annotations

import os
from collections.abc import Callable

from pykvm.errors import UsageError
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain
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
        self.serve(queue, queue, self._fill)

    def _fill(self, chain: Chain) -> int:
        size_bytes = min(chain.writable_bytes, CHUNK_MAX)
        self.turn.spend(size_bytes)
        data = self._source(size_bytes)
        if not isinstance(data, bytes | bytearray) or len(data) != size_bytes:
            raise UsageError(
                f"an entropy source gives {size_bytes} bytes where it is asked for them"
            )
        return chain.write(data)
