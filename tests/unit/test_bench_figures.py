"""The figures of samples, against numpy and scipy on fixed data."""

from __future__ import annotations

import random

import pytest

from pykvm.bench.compare import student
from pykvm.bench.figures import Figures, median_interval, percentile


def samples(count: int, seed: int = 1) -> list[float]:
    """Times as they come: a narrow body and a long tail."""
    source = random.Random(seed)
    return [
        source.lognormvariate(7, 0.05)
        * (source.paretovariate(1.1) if source.random() < 0.03 else 1)
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101, 2000])
@pytest.mark.parametrize("percent", [0, 10, 50, 90, 99, 99.9, 100])
def test_percentiles_are_numpys(count: int, percent: float) -> None:
    numpy = pytest.importorskip("numpy")
    data = samples(count)
    assert percentile(sorted(data), percent) == pytest.approx(numpy.percentile(data, percent))


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_figures_are_numpys_and_scipys(count: int) -> None:
    numpy = pytest.importorskip("numpy")
    stats = pytest.importorskip("scipy.stats")
    data = samples(count)
    figures = Figures.of(data)
    assert figures.count == count
    assert (figures.minimum, figures.maximum) == (min(data), max(data))
    assert figures.median == pytest.approx(numpy.median(data))
    assert figures.spread == pytest.approx(stats.median_abs_deviation(data))
    for name, percent in (("p90", 90), ("p99", 99), ("p999", 99.9)):
        assert getattr(figures, name) == pytest.approx(numpy.percentile(data, percent))


@pytest.mark.parametrize("count", [25, 101, 501])
def test_the_interval_is_the_bootstraps(count: int) -> None:
    """Within what two resamplings differ by: a rank or two."""
    stats, numpy = pytest.importorskip("scipy.stats"), pytest.importorskip("numpy")
    data = sorted(samples(count))
    low, high = median_interval(data)
    drawn = stats.bootstrap(
        (data,), numpy.median, n_resamples=4000, method="percentile", random_state=1
    ).confidence_interval
    assert abs(data.index(low) - numpy.searchsorted(data, drawn.low)) <= 2
    assert abs(data.index(high) - numpy.searchsorted(data, drawn.high)) <= 2


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 9, 38])
@pytest.mark.parametrize("probability", [0.75, 0.975, 0.9996])
def test_students_quantile_is_scipys(probability: float, freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert student(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom))
