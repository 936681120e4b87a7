"""Benches whose subjects take turns: how one does beside another, with a bar for it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pykvm.bench.figures import Figures, median
from pykvm.bench.run import WIDTH
from pykvm.bench.sampler import Side, Turns, turns, why_not
from pykvm.errors import PykvmError

LESS, MORE, SAME = "less", "more", "same"  # what is better
NAME_WIDTH = 30
_VERDICTS = {True: "met", False: "missed", None: ""}


def ratio(ours: float, theirs: float) -> float:
    """Ours as a multiple of theirs."""
    return ours / theirs


def identity(reading: Any) -> float:
    """For sides that read nothing but a number."""
    return float(reading)


@dataclass(frozen=True)
class Question:
    """What is asked of a contest: a row.

    Attributes:
        name: unique in a bench.
        of: the side that ours is compared with; "" for none.
        bar: for the figure; None where none is set.
        better: LESS, MORE, or SAME where the figure should be 1 and the bar is how far it may be.
        compare: the figure of a round, of our reading and the other's.
        read: the number that is compared, of a reading.
        unit: of the figure.
        reads: the unit of what sides read.
        details: more of our readings to show: of each round, then their median.
        limits: what such a detail has to be less than, too.
    """

    name: str
    of: str = ""
    bar: float | None = None
    better: str = LESS
    compare: Callable[[float, float], float] = ratio
    read: Callable[[Any], float] = identity
    unit: str = "x"
    reads: str = "ns"
    details: Mapping[str, Callable[[Any], float]] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    def row(self, found: Turns, ours: str) -> Row:
        """The answer: figures are medians over the rounds, and of the rounds' comparisons."""
        if ours in found.missing:
            return Row(self, why=found.missing[ours])
        sides = {name: list(map(self.read, each)) for name, each in found.readings.items()}
        pairs = list(zip(sides[ours], sides.get(self.of, ()), strict=False))
        details = {
            name: median(map(read, found.readings[ours])) for name, read in self.details.items()
        }
        return Row(
            self, {name: median(each) for name, each in sides.items()}, details,
            [self.compare(*pair) for pair in pairs], sides, note="; ".join(found.missing.values()),
        )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        values: the median of each side, by name.
        details: the same of each detail.
        samples: the figure of each round; none where there is nothing to compare with.
        sides: what each side read, round by round.
        note: why a side is not there.
        why: why nothing was measured.
    """

    question: Question
    values: dict[str, float] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)
    samples: Sequence[float] = ()
    sides: Mapping[str, Sequence[float]] = field(default_factory=dict)
    note: str = ""
    why: str = ""

    @property
    def figure(self) -> float | None:
        """What the bar is about."""
        return median(self.samples) if self.samples else None

    @property
    def met(self) -> bool | None:
        """Whether the figure and all limits are kept; None without a figure or a bar."""
        question, figure = self.question, self.figure
        if any(self.details.get(name, 0) >= most for name, most in question.limits.items()):
            return False
        if figure is None or question.bar is None:
            return None
        if question.better == SAME:
            return abs(figure - 1) <= question.bar
        return figure >= question.bar if question.better == MORE else figure <= question.bar

    def as_dict(self) -> dict[str, Any]:
        """For JSON; docs/measuring.md describes the keys."""
        question = self.question
        found: dict[str, Any] = {"name": question.name, "measured": not self.why}
        if self.why:
            return {**found, "why": self.why}
        figures = Figures.of(self.samples) if self.samples else None
        return {
            **found,
            **self.values,
            "sides_unit": question.reads,
            "figure": self.figure,
            "unit": question.unit,
            "of": question.of,
            "bar": question.bar,
            "better": question.better,
            "met": self.met,
            "low": figures and figures.low,
            "high": figures and figures.high,
            "spread": figures and figures.spread,
            "count": len(self.samples),
            "note": self.note,
            "details": dict(self.details),
            "samples": list(self.samples),
            "sides": {name: list(each) for name, each in self.sides.items()},
        }


@dataclass(frozen=True)
class Contest:
    """Sides that take turns, and what is asked of them.

    Attributes:
        open: makes the sides, of what the bench has prepared; the stack closes what it opens.
            A side that is not there says why when it is its turn.
        ours: the side that is compared with the others.
        times: rounds for each that is asked for, where they are short.
    """

    questions: tuple[Question, ...]
    open: Callable[[Any, ExitStack], Mapping[str, Side]]
    ours: str = "ours"
    times: int = 1

    @property
    def group(self) -> str:
        """What progress calls it."""
        return self.questions[0].name

    def measure(self, prepared: Any, rounds: int, before: Sequence[Row]) -> Iterator[Row]:
        """The rows.

        Raises:
            KeyboardInterrupt: it was interrupted; rounds that were whole are in the rows.
        """
        with ExitStack() as stack:
            try:
                sides = self.open(prepared, stack)
            except (PykvmError, OSError, MemoryError) as error:
                found = Turns({}, {self.ours: why_not(error)})
            else:
                found = turns(sides, rounds * self.times)
        if found.interrupted and not found.readings.get(self.ours):
            raise KeyboardInterrupt
        for question in self.questions:
            yield question.row(found, self.ours)
        if found.interrupted:
            raise KeyboardInterrupt


def taker(
    prepared: Any, rounds: int, names: Collection[str] = ()
) -> Callable[[Contest], Iterator[Row]]:
    """Measures contests, one after the other; yields the rows that have these names, or all."""
    before: list[Row] = []

    def take(contest: Contest) -> Iterator[Row]:
        for row in contest.measure(prepared, rounds, before):
            before.append(row)
            if not names or row.question.name in names:
                yield row

    return take


@dataclass(frozen=True)
class Column:
    """What a table shows of each row.

    Attributes:
        key: of the row's values or details.
        form: of the value and its unit.
    """

    key: str
    heading: str
    form: str = "{value:.2f} {unit}"
    width: int = 10
    scale: float = 1.0

    def cell(self, row: Row) -> str:
        """The value as text."""
        if (value := (row.values | row.details).get(self.key)) is None:
            return " " * self.width
        text = self.form.format(value=value * self.scale, unit=row.question.reads)
        return f"{text:>{self.width}}"


class Table:
    """Lines for rows, of a bench's columns."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self._columns = tuple(columns)

    def head(self) -> str:
        """What the columns are."""
        heads = " ".join(f"{each.heading:>{each.width}}" for each in self._columns)
        return f"{'':{NAME_WIDTH}} {heads}  figure            bar"

    def lines(self, row: Row) -> Iterator[str]:
        """A row; below it, why a side is not there."""
        question, name = row.question, f"{row.question.name:{NAME_WIDTH}}"
        if row.why:
            yield from _wrapped(f"not measured: {row.why}", f"{name} ")
            return
        cells = " ".join(each.cell(row) for each in self._columns)
        figure = "" if row.figure is None else f"{row.figure:.3f} {question.unit}"
        bar = "" if question.bar is None else str(question.bar)
        bar = f"within {bar}" if question.better == SAME else bar
        yield f"{name} {cells}  {figure:16}  {bar} {_VERDICTS[row.met]}".rstrip()
        yield from _wrapped(row.note, "  ")

    def foot(self, rows: Iterable[Any]) -> Iterator[str]:
        """Nothing."""
        yield from ()


def _wrapped(text: str, before: str) -> list[str]:
    """Lines that are no wider than a table."""
    indent = " " * len(before)
    return textwrap.wrap(text, WIDTH, initial_indent=before, subsequent_indent=indent)
