"""A bounded slice of the comparison with the real processor; --full makes it a long one."""

from __future__ import annotations

import differential


def test_integer_instructions_do_what_the_processor_does(full: bool) -> None:
    oracle = differential.Oracle()
    try:
        for seed in range(2000 if full else 20):
            bad = differential.failures(oracle, seed)
            assert not bad, f"seed {seed}\n" + "\n".join(map(differential.describe, bad[:3]))
    finally:
        oracle.close()
