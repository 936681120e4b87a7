"""What subcommands share: options and what their texts mean, and how something is said."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pykvm.errors import UsageError
from pykvm.text import printable

T = TypeVar("T")


def reads(convert: Callable[[str], T]) -> Callable[[str], T]:
    """The same for argparse, which prints only messages of its own kind of error."""

    def converted(text: str) -> T:
        try:
            return convert(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


def say(line: str) -> None:
    """Tell something on stderr; the terminal may be gone."""
    with suppress(OSError):
        print(f"pykvm: {printable(line)}", file=sys.stderr)


def add_include_dirs(parser: argparse.ArgumentParser) -> None:
    """Declare --include-dir."""
    parser.add_argument(
        "--include-dir", type=reads(parse_path), action="append", default=[], metavar="DIR",
        help="let the source include files below this folder, too, not only below its own",
    )  # fmt: skip


def parse_path(text: str) -> Path:
    """A file's path; Path("") would be the current folder.

    Raises:
        UsageError: there is none.
    """
    if not text:
        raise UsageError("a file's name is missing")
    return Path(text)


def parse_address(text: str) -> int:
    """An address from a number in any of Python's bases.

    Raises:
        UsageError: not an address.
    """
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 <= address < 1 << 64:
        raise UsageError(f"{text!r} is not an address; write a number such as 0x100000")
    return address


def whole_number(text: str) -> int:
    """The value of decimal digits; -1 where there are others, or more than any number needs."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


def split_words(text: str, known: str) -> tuple[str, dict[str, str]]:
    """What stands before some words in `WHERE,word,name=value`; there may be commas in it.

    Args:
        text: all of it.
        known: a regular expression that each word matches, and nothing else.

    Returns:
        WHERE, and the words' values by their names; "" for those without.

    Raises:
        UsageError: a word is there twice.
    """
    words: dict[str, str] = {}
    while (parts := text.rpartition(","))[1] and re.fullmatch(known, parts[2]):
        text = parts[0]
        name, _, value = parts[2].partition("=")
        if name in words:
            raise UsageError(f"{name} is there twice")
        words[name] = value
    return text, words
