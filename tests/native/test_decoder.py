"""A bounded slice of the comparison of decoders; --full makes it ten million."""

from __future__ import annotations

import decoder
import pytest


@pytest.mark.timeout(1200)
def test_bytes_are_what_capstone_takes_them_for(full: bool) -> None:
    result = decoder.compare(seed=1, count=10_000_000 if full else 100_000)
    assert not result.bad, "\n".join(result.bad[:20])
    assert result.came["an instruction of the same length"] > sum(result.came.values()) / 2
