"""All the tests of this directory once more, on a build that checks every access; and the guests
with all of pykvm's native code built so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import emulib
import pytest

HERE = Path(__file__).parent
FLAGS = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined"


def _runtime(name: str) -> str:
    """Where the compiler has a sanitizer's library; its bare name where it has none."""
    compiler = os.environ.get("CC", "cc")
    command = [compiler, f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.timeout(1200)
@pytest.mark.skipif("PYKVM_SANITIZED" in os.environ, reason="this is a sanitized run")
def test_nothing_is_accessed_that_should_not_be() -> None:
    libraries = [_runtime("libasan.so"), _runtime("libubsan.so")]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip("the compiler has no sanitizers (libasan.so, libubsan.so)")
    emulib.build(FLAGS.split())  # not within the time of the first test that needs it
    environment = {
        **os.environ,
        "EMU_CFLAGS": FLAGS,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
    }
    tests = sorted(str(path) for path in HERE.glob("test_*.py") if path != Path(__file__))
    command = [sys.executable, "-m", "pytest", "-q", "-s", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


NO_SUCH_SANITIZER = 77


@pytest.mark.timeout(1200)  # it builds pykvm
@pytest.mark.skipif("PYKVM_SANITIZED" in os.environ, reason="this is a sanitized run")
def test_the_backend_and_all_guests_on_sanitized_code() -> None:
    tests = [
        "tests/unit/test_emu_backend.py",
        "tests/virtio/test_walk.py",
        "tests/conformance/test_guests.py",
    ]
    command = ["ci/sanitize", "address", "-q", *tests]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True)
    if done.returncode == NO_SUCH_SANITIZER:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
