"""The JSON that every bench writes and `compare` reads: one format, with a version."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pykvm.bench.environment import Environment
from pykvm.errors import UsageError

FORMAT = "pykvm bench"
SCHEMA = 2  # raised when a key changes its meaning or goes
FIGURES = (
    "minimum", "median", "p90", "p99", "p999", "maximum", "spread", "low", "high",
)  # fmt: skip


class DocumentError(UsageError):
    """A file that is no result of this bench, or of another version.

    Attributes:
        path: the file.
    """

    def __init__(self, path: str | Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = str(path)


def document(
    bench: str, environment: Environment, rows: Iterable[Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    """A result: what was measured, where, and the rows."""
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "bench": bench,
        **more,
        "environment": environment.as_dict(),
        "rows": [dict(row) for row in rows],
    }


def dumps(found: Mapping[str, Any]) -> str:
    """As text: a line for each row, so that it can be read and compared by eye."""
    head = {key: value for key, value in found.items() if key != "rows"}
    rows = ",\n  ".join(json.dumps(row) for row in found["rows"])
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'


def read(path: Path, bench: str) -> dict[str, Any]:
    """A file that `dumps` wrote.

    Raises:
        DocumentError: it cannot be read, is something else, or of another version.
    """
    found = _load(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DocumentError(path, "is not a result of `pykvm bench`")
    if found.get("schema") != SCHEMA:
        raise DocumentError(
            path, f"has schema {found.get('schema')!r}, this pykvm reads {SCHEMA}; measure again"
        )
    if found.get("bench") != bench:
        raise DocumentError(path, f"is of `pykvm bench {found.get('bench')}`, not {bench}")
    if (wrong := _wrong(found)) is not None:
        raise DocumentError(path, f"is damaged: {wrong}")
    return found


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise DocumentError(path, error.strerror or str(error)) from None
    except RecursionError:
        raise DocumentError(path, "is not JSON that pykvm wrote: too deep") from None
    except ValueError as error:  # of JSON or of UTF-8
        raise DocumentError(path, f"is not JSON: {error}") from None


def _wrong(found: Mapping[str, Any]) -> str | None:
    """What a result of `bench exits` lacks; None where it is whole."""
    environment, rows = found.get("environment"), found.get("rows")
    if not isinstance(environment, dict) or not isinstance(environment.get("backend"), str):
        return "there is no environment record"
    for key, name in (("cpu", "model"), ("host", "kind")):
        if not isinstance(environment.get(key), dict) or name not in environment[key]:
            return f"the environment record has no {key}.{name}"
    if not isinstance(rows, list):
        return "there are no rows"
    names: set[str] = set()
    for number, row in enumerate(rows):
        if (wrong := _wrong_row(row)) is not None:
            return f"row {number}: {wrong}"
        if row["name"] in names:
            return f"row {number}: there are two called {row['name']!r}"
        names.add(row["name"])
    return None


def _wrong_row(row: Any) -> str | None:
    if not isinstance(row, dict):
        return "is no object"
    for key in ("name", "group"):
        if not isinstance(row.get(key), str):
            return f"has no {key}"
    if row.get("measured") is False:
        return None if isinstance(row.get("why"), str) else "does not say why it was not measured"
    figures = row.get("ns")
    if not isinstance(figures, dict) or not all(_is_number(figures.get(key)) for key in FIGURES):
        return "lacks figures"
    samples = row.get("samples_ns")
    if not isinstance(samples, list) or not samples or not all(map(_is_number, samples)):
        return "lacks samples"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
