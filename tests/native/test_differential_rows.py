"""Every row of the decoder against the real processor, and failures of the past again."""

from __future__ import annotations

import differential_rows
import makers
import past
import pytest
from campaign import Tally, run_batch
from cases import AREA_BYTES, Case

from pykvm import host

PROBLEM = str(host.problem() or makers.lacking() or "")
pytestmark = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM)
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


def test_a_failure_shrinks_to_what_shows_it(oracle, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """As if ADD went wrong where RBX is 7."""
    monkeypatch.setattr(
        differential_rows, "verdict", lambda case: None if case.registers[3] == 7 else ""
    )
    registers = [1 if number == 4 else 7 for number in range(16)]
    case = Case(3, bytes.fromhex("662e4801d8"), registers, flags=0x8D7, memory=b"\1" * AREA_BYTES)
    past.find_row(case)
    assert past.fails(oracle, case)
    smallest = past.shrink(oracle, case)
    assert smallest.code.hex() == "01d8"
    assert smallest.registers == [7 if number == 3 else 0 for number in range(16)]
    assert smallest.flags == 2 and smallest.memory == bytes(AREA_BYTES)
    assert "add eax, ebx" in differential_rows.describe(smallest)
    assert past.from_line(past.to_line("x", smallest))[1].code == smallest.code
