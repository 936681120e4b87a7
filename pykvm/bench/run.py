"""A run of any bench: rows one after the other, each shown as it comes, until the end or Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pykvm.bench.progress import Progress
from pykvm.errors import UsageError


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
        complete: whether it came to its end.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False
    took_s: float = 0.0


def measure(
    items: Sequence[Item],
    take: Callable[[Item], Iterable[Shown]],
    table: Lines,
    say: Callable[[str], None],
    progress: Progress,
) -> Run:
    """Measure one item after the other; Ctrl-C ends it early, and what was measured is kept.

    Args:
        take: measures one; its rows.
        say: prints a line of the table.
    """
    run = Run()
    rows: list[tuple[Shown, float, float]] = []
    with progress as bar:
        say(table.head())
        try:
            for item in items:
                for row in take(item):
                    now_s = bar.elapsed_s
                    rows.append((row, run.took_s, now_s - run.took_s))
                    run.took_s = now_s
                    for line in table.lines(row):
                        say(line)
                bar.advance(item.group)
            run.complete = True
        except KeyboardInterrupt:
            pass
        for line in table.foot([row for row, _, _ in rows]):
            say(line)
    run.rows = [_timed(*each) for each in rows]
    return run


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
        UsageError: one of the texts is in none.
    """
    names = tuple(names)
    found: set[str] = set() if patterns else set(names)
    for pattern in patterns:
        of_group = {name for name, group in zip(names, groups, strict=False) if group == pattern}
        matching = {name for name in names if pattern in name} | of_group
        if not matching:
            raise UsageError(f"no row is called {pattern!r}; `pykvm bench {bench} --list` has them")
        found |= matching
    return found
