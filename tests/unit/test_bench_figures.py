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
def test_figures_are_numpys(count: int) -> None:
    numpy = pytest.importorskip("numpy")
    data = samples(count)
    figures = Figures.of(data)
    assert figures.count == count
    assert (figures.minimum, figures.maximum) == (min(data), max(data))
    median = numpy.median(data)
    assert figures.median == pytest.approx(median)
    assert figures.spread == pytest.approx(numpy.median(abs(numpy.array(data) - median)))
    for name, percent in (("p90", 90), ("p99", 99), ("p999", 99.9)):
        assert getattr(figures, name) == pytest.approx(numpy.percentile(data, percent))


@pytest.mark.parametrize("count", [25, 101, 501])
def test_the_interval_is_the_bootstraps(count: int) -> None:
    """Within what two resamplings differ by: a rank or two."""
    numpy = pytest.importorskip("numpy")
    data = sorted(samples(count))
    draws = numpy.random.default_rng(1).choice(data, size=(4000, count))
    drawn = numpy.percentile(numpy.median(draws, axis=1), [2.5, 97.5])
    for ours, theirs in zip(median_interval(data), drawn, strict=True):
        assert abs(data.index(ours) - numpy.searchsorted(data, theirs)) <= 2


# scipy.stats.t.ppf of scipy 1.17: for each probability, at 1, 2, 3, 8, 9 and 38 degrees of freedom.
FREEDOMS = (1, 2, 3, 8, 9, 38)
STUDENT = {
    0.75: (1.0, 0.81649658, 0.76489233, 0.70638661, 0.70272215, 0.68100088),
    0.975: (12.706205, 4.3026527, 3.1824463, 2.3060041, 2.2621572, 2.0243942),
    0.9996: (795.7743, 35.334122, 13.93572, 5.2226497, 4.9420353, 3.643648),
}


@pytest.mark.parametrize("probability", STUDENT)
def test_students_quantile_is_scipys(probability: float) -> None:
    for freedom, expected in zip(FREEDOMS, STUDENT[probability], strict=True):
        assert student(probability, freedom) == pytest.approx(expected, rel=1e-6)
