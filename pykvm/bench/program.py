"""The C programs built along with pykvm, which measurements take turns with."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pykvm.errors import PykvmError


class Program:
    """One that waits for commands, a line each, and answers each with a line."""

    def __init__(self, name: str, stdin: TextIO, stdout: TextIO) -> None:
        self._name = name
        self._stdin = stdin
        self._stdout = stdout

    def ask(self, command: str) -> list[float]:
        """The numbers of the answer.

        Raises:
            PykvmError: the program has ended.
        """
        try:
            print(command, file=self._stdin, flush=True)
            line = self._stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PykvmError(f"the C program {self._name} ended; run `pykvm doctor`")
        return [float(each) for each in line.split()]


def path(name: str) -> Path:
    """Where the build has put it."""
    from pykvm import _native

    return Path(_native.__file__).with_name(name)


@contextmanager
def running(name: str) -> Iterator[Program]:
    """Start it; it ends with the block.

    `subprocess` loads four libraries, see `floor.median`.
    """
    its_stdin, to_it = os.pipe()
    from_it, its_stdout = os.pipe()
    redirections = [(os.POSIX_SPAWN_DUP2, its_stdin, 0), (os.POSIX_SPAWN_DUP2, its_stdout, 1)]
    with os.fdopen(to_it, "w") as stdin, os.fdopen(from_it) as stdout:
        try:
            pid = os.posix_spawn(path(name), [name], os.environ, file_actions=redirections)
        finally:
            os.close(its_stdin)
            os.close(its_stdout)
        try:
            yield Program(name, stdin, stdout)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
