"""stdin on its way to a guest's serial port."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable

from pykvm.errors import ClosedError

_CHUNK_SIZE = 4096
_RETRY_S = 0.01


def start_feeding(feed: Callable[[bytes], int]) -> None:
    """Read stdin in a thread that ends with it, with the machine, or with the process.

    Args:
        feed: takes bytes and says how many of them it took; what is left is offered again.
    """
    threading.Thread(target=_feed_all, args=(feed,), name="pykvm-stdin", daemon=True).start()


def _feed_all(feed: Callable[[bytes], int]) -> None:
    with contextlib.suppress(ClosedError, OSError, io.UnsupportedOperation):
        fd = sys.stdin.fileno()
        while _may_read(fd) and (data := os.read(fd, _CHUNK_SIZE)):
            while data := data[feed(data) :]:
                time.sleep(_RETRY_S)


def _may_read(fd: int) -> bool:
    """A terminal stops a background process that reads from it."""
    return not os.isatty(fd) or os.tcgetpgrp(fd) == os.getpgrp()
