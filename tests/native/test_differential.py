"""A bounded slice of the comparison with the real processor; --full makes it a long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import differential
import differential_float
import differential_simd
import differential_x87
import encodings_float
import encodings_simd
import makers
import pytest

from pykvm import host

PROBLEM = str(host.problem() or makers.lacking() or "")
pytestmark = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM)

MAKERS = {
    "integer": differential.make_case,
    "simd": differential_simd.maker(encodings_simd.ROWS),
    "float": differential_float.maker(encodings_float.ROWS),
}


@pytest.mark.parametrize("family", MAKERS)
def test_instructions_do_what_the_processor_does(family: str, full: bool) -> None:
    oracle = differential.Oracle()
    try:
        for seed in range(2000 if full else 20):
            bad = differential.failures(oracle, seed, MAKERS[family])
            assert not bad, f"seed {seed}\n" + "\n".join(map(differential.describe, bad[:3]))
    finally:
        oracle.close()


def test_x87_instructions_do_what_the_processor_does(full: bool) -> None:
    oracle = differential_x87.X87Oracle()
    try:
        for seed in range(2000 if full else 20):
            bad = differential_x87.failures(oracle, seed)
            assert not bad, f"seed {seed}\n" + "\n".join(map(differential_x87.describe, bad[:3]))
    finally:
        oracle.close()


@pytest.mark.skipif("PYKVM_SANITIZED" in os.environ, reason="it has a build of its own")
@pytest.mark.timeout(600)  # it builds the emulator
@pytest.mark.parametrize(
    ("script", "flags", "batches"),
    [
        ("differential_x87.py", "-O0 -DEMU_FP80_SOFT", 20),
        ("differential_float.py", "-O1 -DEMU_FP_PORTABLE", 10),
    ],
)
def test_arithmetic_without_the_host_s_help_does_too(script: str, flags: str, batches: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name(script)), "0", str(batches)]
    environment = {**os.environ, "EMU_CFLAGS": flags}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
