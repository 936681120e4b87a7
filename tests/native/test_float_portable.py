"""Floating point once more, on a build that computes without the host's help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(600)
def test_floats_in_software_are_what_the_processor_computes() -> None:
    environment = {**os.environ, "EMU_CFLAGS": "-O1 -DEMU_FP_PORTABLE"}
    command = [sys.executable, str(HERE / "differential_float.py"), "0", "10"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
