"""What the house asks of every file, checked by tools and by reading."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

# Brackets keep this file from matching itself.
INDEX_ADDRESSES = re.compile(r"pypi[.]org|python[h]osted|index-[u]rl")
LOCAL_PATHS = re.compile(r"/(?:root|home|work)/\w")


def run(tool: str, *args: str) -> None:
    """Run a tool of the test environment over the tree; what it says is the failure."""
    program = shutil.which(tool, path=BIN) or shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([program, *args], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def tracked() -> list[Path]:
    """The files under version control."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        yield path.relative_to(ROOT), path.read_text(errors="replace")


@pytest.mark.parametrize(
    "command",
    ["ruff check", "ruff format --check", "mypy", "lint-imports"],
)
def test_python_is_clean(command: str) -> None:
    run(*command.split())


def test_c_is_formatted() -> None:
    sources = [str(path) for path in sorted((ROOT / "native").rglob("*.[ch]"))]
    run("clang-format", "--dry-run", "--Werror", *sources)


def test_few_touch_the_native_module() -> None:
    importers = set()
    for path in (ROOT / "pykvm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "pykvm._native":
                importers.add(path.relative_to(ROOT / "pykvm"))
    others = {path for path in importers if path.parts[0] not in ("backend", "memory.py")}
    assert {str(path) for path in others} == {"net/frames.py", "virtio/walk.py"}


def test_no_file_holds_the_address_of_a_package_index() -> None:
    assert [path for path, text in texts() if INDEX_ADDRESSES.search(text)] == []


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    assert [path for path, text in texts() if LOCAL_PATHS.search(text)] == []


def documented_names() -> list[tuple[str, str]]:
    """(file, dotted name) for each `pykvm.…` in code, inline or fenced, of the documentation."""
    found = set()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for code in re.findall(r"```python.*?```|`[^`\n]+`", path.read_text(), re.DOTALL):
            for name in re.findall(r"(?<![\w./-])pykvm(?:\.[A-Za-z_]\w*)+(?![\w/])", code):
                found.add((path.name, name))
    return sorted(found)


@pytest.mark.parametrize(("file", "name"), documented_names())
def test_a_documented_name_is_public(file: str, name: str) -> None:
    module_name, attributes = _split(name)
    found = importlib.import_module(module_name)
    if attributes and hasattr(found, "__all__"):
        assert attributes[0] in found.__all__
    for attribute in attributes:
        found = getattr(found, attribute)


def _split(name: str) -> tuple[str, list[str]]:
    """A dotted name as its longest module and the attributes that are left."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        if path.is_dir() or path.with_suffix(".py").is_file():
            return ".".join(parts[:end]), parts[end:]
    raise AssertionError(f"{name} is no module of this tree")


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by their names alone."""
    names = [path.name for path in tracked() if re.fullmatch(r"test_\w+[.]py", path.name)]
    assert len(names) == len(set(names))
