"""A bounded slice of the comparison of decoders; --full makes it ten million."""

from __future__ import annotations

import decoder
import pytest


@pytest.mark.timeout(1200)
def test_lengths_are_those_that_capstone_finds(full: bool) -> None:
    came, bad = decoder.compare(seed=1, count=10_000_000 if full else 100_000)
    assert not bad, "\n".join(bad[:20])
    assert came["same length"] > sum(came.values()) / 2
