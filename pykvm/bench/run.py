"""A run of any bench: rows one after the other, each shown as it comes, until something ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pykvm.bench.progress import Progress
from pykvm.errors import UsageError

WIDTH = 100  # of a table


class Grouped(Protocol):
    """Something to measure."""

    @property
    def group(self) -> str:
        """What progress calls it."""


Item = TypeVar("Item", bound=Grouped)


class Shown(Protocol):
    """A row as a bench has it."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""


class Lines(Protocol):
    """A table."""

    def head(self) -> str:
        """What the columns are."""

    def lines(self, row: Any) -> Iterator[str]:
        """A row."""

    def foot(self, rows: Iterable[Any]) -> Iterator[str]:
        """What stands below."""


@dataclass
class Run:
    """What came of it.

    Attributes:
        rows: as JSON has them.
        ended_by: Ctrl-C, or what went wrong with the table; None where it came to its end.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    ended_by: BaseException | None = None
    took_s: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether it came to its end."""
        return self.ended_by is None


def measure(
    run: Run,
    items: Sequence[Item],
    take: Callable[[Item], Iterable[Shown]],
    table: Lines,
    say: Callable[[str], None],
    progress: Progress,
) -> None:
    """Measure one item after the other.

    Args:
        run: has what was measured so far, whatever ends it.
        take: measures one; its rows.
        say: prints a line of the table.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        OSError: the table cannot be printed.
    """
    shown: list[Shown] = []
    with progress as bar:
        try:
            say(table.head())
            for item in items:
                for row in take(item):
                    now_s = bar.elapsed_s
                    run.rows.append(_timed(row, run.took_s, now_s - run.took_s))
                    run.took_s = now_s
                    shown.append(row)
                    for line in table.lines(row):
                        say(line)
                bar.advance(item.group)
        finally:
            with suppress(OSError):
                for line in table.foot(shown):
                    say(line)


def _timed(row: Shown, started_s: float, took_s: float) -> dict[str, Any]:
    found = row.as_dict()
    times = {"started_s": round(started_s, 3), "took_s": round(took_s, 3)}
    return {"name": found["name"], **times, **found}


def chosen(
    bench: str, names: Iterable[str], patterns: Sequence[str], groups: Sequence[str] = ()
) -> set[str]:
    """The rows whose name has one of these texts in it, or whose group is one; else all.

    Args:
        groups: of the rows, in their order.

    Raises:
        UsageError: one of the texts is in none, or is empty.
    """
    names = tuple(names)
    found: set[str] = set() if patterns else set(names)
    for pattern in patterns:
        if not pattern:
            raise UsageError("a row's name is missing")
        of_group = {name for name, group in zip(names, groups, strict=False) if group == pattern}
        matching = {name for name in names if pattern in name} | of_group
        if not matching:
            raise UsageError(f"no row is called {pattern!r}; `pykvm bench {bench} --list` has them")
        found |= matching
    return found
