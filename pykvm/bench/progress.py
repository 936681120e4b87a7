"""How far a measurement is, and how long it still takes: on stderr, beside the table.

Nothing is drawn while a row is measured: it would take time from it.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any


class Progress:
    """Counts rows; says so in plain lines, one for each group."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._start = time.monotonic()
        self._group = ""

    def __enter__(self) -> Progress:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return time.monotonic() - self._start

    @property
    def left_s(self) -> float:
        """As the rows so far make one expect."""
        return self.elapsed_s / max(1, self.done) * (self.total - self.done)

    def advance(self, group: str) -> None:
        """A row of a group is done."""
        self.done += 1
        if group != self._group and self.done < self.total:
            self._group = group
            print(f"pykvm: {self._said()}", file=sys.stderr, flush=True)

    def _said(self) -> str:
        return f"{self.done} of {self.total} rows, about {self.left_s:.0f} s left"


class Bar(Progress):
    """The same as a bar at a terminal's last line, by rich."""

    def __init__(self, total: int, console: Any) -> None:
        super().__init__(total)
        rich: Any = import_module("rich.progress")
        self._rich = rich.Progress(
            rich.BarColumn(), rich.TextColumn("{task.description}"),
            console=console, auto_refresh=False, transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )  # fmt: skip
        self._task = self._rich.add_task("measuring", total=total)

    def __enter__(self) -> Progress:
        """Draw it."""
        self._rich.start()
        self._rich.refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it away; the terminal may be gone."""
        with suppress(OSError):
            self._rich.stop()

    def advance(self, group: str) -> None:
        """A row is done."""
        self.done += 1
        self._rich.update(self._task, completed=self.done, description=self._said(), refresh=True)


def progress(total: int) -> Progress:
    """A bar where there is a terminal of some width and rich, else plain lines."""
    if sys.stderr.isatty() and find_spec("rich") is not None:
        # The table's lines pass through it, and it leaves them as wide as they are.
        console = import_module("rich.console").Console(stderr=True, soft_wrap=True)
        if console.width:
            return Bar(total, console)
    return Progress(total)
