"""keystone in a process of its own.

Some inputs make keystone crash, and others make it loop for ever, so it never runs inside
the user's process. The child is started when something is first assembled, answers each line
of JSON with another, and ends with its parent's end of the pipe. Run as a file it is the child:
it imports nothing of pykvm.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import threading
from typing import Any, NamedTuple

CHILD_MEMORY_BYTES = 1 << 30
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
            [sys.executable, "-P", __file__],
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


def _serve() -> None:
    """The child: a line of JSON in, a line of JSON out."""
    import keystone

    resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY_BYTES, CHILD_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    modes = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}
    engines = {bits: keystone.Ks(keystone.KS_ARCH_X86, mode) for bits, mode in modes.items()}
    for line in sys.stdin:
        bits, texts = json.loads(line)
        print(json.dumps([_encode(keystone, engines[bits], text) for text in texts]), flush=True)


def _encode(keystone: Any, engine: Any, text: str) -> Reply:
    try:
        code, _ = engine.asm(text, 0, as_bytes=True)
    except keystone.KsError as error:
        return Reply("", error.errno, str(error))
    return Reply(code.hex() if code else "")


if __name__ == "__main__":
    _serve()
