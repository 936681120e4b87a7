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
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

CHILD = Path(__file__).with_name("keystone_child.py")
MAX_REPLY_BYTES = 64 << 20

_lock = threading.Lock()
_child: subprocess.Popen[bytes] | None = None


class Reply(NamedTuple):
    """The bytes in hexadecimal, or none and keystone's error number and text."""

    code: str
    errno: int = 0
    error: str = ""


class KeystoneDiedError(Exception):
    """keystone crashed or did not finish; the message says which."""


def ask(bits: int, texts: list[str], timeout_s: float) -> list[Reply]:
    """Encode instructions, each for itself.

    Args:
        bits: 16, 32 or 64.
        texts: an instruction each.
        timeout_s: how long all may take together.

    Raises:
        KeystoneDiedError: it crashed or did not finish on one of them.
    """
    request = json.dumps([bits, texts]).encode() + b"\n"
    with _lock:
        child = _running_child()
        try:
            reply = _exchange(child, request, timeout_s)
        except BaseException:
            _end_child()
            raise
    return [Reply(*each) for each in json.loads(reply)]


def _running_child() -> subprocess.Popen[bytes]:
    global _child
    if _child is None or _child.poll() is not None:
        _end_child()
        atexit.register(_end_child)
        _child = subprocess.Popen(
            [sys.executable, "-P", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
    return _child


def _end_child() -> None:
    global _child
    atexit.unregister(_end_child)
    if _child is not None:
        _child.kill()
        _child.wait()
        for pipe in (_child.stdin, _child.stdout):
            if pipe is not None:
                pipe.close()
    _child = None


def _exchange(child: subprocess.Popen[bytes], request: bytes, timeout_s: float) -> bytes:
    if child.stdin is None or child.stdout is None:
        raise KeystoneDiedError("keystone has no pipes")
    reply = bytearray()
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(request)
    while not reply.endswith(b"\n"):
        if not select.select([child.stdout], [], [], timeout_s)[0]:
            raise KeystoneDiedError(f"keystone did not finish within {timeout_s} s on this")
        piece = os.read(child.stdout.fileno(), 1 << 20)
        reply += piece
        if not piece or len(reply) > MAX_REPLY_BYTES:
            raise KeystoneDiedError("keystone crashed on this")
    return bytes(reply)
