"""keystone in a process of its own.

Some inputs make keystone crash, and others make it loop for ever, so it never runs inside
the user's process. The child, keystone_child.py, is started when something is first assembled,
answers each line of JSON with another, and ends with its parent's end of the pipe.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from pykvm.errors import PykvmError

CHILD = Path(__file__).with_name("keystone_child.py")
MAX_REPLY_BYTES = 1 << 20
WATCHDOG_S = 600  # for a child that gets no time at all; what keystone takes is processor time
_NO_MEMORY = (b"bad_alloc", b"MemoryError", b"failed to map", b"Cannot allocate memory")


class Reply(NamedTuple):
    """The bytes in hexadecimal, or none and keystone's error number and text."""

    code: str
    errno: int = 0
    error: str = ""


class KeystoneDiedError(Exception):
    """keystone crashed or did not finish; the message says which.

    Attributes:
        replies: what it said of the instructions before the one that it died of.
    """

    def __init__(self, why: str, replies: list[Reply]) -> None:
        super().__init__(why)
        self.replies = replies


def ask(bits: int, texts: list[str], timeout_s: float) -> list[Reply]:
    """Encode instructions, each for itself.

    Args:
        bits: 16, 32 or 64.
        texts: an instruction each.
        timeout_s: how much processor time each may take.

    Raises:
        KeystoneDiedError: it crashed or did not finish on one of them.
        PykvmError: it does not start.
    """
    replies: list[Reply] = []
    with _lock:
        child = _running_child()
        try:
            child.send([bits, timeout_s, texts])
            for _ in texts:
                replies.append(Reply(*json.loads(child.receive())))
        except EOFError:
            why = child.death(timeout_s)
            _end_child()
            raise KeystoneDiedError(why, replies) from None
        except BaseException:
            _end_child()
            raise
    return replies


class _Child:
    """The process; what it writes to stderr is kept to see what it died of."""

    def __init__(self) -> None:
        self._errors = os.memfd_create("keystone")
        self._process = subprocess.Popen(
            [sys.executable, "-P", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        self._received = bytearray()
        self._is_late = False

    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, request: object) -> None:
        assert self._process.stdin is not None
        left = memoryview(json.dumps(request).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while left:
                left = left[self._process.stdin.write(left) :]

    def receive(self) -> bytes:
        """A line; EOFError where there is none."""
        assert self._process.stdout is not None
        stdout = self._process.stdout.fileno()
        while b"\n" not in self._received:
            self._is_late = not select.select([stdout], [], [], WATCHDOG_S)[0]
            piece = b"" if self._is_late else os.read(stdout, 1 << 16)
            if not piece or len(self._received) > MAX_REPLY_BYTES:
                raise EOFError
            self._received += piece
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        return line

    def death(self, timeout_s: float) -> str:
        """What it died of."""
        if self._is_late:
            return f"keystone did not answer within {WATCHDOG_S} s"
        status = self._end()
        if status == -signal.SIGPROF:
            return f"keystone did not finish within {timeout_s} s on this"
        errors = self._said()
        return f"keystone {'ran out of memory' if _lacks_memory(errors) else 'crashed'} on this"

    def start_problem(self) -> PykvmError:
        """Why it did not start."""
        self._end()
        errors = self._said()
        if b"ModuleNotFoundError" in errors:
            return PykvmError("assembling needs keystone-engine; install it")
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if _lacks_memory(errors) or limit != resource.RLIM_INFINITY:
            return PykvmError("out of memory: keystone does not start; raise `ulimit -v`")
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        return PykvmError(f"keystone does not start: {last or 'it crashed'}")

    def _said(self) -> bytes:
        return os.pread(self._errors, 1 << 16, 0)

    def _end(self) -> int:
        """Its status; it is killed where it has not ended by itself."""
        if self._received or self._is_late:
            self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        os.close(self._errors)


def _lacks_memory(errors: bytes) -> bool:
    return any(each in errors for each in _NO_MEMORY)


_lock = threading.Lock()
_child: _Child | None = None


def _running_child() -> _Child:
    global _child
    if _child is None or not _child.is_running():
        _end_child()
        atexit.register(_end_child)
        _child = _Child()
        try:
            _child.receive()  # that it is ready
        except EOFError:
            problem = _child.start_problem()
            _end_child()
            raise problem from None
    return _child


def _end_child() -> None:
    global _child
    atexit.unregister(_end_child)
    if _child is not None:
        _child.close()
    _child = None
