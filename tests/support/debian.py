"""Programs from Debian's packages: used where they are, installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from pykvm.bench import stock

APT_TIMEOUT_S = 100


def installed(program: str, package: str) -> str:
    """The program's path; skips the test, with the reason, where it cannot be had. `package` may
    name several."""
    found = shutil.which(program)
    if found is None:
        problem = _install(package)
        if problem:
            pytest.skip(f"{program} is missing: {problem}")
        found = shutil.which(program)
    assert found is not None, f"{package} has no {program}"
    return found


def unpacked(package: str, *patterns: str) -> list[Path]:
    """Files of a package, one for each pattern, fetched and not installed; skips the test, with
    the reason, where it cannot be had."""
    try:
        try:
            return stock.members(package, patterns, _cache())
        except stock.StockError:
            if os.geteuid() != 0:
                raise
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True, timeout=APT_TIMEOUT_S)
            return stock.members(package, patterns, _cache())
    except (stock.StockError, OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{package} cannot be had: {error}")


def _cache() -> Path:
    where = stock.cache_dir()
    where.mkdir(parents=True, exist_ok=True)
    return where


@cache
def _install(package: str) -> str:
    """What was in the way, or nothing."""
    if shutil.which("apt-get") is None:
        return f"this is not Debian; install {package} by hand"
    if os.geteuid() != 0:
        return f"only root may install it; apt-get install {package}"
    for command in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", *package.split()],
    ):
        try:
            done = subprocess.run(
                ["apt-get", *command], capture_output=True, text=True, timeout=APT_TIMEOUT_S,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"apt-get {command[0]} takes too long"
        if done.returncode:
            return f"apt-get {command[0]} failed: {done.stderr.strip()[-200:]}"
    return ""
