"""Network namespaces for tests: whatever is sent stays in one that the test made."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import pytest

from support.debian import installed

CLONE_NEWNET = 0x4000_0000  # <sched.h>
P = ParamSpec("P")


def in_namespace(test: Callable[P, None]) -> Callable[P, None]:
    """Run a test on a thread of its own in a new, empty network namespace.

    Programs and TAP devices that it starts and opens are in there too; it ends with the last of
    them. Skips where there can be none.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        ended: list[BaseException] = []

        def inside() -> None:
            try:
                _enter()
                test(*args, **kwargs)
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        for error in ended:
            raise error

    return run


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        pytest.skip(f"no network namespace of its own: {os.strerror(ctypes.get_errno())}")
    _ip_or_skip("link set lo up")


def ip(command: str) -> str:
    """Configure the namespace."""
    done = _ip(command)
    assert done.returncode == 0, f"ip {command}: {done.stderr}"
    return done.stdout


def tap(name: str) -> None:
    """Make an interface to which nobody listens; skips where there can be none."""
    _ip_or_skip(f"tuntap add dev {name} mode tap")


def _ip_or_skip(command: str) -> None:
    done = _ip(command)
    if done.returncode:
        pytest.skip(f"ip {command}: {done.stderr.strip()}")


def _ip(command: str) -> subprocess.CompletedProcess[str]:
    program = installed("ip", "iproute2")
    return subprocess.run([program, *command.split()], capture_output=True, text=True)
