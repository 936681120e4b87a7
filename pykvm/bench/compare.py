"""Which rows of two results differ by more than their own scatter.

Samples that follow each other are alike: the clock rate, the caches and the neighbours drift, so
the interval that a bootstrap draws from single samples is too narrow to compare runs by. Here a
row's uncertainty comes from its blocks: the samples in their order are cut into a few long pieces,
and the scatter of the pieces' medians tells how far the row's median wanders. Of several lengths
the one that scatters most counts, since drift that is longer than a block shows in longer ones
only; and where longer blocks tell of more error than shorter ones, as much is added again.
Source: Flyvbjerg and Petersen, Error estimates on averages of correlated data (1989).

A row has changed where the difference of the medians is beyond Student's bound for that
uncertainty, the two intervals of the medians are apart, and it is more than one step of the clock
and than what any two runs differ by. The bound is for all rows together (Bonferroni): in 95 of 100
comparisons of equals no row changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pykvm.bench.contest import LESS, SAME
from pykvm.bench.figures import CONFIDENCE, percentile
from pykvm.errors import UsageError
from pykvm.text import printable

BLOCKS = (5, 10, 20)  # into how many pieces the samples of a row are cut
FREEDOM = 2 * (BLOCKS[0] - 1)  # what the longest blocks of two results leave
LEAST_PERCENT = 1.0
SAMPLES_MIN = 2 * BLOCKS[0]


@dataclass(frozen=True)
class Series:
    """What is compared of a row: times of `bench exits`, figures of the others.

    Attributes:
        low, high: the median's confidence interval.
        samples: in their order.
        better: LESS, MORE or SAME, as a question has it.
    """

    median: float
    low: float
    high: float
    samples: Sequence[float]
    unit: str
    better: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Series | None:
        """A row's as JSON has it; None where there is no figure."""
        if not row["measured"]:
            return None
        if "ns" in row:
            ns = row["ns"]
            return cls(ns["median"], ns["low"], ns["high"], row["samples_ns"], "ns", LESS)
        if row["figure"] is None:
            return None
        return cls(
            row["figure"], row["low"], row["high"], row["samples"], row["unit"], row["better"]
        )


@dataclass(frozen=True)
class Change:
    """One row of both results.

    Attributes:
        percent: by how much the second's median is above the first's.
        bound: the least change that could be told from none, in percent.
        changed: whether it is one.
    """

    name: str
    first: Series
    second: Series
    percent: float
    bound: float
    changed: bool

    @property
    def is_blind(self) -> bool:
        """Whether there are too few samples to tell any change."""
        return min(len(self.first.samples), len(self.second.samples)) < SAMPLES_MIN

    @property
    def is_worse(self) -> bool:
        """Whether the second is slower, or further from what it should be."""
        if self.second.better == SAME:
            return abs(self.second.median - 1) > abs(self.first.median - 1)
        return (self.percent > 0) == (self.second.better == LESS)


@dataclass(frozen=True)
class Comparison:
    """Two results.

    Attributes:
        changes: of rows that both measured, in the second's order.
        only_first, only_second: names of rows that were measured in one of them only.
    """

    changes: tuple[Change, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def worse(self, percent: float) -> tuple[Change, ...]:
        """Rows that are worse by more than so many percent."""
        return tuple(
            each
            for each in self.changes
            if each.changed and each.is_worse and abs(each.percent) > percent
        )


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> Comparison:
    """Compare two results of one bench, as `document.read` returns them.

    Raises:
        UsageError: they are of different benches or backends, or rows of different units.
    """
    benches = [each["bench"] for each in (first, second)]
    if benches[0] != benches[1]:
        raise UsageError(f"`bench {benches[0]}` cannot be compared with `bench {benches[1]}`")
    backends = [each["environment"]["backend"] for each in (first, second)]
    if backends[0] != backends[1]:
        raise UsageError(f"backend {backends[0]} cannot be compared with {backends[1]}")
    old, new = (
        {row["name"]: series for row in each["rows"] if (series := Series.of(row))}
        for each in (first, second)
    )
    both = [name for name in new if name in old]
    for name in both:
        kinds = [f"{each.unit}, {each.better} is better" for each in (old[name], new[name])]
        if kinds[0] != kinds[1]:
            raise UsageError(f"{name}: {kinds[0]}, cannot be compared with {kinds[1]}")
    return Comparison(
        tuple(change(name, old[name], new[name], len(both)) for name in both),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name not in old),
    )


def different_in_kind(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """What makes the two places no equals: a line each."""
    for meaning, section, key in (
        ("processor", "cpu", "model"), ("host kind", "host", "kind"),
        ("KVM module", "kvm", "module"), ("paging", "kvm", "paging"),
    ):  # fmt: skip
        values = [each["environment"].get(section, {}).get(key) for each in (first, second)]
        if values[0] != values[1]:
            there, here = (printable(str(each)) for each in values)
            yield f"{meaning}: {there} there, {here} here"


def change(name: str, old: Series, new: Series, rows: int = 1) -> Change:
    """Compare one row of two results.

    Args:
        rows: how many are compared in all, any of which might seem to change by chance.
    """
    first, second = old.median, new.median
    errors = [_error(old.samples), _error(new.samples)]
    bound = max(
        student(1 - (1 - CONFIDENCE) / 2 / rows, FREEDOM) * math.hypot(*errors),
        _step(old.samples),
        _step(new.samples),
        abs(first) * LEAST_PERCENT / 100,
    )
    apart = new.low > old.high or new.high < old.low
    scale = 100 / abs(first) if first else math.inf
    difference = second - first
    return Change(
        name,
        old,
        new,
        difference * scale if difference else 0.0,
        bound * scale,
        apart and abs(difference) > bound,
    )


def _error(samples: Sequence[float]) -> float:
    """The standard error of a row's median."""
    if len(samples) < SAMPLES_MIN:
        return math.inf
    errors = [_block_error(samples, count) for count in BLOCKS if 2 * count <= len(samples)]
    longest, shortest = errors[0], errors[-1]
    return max(errors) * max(1.0, longest / shortest if shortest else 1.0)


def _block_error(samples: Sequence[float], count: int) -> float:
    edges = [len(samples) * each // count for each in range(count + 1)]
    medians = [percentile(sorted(samples[low:high]), 50) for low, high in pairwise(edges)]
    mean = math.fsum(medians) / count
    variance = math.fsum((each - mean) ** 2 for each in medians) / (count - 1)
    return math.sqrt(variance / count)


def _step(samples: Sequence[float]) -> float:
    """The least that two samples differ by: the clock's step, as far as it shows."""
    ordered = sorted(set(samples))
    return min((b - a for a, b in pairwise(ordered)), default=0.0)


def student(probability: float, freedom: int) -> float:
    """Student's quantile for a probability above one half."""
    low, high = 0.0, 1.0
    while _student_below(high, freedom) < probability and high < math.inf:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _student_below(middle, freedom) < probability else (low, middle)
        )
    return high


def _student_below(t: float, freedom: int) -> float:
    """How much of Student's distribution is below t.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + within / 2
