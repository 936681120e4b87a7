"""ci/setup with a made-up Python and compiler: when it builds, and what it says is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "bash cat chmod cp env find flock grep head mkdir mktemp readlink rm sh sha256sum sleep sort "
    "tail xargs"
)

PYTHON = """#!/bin/sh
case "$*" in
*version_info*) ;;
*ensurepip*) ;;
*sysconfig*) echo "$PYTHON_INCLUDE" ;;
*realpath*) readlink -f "$0" ;;
"-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
*"pip install"*) echo built >>"$BUILDS"; sleep 0.05 ;;
*) echo "Python 3.9.2" ;;
esac
"""


class Checkout:
    """A copy of what ci/setup reads, with nothing but made-up tools to build with."""

    def __init__(self, root: Path) -> None:
        self.root = root / "checkout"
        self.bin = root / "bin"
        self.builds = root / "builds"
        include = root / "include"
        for directory in (self.root / "ci", self.root / "native", self.bin, include):
            directory.mkdir(parents=True)
        (include / "Python.h").touch()
        (self.root / "native/core.c").touch()
        shutil.copy(ROOT / "ci/setup", self.root / "ci/setup")
        shutil.copy(ROOT / "pyproject.toml", self.root)
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.tool("python3", PYTHON)
        self.tool("cc", "#!/bin/sh\n")
        self.environment = {
            "PATH": str(self.bin),
            "PYTHON_INCLUDE": str(include),
            "BUILDS": str(self.builds),
        }

    def tool(self, name: str, text: str) -> None:
        """Put a program into PATH."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.root / "ci/setup"],
            env=self.environment | environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def setup(self, **environment: str) -> str:
        """Run it; what it says on stderr, after its exit status."""
        process = self.start(**environment)
        _, said = process.communicate(timeout=60)
        return f"{process.returncode}: {said}"

    @property
    def build_count(self) -> int:
        return len(self.builds.read_text().splitlines()) if self.builds.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_it_builds_once_and_is_silent_afterwards(checkout: Checkout) -> None:
    assert checkout.setup().startswith("0: ci/setup: building")
    assert checkout.setup() == "0: "
    assert checkout.build_count == 1


def test_new_times_of_the_same_files_do_not_build(checkout: Checkout) -> None:
    checkout.setup()
    os.utime(checkout.root / "native/core.c")
    assert checkout.setup() == "0: "


@pytest.mark.parametrize("what", ["native/core.c", "native/new.c", "pyproject.toml"])
def test_changed_sources_build_in_the_same_environment(checkout: Checkout, what: str) -> None:
    checkout.setup()
    (checkout.root / ".venv/kept").touch()
    with (checkout.root / what).open("a") as file:
        file.write("\n")
    checkout.setup()
    assert checkout.build_count == 2
    assert (checkout.root / ".venv/kept").exists()


def test_a_moved_directory_gets_a_fresh_environment(checkout: Checkout) -> None:
    checkout.setup()
    (checkout.root / ".venv/kept").touch()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    checkout.setup()
    assert checkout.build_count == 2
    assert not (checkout.root / ".venv/kept").exists()


def test_a_python_that_is_gone_gets_a_fresh_environment(checkout: Checkout) -> None:
    checkout.setup()
    (checkout.root / ".venv/bin/python").unlink()
    checkout.setup()
    assert checkout.build_count == 2


def test_another_python_asked_for_gets_a_fresh_environment(checkout: Checkout) -> None:
    checkout.setup()
    checkout.tool("python3.12", PYTHON.replace('cp "$0"', 'ln -s "$0"'))
    (checkout.bin / "ln").symlink_to(shutil.which("ln") or "ln")
    checkout.setup(PYTHON="python3.12")
    checkout.setup(PYTHON="python3.12")
    checkout.setup()
    assert checkout.build_count == 2


def test_an_interrupted_build_is_done_again(checkout: Checkout) -> None:
    checkout.tool("python3", PYTHON.replace("echo built", "exit 1; echo built"))
    assert "the build failed; its log is above" in checkout.setup()
    checkout.tool("python3", PYTHON)
    shutil.copy(checkout.bin / "python3", checkout.root / ".venv/bin/python")
    assert checkout.setup().startswith("0: ")
    assert checkout.build_count == 1


def test_two_at_once_build_once(checkout: Checkout) -> None:
    both = [checkout.start(), checkout.start()]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert checkout.build_count == 1


def test_missing_python_is_named(checkout: Checkout) -> None:
    (checkout.bin / "python3").unlink()
    assert "no python3 here; install Python 3.11 or newer" in checkout.setup()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("version_info", "Python 3.9.2 is too old; pykvm needs Python 3.11"),
        ("ensurepip", "apt-get install python3-venv"),
    ],
)
def test_an_unfit_python_is_named(checkout: Checkout, part: str, message: str) -> None:
    checkout.tool("python3", PYTHON.replace(f"*{part}*) ;;", f"*{part}*) exit 1 ;;"))
    assert message in checkout.setup()


def test_missing_python_headers_are_named(checkout: Checkout) -> None:
    assert "apt-get install python3-dev" in checkout.setup(PYTHON_INCLUDE="/nowhere")


def test_a_missing_compiler_is_named(checkout: Checkout) -> None:
    (checkout.bin / "cc").unlink()
    assert "no C compiler here; install one (Debian: apt-get install gcc" in checkout.setup()


@pytest.mark.parametrize(
    ("header", "package"), [("stdlib.h", "libc6-dev"), ("linux/kvm.h", "linux-libc-dev")]
)
def test_missing_c_headers_are_named(checkout: Checkout, header: str, package: str) -> None:
    checkout.tool("cc", f"#!/bin/sh\n! grep -q '{header}'\n")
    assert f"apt-get install {package}" in checkout.setup()
