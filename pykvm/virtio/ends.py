"""The host's ends of byte streams that a guest holds the other end of: streams and terminals."""

from __future__ import annotations

import os
import select
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, Protocol

from pykvm.errors import UsageError
from pykvm.worker import READ, WRITE

CHUNK_BYTES = 4096
LOOK_S = 0.25  # how often a terminal is looked at that nobody has open
DRAIN_S = 1.0  # how long a reader has for the last output
_DRAIN_LOOK_S = 0.01


class Port(Protocol):
    """What an end sees of the guest's side; all of it under the machine's lock."""

    @property
    def room_bytes(self) -> int:
        """How much input it takes now."""
        ...

    def feed(self, data: bytes) -> int:
        """Send input to the guest; returns how much was taken."""
        ...

    def resume(self) -> None:
        """Output can be written again."""
        ...

    def post(self, call: Callable[[], None], delay_s: float = 0.0) -> None:
        """See `Device.post`."""
        ...

    def watch(self, fd: int, callback: Callable[[], None], events: int = READ) -> None:
        """See `Device.watch`."""
        ...

    def unwatch(self, fd: int) -> None:
        """See `Device.unwatch`."""
        ...


class End:
    """An end that has no input and lets output fall."""

    def attach(self, port: Port) -> None:
        """Take up work for a port; called once."""

    def write(self, data: bytes) -> int:
        """Take output; where that is not all of it, call `port.resume` later."""
        return len(data)

    def has_room(self) -> None:
        """The port takes input again, after it had no room for some."""

    def close(self) -> None:
        """Give descriptors back."""


class Stream(End):
    """Python streams, such as `sys.stdout.buffer` and `sys.stdin.buffer`, which stay open.

    Args:
        output: where the guest's output goes; `write` may block.
        input: where its input comes from. One with a descriptor is read by that, as far as
            there is something; one without is read to its end as the guest takes it.

    Raises:
        UsageError: one of them is no binary stream.
    """

    def __init__(self, output: BinaryIO | None = None, input: BinaryIO | None = None) -> None:
        _check_binary(output, "write", "sys.stdout.buffer")
        _check_binary(input, "read", "sys.stdin.buffer")
        self._output = output
        self._input = input

    def attach(self, port: Port) -> None:
        """Wait for input."""
        self._port = port
        self._fd = _descriptor(self._input)
        self.has_room()

    def write(self, data: bytes) -> int:
        """All of it, at once."""
        if self._output is not None:
            self._output.write(data)
            self._output.flush()
        return len(data)

    def has_room(self) -> None:
        """Go on reading: what cannot be waited for always has something."""
        if self._input is None:
            return
        try:
            if self._fd is not None:
                self._port.watch(self._fd, self._read)
                return
        except PermissionError:  # a regular file
            pass
        self._port.post(self._read_all)

    def _read_all(self) -> None:
        while self._input is not None and self._port.room_bytes:
            self._read()

    def _read(self) -> None:
        if self._input is None:
            return
        size_bytes = min(self._port.room_bytes, CHUNK_BYTES)
        if size_bytes and (data := self._take(self._input, size_bytes)):
            self._port.feed(data)
            return
        if self._fd is not None:
            self._port.unwatch(self._fd)
        if size_bytes:
            self._input = None  # it has come to its end

    def _take(self, stream: BinaryIO, size_bytes: int) -> bytes:
        if self._fd is None:
            return stream.read(size_bytes)
        try:
            return os.read(self._fd, size_bytes)
        except OSError:
            return b""

    def close(self) -> None:
        """Read no more."""
        self._input = None


def _check_binary(stream: BinaryIO | None, method: str, example: str) -> None:
    is_text = hasattr(stream, "encoding")
    if stream is not None and (is_text or not hasattr(stream, method)):
        raise UsageError(f"a Stream takes binary streams, such as {example}, not {stream!r}")


def _descriptor(stream: BinaryIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except OSError:
        return None


class Pty(End):
    """A pseudo-terminal for other programs: `screen PATH`, say.

    Output falls while nobody has it open. One that does not read makes the guest wait.

    Attributes:
        path: its name, such as "/dev/pts/3".
    """

    def __init__(self) -> None:
        self._fd, terminal = os.openpty()
        tty.setraw(terminal)
        self.path = os.ttyname(terminal)
        os.close(terminal)  # from now on a hang-up tells that nobody has it open
        os.set_blocking(self._fd, False)
        self._is_full = False

    @property
    def _is_open(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, 0)
        return not poll.poll(0)

    def attach(self, port: Port) -> None:
        """Wait for somebody."""
        self._port = port
        self._look()

    def _look(self) -> None:
        if self._is_open:
            self._watch()
            return
        self._read()  # what somebody left who was here only shortly
        self._port.post(self._look, LOOK_S)

    def _watch(self) -> None:
        events = (READ if self._port.room_bytes else 0) | (WRITE if self._is_full else 0)
        self._port.watch(self._fd, self._ready, events)

    def _ready(self) -> None:
        self._read()
        if self._is_full:
            self._is_full = False
            self._port.resume()
        if self._is_open:
            self._watch()
        else:
            self._port.unwatch(self._fd)
            self._look()

    def _read(self) -> None:
        size_bytes = min(self._port.room_bytes, CHUNK_BYTES)
        with suppress(OSError):  # EAGAIN, or EIO after a hang-up
            if size_bytes:
                self._port.feed(os.read(self._fd, size_bytes))

    def has_room(self) -> None:
        """Go on reading."""
        if self._is_open:
            self._watch()

    def write(self, data: bytes) -> int:
        """What the terminal takes."""
        if not self._is_open:
            return len(data)
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError:
            return len(data)  # it was hung up just now
        if written < len(data):
            self._is_full = True
            self._watch()
        return written

    def close(self) -> None:
        """Hang up, after DRAIN_S for who is still to read: a hang-up takes away what is unread."""
        if self._fd >= 0:
            deadline = time.monotonic() + DRAIN_S
            try:
                while self._is_open and self._is_unread() and time.monotonic() < deadline:
                    time.sleep(_DRAIN_LOOK_S)
            finally:
                os.close(self._fd)
                self._fd = -1

    def _is_unread(self) -> bool:
        try:
            terminal = os.open(self.path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:  # its reader has it for itself
            return False
        try:
            return bool(select.select([terminal], [], [], 0)[0])
        finally:
            os.close(terminal)
