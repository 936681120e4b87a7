"""The rows of `pykvm bench exits`: each one is measured or explained, and none hangs."""

from __future__ import annotations

import pytest

from pykvm.bench import exits
from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.row import GROUPS, Row
from pykvm.bench.exits.sampler import Effort, Impossible, Sampler

TINY = Effort(batches=1, samples=8, batch_s=0.004)


@pytest.fixture(scope="module")
def samplers() -> dict[str, Sampler]:
    """One for each backend: what rows keep for each other is kept."""
    return {}


@pytest.fixture
def sampler(backend: str, samplers: dict[str, Sampler]) -> Sampler:
    """This backend's."""
    return samplers.setdefault(backend, Sampler(backend, TINY))


@pytest.mark.parametrize("row", exits.ROWS, ids=lambda row: row.name)
def test_a_row_has_figures_or_a_reason(row: Row, sampler: Sampler) -> None:
    (result,) = exits.measure([row], sampler, lambda each: None)
    assert (result.figures is None) == bool(result.why)
    if result.samples is not None:
        assert result.samples.values_ns
        assert result.samples.clock in ("guest", "host")


def test_rows_are_complete() -> None:
    names = [row.name for row in exits.ROWS]
    assert len(set(names)) == len(names)
    for row in exits.ROWS:
        assert row.group in GROUPS
        assert row.floor in ("", *names)
        assert row.text and row.reason, row.name


def test_a_guest_that_does_not_come_back_is_a_reason(backend: str) -> None:
    with pytest.raises(Impossible, match="does not come back"):
        Sampler(backend, TINY).guest(Loop("1: jmp 1b"))


def test_a_guest_that_faults_is_a_reason(backend: str) -> None:
    with pytest.raises(Impossible, match="fault"):
        Sampler(backend, TINY).guest(Loop("ud2"))
