"""Every row of the decoder against the real processor, and failures of the past again."""

from __future__ import annotations

import differential_rows
import past
import pytest
from campaign import Tally, run_batch

BATCHES = 96  # each form comes up eighteen times


@pytest.fixture(scope="module")
def oracle():  # type: ignore[no-untyped-def]
    """One for all, as KVM's machine is dear to make."""
    oracle = differential_rows.RowOracle()
    yield oracle
    oracle.close()


@pytest.mark.timeout(600)
def test_every_row_does_what_the_processor_does(oracle, full: bool) -> None:  # type: ignore[no-untyped-def]
    tally, pairs = Tally(), differential_rows.pairs()
    for seed in range(2000 if full else BATCHES):
        bad = run_batch(oracle, seed, pairs, tally)
        if bad:
            case = past.shrink(oracle, bad[0])
            pytest.fail(f"seed {seed}, {len(bad)} differ:\n{differential_rows.describe(case)}")
    assert tally.never(tally.drawn) == []
    assert tally.never(tally.through) == []
    assert len(oracle.refused) < tally.cases / 1000


def test_what_once_was_wrong_is_right(oracle) -> None:  # type: ignore[no-untyped-def]
    for what, case in past.kept():
        wrong = past.fails(oracle, case)
        assert not wrong, f"{what}:\n{differential_rows.describe(case)}"
