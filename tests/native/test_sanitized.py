"""All the tests of this directory once more, on a build that checks every access; and the guests,
and threads that attack machines, with all of pykvm's native code built so."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
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
    _sanitize("address", *tests, environment=os.environ)


@pytest.mark.timeout(1800)  # it builds pykvm
@pytest.mark.skipif("PYKVM_SANITIZED" in os.environ, reason="this is a sanitized run")
@pytest.mark.parametrize("kind", ["address", "thread"])
def test_threads_at_machines_on_sanitized_code(kind: str, full: bool) -> None:
    if kind == "thread" and not full:
        pytest.skip("with --full only: a report without a stack misses ci/sanitize.supp")
    if kind == "thread" and not _python_has_names():
        pytest.skip("this Python's functions have no names: ci/sanitize.supp needs them")
    environment = {"PYKVM_BACKEND": "all", **os.environ}
    tests = ["tests/unit/test_closing.py", "tests/fuzz/test_threads.py"]
    _sanitize(kind, *tests, environment=environment)


def _python_has_names() -> bool:
    """Whether reports can name the functions of Python itself."""
    library = f"{sysconfig.get_config_var('LIBDIR')}/{sysconfig.get_config_var('INSTSONAME')}"
    files = [Path(sys.executable).resolve(), Path(library)]
    return any(b"memory_ass_sub" in file.read_bytes() for file in files if file.is_file())


def _sanitize(kind: str, *tests: str, environment: Mapping[str, str]) -> None:
    command = ["ci/sanitize", kind, "-q", *tests]
    done = subprocess.run(
        command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True
    )
    if done.returncode == NO_SUCH_SANITIZER:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
