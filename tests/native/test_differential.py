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
import pytest

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


@pytest.mark.timeout(600)  # it builds the emulator
def test_portable_x87_arithmetic_does_too() -> None:
    command = [sys.executable, str(Path(__file__).with_name("differential_x87.py")), "0", "20"]
    environment = {**os.environ, "EMU_CFLAGS": "-O0 -DEMU_FP80_SOFT"}
    environment.pop("LD_PRELOAD", None)  # a sanitizer's, for the build that this one replaces
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
