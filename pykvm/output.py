"""What a guest prints: kept, up to a bound, and passed on as it comes."""

from __future__ import annotations

import io
from typing import BinaryIO

from pykvm.errors import UsageError

LIMIT_BYTES = 16 << 20


class Output:
    """The bytes that consoles and serial ports wrote, in order.

    Args:
        stream: where they go at once as well, e.g. `sys.stdout.buffer`.

    Attributes:
        data: the first LIMIT_BYTES of them.
        dropped_bytes: how many more there were.

    Raises:
        UsageError: the stream takes text.
    """

    def __init__(self, stream: BinaryIO | None = None) -> None:
        if isinstance(stream, io.TextIOBase):
            raise UsageError("output is bytes; give a binary stream, such as sys.stdout.buffer")
        self.stream = stream
        self.data = bytearray()
        self.dropped_bytes = 0

    def write(self, data: bytes) -> None:
        """Take more output."""
        room = LIMIT_BYTES - len(self.data)
        self.data += data[:room]
        self.dropped_bytes += max(0, len(data) - room)
        if self.stream is not None:
            self.stream.write(data)
            self.stream.flush()
