"""The rows as docs/measuring.md lists them."""

from __future__ import annotations

from collections.abc import Iterable

from pykvm.bench.exits.row import GROUPS, Row


def markdown(rows: Iterable[Row]) -> str:
    """A table of each group; rows that say the same share a line."""
    lines: list[str] = []
    of_group: dict[str, list[Row]] = {group: [] for group in GROUPS}
    for row in rows:
        of_group[row.group].append(row)
    for group, title in GROUPS.items():
        lines += ["", f"**{title[0].upper()}{title[1:]}**", ""]
        lines += ["| row | what | exit reasons |", "| --- | --- | --- |"]
        lines += _lines(of_group[group])
    return "\n".join(lines[1:]) + "\n"


def _lines(rows: list[Row]) -> list[str]:
    names: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        names.setdefault((row.text, row.reason), []).append(row.name)
    return [f"| {'; '.join(each)} | {text} | {reason} |" for (text, reason), each in names.items()]
