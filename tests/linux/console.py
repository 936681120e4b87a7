"""A machine in a process of its own, and the shell on its serial port."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from types import TracebackType

PROMPT = r"/ # "


class Console:
    """A started machine whose first process gives a shell.

    Args:
        command: what starts it, with the serial port on stdin and stdout.

    Attributes:
        said: all that came from the serial port, or as an error.
    """

    def __init__(self, command: list[str]) -> None:
        self.said = ""
        self._looked_at = 0
        self._count = 0
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def wait_for(self, pattern: str, timeout_s: float = 90) -> re.Match[str]:
        """Read on until the pattern comes; what lies before it is not looked at again."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.compile(pattern).search(self.said, self._looked_at)):
            assert self._read(deadline - time.monotonic()), f"no {pattern!r}: {self.tail()}"
        self._looked_at = found.end()
        return found

    def _read(self, timeout_s: float) -> bool:
        stdout = self._process.stdout
        assert stdout is not None
        if timeout_s <= 0 or not select.select([stdout], [], [], timeout_s)[0]:
            return False
        data = os.read(stdout.fileno(), 65536)
        self.said += data.decode(errors="replace").replace("\r", "")
        return bool(data)

    def tail(self) -> str:
        """The end of it."""
        return self.said[-2000:]

    def send(self, text: str) -> None:
        """Type."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(text.encode())
        stdin.flush()

    def run(self, command: str, timeout_s: float = 60) -> str:
        """Run a command in the shell; returns what it printed. It must succeed."""
        self._count += 1
        self.send(f"echo begin-$(({self._count})); {command}; echo end-$?-$(({self._count}))\n")
        self.wait_for(f"begin-{self._count}\n")
        start = self._looked_at
        found = self.wait_for(rf"end-(\d+)-{self._count}\n", timeout_s)
        assert found[1] == "0", f"{command} failed: {self.tail()}"
        return self.said[start : found.start()]

    def end(self, timeout_s: float = 60) -> int:
        """Wait for the machine's own end; returns its exit status."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline - time.monotonic()):
            pass
        return self._process.wait(max(1, deadline - time.monotonic()))

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
