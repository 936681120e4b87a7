"""Attacks in processes of their own, so that what they break is theirs: each is a module with a
`main`, told its seed and how much to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
PATIENCE_S, FULL_PATIENCE_S = 900, 4 * 3600  # of the slice; at length, on a busy host


def command(attack: str, *arguments: object) -> list[str]:
    """What starts it by hand, too: `PYTHONPATH=tests python -m ATTACK ARGUMENTS`."""
    return [sys.executable, "-X", "faulthandler", "-m", attack, *map(str, arguments)]


def environment() -> dict[str, str]:
    """Where it finds its modules."""
    return os.environ | {"PYTHONPATH": str(TESTS)}


def survive(attack: str, *arguments: object, full: bool = False) -> str:
    """What it printed; a test fails, with how to repeat it, where it does not end well."""
    done = subprocess.run(
        command(attack, *arguments),
        env=environment(), capture_output=True, text=True,
        timeout=FULL_PATIENCE_S if full else PATIENCE_S,
    )  # fmt: skip
    again = f"PYTHONPATH=tests python -m {attack} {' '.join(map(str, arguments))}"
    assert done.returncode == 0, f"status {done.returncode}: {again}\n{done.stderr[-6000:]}"
    return done.stdout
