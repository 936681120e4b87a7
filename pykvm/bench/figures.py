"""What many measurements of one thing say: percentiles, spread, and how sure the median is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
_DEVIATIONS = 9  # what a binomial has beyond them is less than rounding


@dataclass(frozen=True)
class Figures:
    """A distribution, in the unit of its samples.

    Attributes:
        count: number of samples.
        spread: median absolute deviation from the median.
        low, high: the median's confidence interval.
    """

    count: int
    minimum: float
    median: float
    p90: float
    p99: float
    p999: float
    maximum: float
    spread: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Figures:
        """The figures of at least one sample."""
        ordered = sorted(samples)
        median = percentile(ordered, 50)
        low, high = median_interval(ordered)
        return cls(
            count=len(ordered),
            minimum=ordered[0],
            median=median,
            p90=percentile(ordered, 90),
            p99=percentile(ordered, 99),
            p999=percentile(ordered, 99.9),
            maximum=ordered[-1],
            spread=percentile(sorted(abs(each - median) for each in ordered), 50),
            low=low,
            high=high,
        )


def median(samples: Iterable[float]) -> float:
    """The middle one, or between the two."""
    return percentile(sorted(samples), 50)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Between the two samples that are nearest, in proportion: what numpy's default does."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median_interval(
    ordered: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The bootstrap's percentile interval of the median, as without end many resamples give it.

    A resample's median is at most the k-th sample where at least half of its draws are: that is
    a binomial probability, and nothing need be drawn.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, §13.3 and problem 2.4.
    """
    low, high = _interval_ranks(len(ordered), confidence)
    return ordered[low - 1], ordered[high - 1]


@cache
def _interval_ranks(count: int, confidence: float) -> tuple[int, int]:
    tail = (1 - confidence) / 2
    return (
        _least(count, lambda rank: _median_within(count, rank) >= tail),
        _least(count, lambda rank: _median_within(count, rank) >= 1 - tail),
    )


def _least(count: int, holds: Callable[[int], bool]) -> int:
    """The least rank of 1 to count from which on `holds` is true."""
    low, high = 1, count
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _median_within(count: int, rank: int) -> float:
    """How likely the middle one of `count` draws with replacement is one of the first `rank`."""
    import math  # a library of its own: see `sampler`

    if rank >= count:
        return 1.0
    p = rank / count
    mean, reach = count * p, _DEVIATIONS * math.sqrt(count * p * (1 - p)) + 1

    def choose(k: int) -> float:
        return math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)

    return sum(
        math.exp(choose(k) + k * math.log(p) + (count - k) * math.log(1 - p))
        for k in range(max(count // 2 + 1, int(mean - reach)), min(count, int(mean + reach)) + 1)
    )
