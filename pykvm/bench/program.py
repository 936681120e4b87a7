"""The C programs built along with pykvm, which measurements take turns with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pykvm.errors import PykvmError


class Program:
    """One that waits for commands, a line each, and answers each with a line."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self._name = name
        self._process = process

    def ask(self, command: str) -> list[float]:
        """The numbers of the answer.

        Raises:
            PykvmError: the program has ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise PykvmError(f"the C program {self._name} has no pipes")
        stdin.write(command + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise PykvmError(f"the C program {self._name} ended; run `pykvm doctor`")
        return [float(each) for each in line.split()]


def path(name: str) -> Path:
    """Where the build has put it."""
    from pykvm import _native

    return Path(_native.__file__).with_name(name)


@contextmanager
def running(name: str) -> Iterator[Program]:
    """Start it; it ends with the block."""
    with subprocess.Popen(
        [path(name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Program(name, process)
        finally:
            process.kill()
