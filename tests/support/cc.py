"""Guests from C, where there is a compiler for them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent
FLAGS = [
    "-std=c11",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffreestanding",
    "-fno-pic",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-mgeneral-regs-only",
    "-mno-red-zone",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none",
]


def build(source: str, output: Path, *flags: str) -> Path:
    """Compile and link `tests/support/<source>`; skips where there is no compiler for it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    command = [compiler, *FLAGS, *flags, "-o", str(output), str(SOURCES / source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "-m32" in flags and "unrecognized command-line option" in done.stderr:
        pytest.skip("cc does not build for 32-bit x86")
    assert done.returncode == 0, done.stderr
    return output
