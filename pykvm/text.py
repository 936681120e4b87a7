"""Text from files and guests on its way to somebody's terminal."""

from __future__ import annotations

TEXT = "\t\n"  # what a text of several lines has


def printable(text: str, keep: str = "\t") -> str:
    """The text with all that a terminal would act on, or not show, as escapes: `\\x1b`, `\\u202e`.

    Args:
        keep: what stays as it is though it is no printable character.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text
    )


def shorten(text: str, length: int = 160) -> str:
    """The beginning of a text that may be endless."""
    return text if len(text) <= length else f"{text[:length]}..."


def excerpt(value: object) -> str:
    """The beginning of a value as Python would write it, for messages."""
    try:
        return shorten(repr(value))
    except ValueError:  # a number of more digits than Python writes
        return "a huge number"
