"""A short run of the fuzz target that throws machine states at the emulator's core."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
SEEDS, SEED_BYTES, RUNS = 200, 1800, 3000


@pytest.mark.timeout(600)
def test_no_machine_state_harms_the_host(tmp_path: Path, full: bool) -> None:
    if not shutil.which("clang"):
        pytest.skip("no clang, which has libFuzzer (Debian: apt-get install clang)")
    target, corpus = tmp_path / "target", tmp_path / "corpus"
    sources = [NATIVE / "fuzz/emu_states.c", NATIVE / "natives.c"]
    sources += sorted((NATIVE / "emu").glob("*.c"))
    command = ["clang", "-std=c11", "-g", "-O1", "-w", "-ffp-contract=off"]
    command += ["-fsanitize=address,undefined,fuzzer", "-fno-sanitize-recover=undefined"]
    subprocess.run(
        [*command, *map(str, sources), "-lm", "-lpthread", "-o", str(target)], check=True
    )
    corpus.mkdir()
    for seed in range(SEEDS):
        (corpus / str(seed)).write_bytes(random.Random(seed).randbytes(SEED_BYTES))
    runs = RUNS * (100 if full else 1)
    done = subprocess.run(
        [str(target), f"-runs={runs}", "-seed=1", "-timeout=20", "-max_len=4096", str(corpus)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
