"""`pykvm bench ring`: the guest runs to its end, figures follow, and verdicts too."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from pykvm.bench import ring
from pykvm.bench.contest import Row
from pykvm.errors import PykvmError


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.mark.parametrize("load", ring.LOADS, ids=lambda load: load.name)
def test_a_load_runs(backend: str, load: ring.Load, scratch: Path) -> None:
    run = ring.run_pykvm(load, backend, 200, scratch)
    assert run.rate > 0
    assert 0 < run.p50_us <= run.p99_us
    assert run.exits < (ring.EXITS_BAR if load.depth == ring.DEEP else 1.1)


def test_qemu_runs_the_same_guest(scratch: Path) -> None:
    if shutil.which(ring.QEMU) is None:
        pytest.skip(f"{ring.QEMU} is not installed")
    run = ring.run_qemu(ring.LOADS[1], "emu", 200, scratch)
    assert run.rate > 0


def test_a_qemu_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    monkeypatch.setattr(
        ring, "qemu_command", lambda *_: ["sh", "-c", "echo it cannot be >&2; exit 1"]
    )
    with pytest.raises(PykvmError, match="tcg: it cannot be"):
        ring.run_qemu(ring.LOADS[0], "emu", 1, scratch)


def test_figures_come_from_the_report() -> None:
    report = b"SE" + struct.pack("<IQQ", 3, 1000, 2000) + struct.pack("<4I", 10, 20, 40, 30)
    run = ring._digest(report, 0.002, 4, 0.5)
    assert (run.rate, run.p50_us, run.p99_us, run.exits) == (2000, 60, 80, 0.5)


@pytest.mark.parametrize(
    ("ratio", "exits", "deep", "met"),
    [(1.0, 1.0, False, True), (0.9, 1.0, False, False), (2.0, 0.1, True, False),
     (2.0, 0.09, True, True), (None, 0.1, True, False), (None, 0.0, True, None)],
)  # fmt: skip
def test_verdicts(ratio: float | None, exits: float, deep: bool, met: bool | None) -> None:
    load = ring.LOADS[1 if deep else 0]
    (question,) = ring._contest(load, "emu").questions
    samples = [] if ratio is None else [ratio]
    assert Row(question, details={"exits": exits}, samples=samples).met is met
