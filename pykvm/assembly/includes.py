"""Where `.include` finds files: below some folders, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pykvm.assembly.expression import Problem
from pykvm.assembly.source import read_source
from pykvm.errors import LoadError

MAX_INCLUDES = 256
MAX_DEPTH = 16


class Included(NamedTuple):
    """A file to include: its path as errors show it, where that leads to, and what is in it."""

    path: Path
    real: Path
    text: str


class Includes:
    """Finds the files that a source includes.

    Args:
        folders: files lie below one of these, wherever links lead; none for no files at all.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._roots = [Path(os.path.realpath(each)) for each in folders]
        self._count = 0

    def read(self, name: str, users: tuple[Included, ...]) -> Included:
        """A file by the name that a source gives it.

        Args:
            users: the files that include each other, innermost last; none for the main source.

        Raises:
            Problem: there is no such file, or it must not be included.
        """
        if not self._folders:
            raise Problem("the source did not come from a file, so there is nothing to include")
        self._count += 1
        if self._count > MAX_INCLUDES:
            raise Problem(f"a source includes {MAX_INCLUDES} files at most")
        try:
            path, real = self._find(name, users)
            if any(each.real == real for each in users):
                raise Problem("this file includes itself")
            if len(users) == MAX_DEPTH:
                raise Problem(f"includes are {MAX_DEPTH} deep at most")
            return Included(path, real, read_source(path, real))
        except (LoadError, ValueError) as error:  # ValueError: a NUL in the name
            raise Problem(f"cannot include it: {error}") from None

    def _find(self, name: str, users: tuple[Included, ...]) -> tuple[Path, Path]:
        """Beside the file that asks, else in one of the folders."""
        folders = [each.path.parent for each in users[-1:]] + list(self._folders)
        paths = [folder / name for folder in folders]
        allowed = [(path, real) for path in paths if self._is_below(real := _real(path))]
        for path, real in allowed:
            if os.path.exists(real):  # noqa: PTH110 - what may not be looked at is not there
                return path, real
        if not allowed:
            raise LoadError(
                str(paths[0]), "is outside the guest's folder; --include-dir DIR allows another"
            )
        return allowed[0]

    def _is_below(self, real: Path) -> bool:
        return any(real.is_relative_to(root) for root in self._roots)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
