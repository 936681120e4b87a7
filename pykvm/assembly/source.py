"""Source text as lines that know where they come from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pykvm.errors import AssemblyError, LoadError
from pykvm.files import read_regular

MAX_SOURCE_SIZE = 1 << 20

# Strings and character literals come first, so that a comment sign inside them is none. Possessive:
# a string that nobody closes is looked at once, and ends the source.
_PIECES = re.compile(
    r"""(?P<literal>"(?:\\[^\n]|[^"\\\n])*+"|'(?:\\[^\n]|[^'\\\n])')|(?P<quote>")"""
    r"|(?P<comment>(?:\#|//)[^\n]*)|(?P<block>/\*.*?\*/)|(?P<open>/\*)|(?P<end>[;\n])",
    re.DOTALL,
)


_ENDLESS = {
    "open": "this comment never ends",
    "quote": "cannot read '\"': no other one ends this text",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One statement's text.

    Attributes:
        path: the file, as errors show it.
        number: the line's number in it, 1-based.
        raw: the whole line as written, without indentation.
        code: the statement, without comments.
        used_at: where the macro or repetition that it comes from was used.
    """

    path: str
    number: int
    raw: str
    code: str
    used_at: Line | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        """The same for all statements of one line, in one use of it."""
        return self.path, self.number, id(self.used_at)

    def error(self, why: str) -> AssemblyError:
        """An error at this line."""
        users: list[str] = []
        line = self.used_at
        while line is not None and len(users) < 4:
            users.append(f", used at {line.path}:{line.number}")
            line = line.used_at
        return AssemblyError(self.path, self.number, self.raw, why + "".join(users))


def read_source(path: Path, real: Path | None = None) -> str:
    """The text of a source file.

    Args:
        path: as errors show it.
        real: where that leads to, if it may lead nowhere else.

    Raises:
        LoadError: unreadable, no regular file, too large, or not UTF-8.
    """
    try:
        if real is None:
            return read_regular(path, MAX_SOURCE_SIZE).decode()
        return read_regular(real, MAX_SOURCE_SIZE, os.O_NOFOLLOW).decode()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a text in UTF-8"
        raise LoadError(str(path), why) from None


def split_lines(text: str, path: str) -> Iterator[Line]:
    """The statements of a text: comments gone, `;` taken as the end of one, blank ones left out.

    Raises:
        AssemblyError: a block comment or a string never ends.
    """
    text = text.replace("\r\n", "\n") + "\n"
    raw_lines = [line.strip() for line in text.split("\n")]
    number, first, start = 1, 1, 0
    code: list[str] = []
    for piece in _PIECES.finditer(text):
        kind = piece.lastgroup
        code.append(text[start : piece.start()])
        start = piece.end()
        if kind == "literal":
            code.append(piece[0])
        elif kind == "block":
            code.append(" ")
            number += piece[0].count("\n")
        elif kind in _ENDLESS:
            raise Line(path, number, raw_lines[number - 1], "").error(_ENDLESS[kind])
        elif kind == "end":
            statement = "".join(code).strip()
            if statement:
                yield Line(path, first, raw_lines[first - 1], statement)
            number += piece[0] == "\n"
            first, code = number, []
