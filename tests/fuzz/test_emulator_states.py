"""A short run of the fuzz target that throws machine states at the emulator's core.

It begins with states.xz: what long runs found their ways through the code with. To renew it,
merge a corpus by edges (TARGET -merge=1 -use_counters=0 SMALL CORPUS), then

    python tests/fuzz/test_emulator_states.py SMALL
"""

from __future__ import annotations

import lzma
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
SEEDS, SEED_BYTES, RUNS = 200, 1800, 3000
STATES = Path(__file__).with_name("states.xz")


def pack(inputs: list[bytes]) -> bytes:
    """What STATES holds: each input behind its length."""
    return lzma.compress(b"".join(struct.pack("<H", len(data)) + data for data in inputs))


def unpack(packed: bytes) -> Iterator[bytes]:
    """The inputs again."""
    rest = lzma.decompress(packed)
    while rest:
        (size,) = struct.unpack_from("<H", rest)
        yield rest[2 : 2 + size]
        rest = rest[2 + size :]


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
    for number, state in enumerate(unpack(STATES.read_bytes())):
        (corpus / f"kept{number}").write_bytes(state)
    runs = RUNS * (100 if full else 1)
    done = subprocess.run(
        [str(target), f"-runs={runs}", "-seed=1", "-timeout=20", "-max_len=4096", str(corpus)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]


if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).iterdir(), key=lambda path: path.stat().st_size)
    STATES.write_bytes(pack([path.read_bytes() for path in files]))
