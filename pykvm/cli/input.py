"""stdin on its way to a guest's serial port."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator

from pykvm.cli.options import say
from pykvm.errors import ClosedError

_CHUNK_SIZE = 4096
_WAITING_MAX = 1 << 16
_RETRY_S = 0.01
ESCAPE = b"\x1d"  # Ctrl-]


def start_feeding(feed: Callable[[bytes], int], stop: Callable[[], None] | None = None) -> None:
    """Read stdin in a thread that ends with it, with the machine, or with the process.

    Args:
        feed: takes bytes and says how many of them it took; what is left is offered again.
        stop: called at ESCAPE, which is looked for even while the guest takes nothing; None where
            that is a byte as any other.
    """
    threading.Thread(target=_feed_all, args=(feed, stop), name="pykvm-stdin", daemon=True).start()


def _feed_all(feed: Callable[[bytes], int], stop: Callable[[], None] | None) -> None:
    waiting = escape = b""
    with contextlib.suppress(ClosedError, OSError, io.UnsupportedOperation):
        fd = sys.stdin.fileno()
        while not escape:
            if not waiting or (stop is not None and _has_input(fd)):
                if not _may_read(fd) or not (data := os.read(fd, _CHUNK_SIZE)):
                    return
                if stop is not None:
                    data, escape, _ = data.partition(ESCAPE)
                waiting = (waiting + data)[:_WAITING_MAX]
            waiting = waiting[feed(waiting) :]
            if waiting:
                time.sleep(_RETRY_S)
        if stop is not None:
            stop()


def _has_input(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


@contextlib.contextmanager
def raw_terminal() -> Iterator[bool]:
    """Let the guest see every key, where stdin is a terminal: echo and signals are its affair.

    Yields:
        Whether stdin is one; then ESCAPE is the only way out.
    """
    try:
        fd = sys.stdin.fileno()
        is_raw = os.isatty(fd) and _may_read(fd)
    except (OSError, io.UnsupportedOperation):
        is_raw = False
    if not is_raw:
        yield False
        return
    before = termios.tcgetattr(fd)
    say("Ctrl-] ends the run")
    try:
        tty.setraw(fd)
        with _ends_of_lines("\r\n"):
            yield True
    finally:
        with contextlib.suppress(termios.error):  # it may be gone
            termios.tcsetattr(fd, termios.TCSAFLUSH, before)


@contextlib.contextmanager
def _ends_of_lines(newline: str) -> Iterator[None]:
    """How lines on stderr end meanwhile: a raw terminal only goes down at a newline."""
    if not isinstance(sys.stderr, io.TextIOWrapper) or not sys.stderr.isatty():
        yield
        return
    sys.stderr.reconfigure(newline=newline)
    try:
        yield
    finally:
        sys.stderr.reconfigure(newline=None)


def _may_read(fd: int) -> bool:
    """A terminal stops a background process that reads from it."""
    return not os.isatty(fd) or os.tcgetpgrp(fd) == os.getpgrp()
