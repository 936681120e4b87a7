"""The JSON that every bench writes and `compare` reads: one format, with a version."""

from __future__ import annotations

import csv
import errno
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pykvm.bench.contest import LESS, MORE, SAME
from pykvm.bench.environment import Environment
from pykvm.errors import UsageError
from pykvm.files import read_regular

FORMAT = "pykvm bench"
SCHEMA = 3  # raised when a key changes its meaning or goes
FILE_BYTES_MAX = 256 << 20
NUMBER_MAX = 1e18  # beyond what anything measured is, and squares and sums of such are numbers, too
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


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The figures of rows as JSON has them, a line each; samples are not among them."""
    flat = [_flat(row) for row in rows]
    text = io.StringIO()
    names = dict.fromkeys(name for row in flat for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key in ("ns", "cycles"):
            found |= {f"{figure}_{key}": each for figure, each in value.items()}
        elif key == "details":
            found |= value
        elif not isinstance(value, list | Mapping):
            found[key] = value
    return found


def read(path: Path) -> dict[str, Any]:
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
    if (wrong := _wrong(found)) is not None:
        raise DocumentError(path, f"is damaged: {wrong}")
    return found


def _load(path: Path) -> Any:
    try:
        return json.loads(read_regular(path, FILE_BYTES_MAX).decode())
    except MemoryError:
        raise DocumentError(path, "is too large for this machine's memory") from None
    except OSError as error:
        large = error.errno == errno.EFBIG
        why = "is too large to be a result" if large else error.strerror or str(error)
        raise DocumentError(path, why) from None
    except RecursionError:
        raise DocumentError(path, "is not JSON that pykvm wrote: too deep") from None
    except ValueError as error:  # of JSON or of UTF-8
        raise DocumentError(path, f"is not JSON: {error}") from None


def _wrong(found: Mapping[str, Any]) -> str | None:
    """What a result lacks; None where it is whole."""
    if not _is_printable(found.get("bench")):
        return "it does not say of which bench it is"
    environment, rows = found.get("environment"), found.get("rows")
    if not isinstance(environment, dict) or not _is_printable(environment.get("backend")):
        return "there is no environment record"
    for key, name in (("cpu", "model"), ("host", "kind")):
        if not isinstance(environment.get(key), dict) or name not in environment[key]:
            return f"the environment record has no {key}.{name}"
    if not isinstance(environment.get("kvm", {}), dict):
        return "the environment record's kvm is no object"
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
    if not _is_printable(row.get("name")):
        return "has no name that can be printed"
    if not isinstance(row.get("measured"), bool):
        return "does not say whether it was measured"
    if not row["measured"]:
        return None if isinstance(row.get("why"), str) else "does not say why it was not measured"
    if "figure" in row:
        return _wrong_figure(row)
    if not isinstance(row.get("group"), str):
        return "has no group"
    figures = row.get("ns")
    if not isinstance(figures, dict) or not all(_is_number(figures.get(key)) for key in FIGURES):
        return "lacks figures"
    if not figures["low"] <= figures["median"] <= figures["high"]:
        return "has a median outside of its interval"
    return None if _are_samples(row.get("samples_ns")) else "lacks samples"


def _wrong_figure(row: Mapping[str, Any]) -> str | None:
    """The same for a row of subjects that took turns; where there was but one, it has no figure."""
    if row["figure"] is None:
        return None
    if not all(_is_number(row.get(key)) for key in ("figure", "low", "high")):
        return "lacks figures"
    if not row["low"] <= row["figure"] <= row["high"]:
        return "has a figure outside of its interval"
    if not _is_printable(row.get("unit")) or row.get("better") not in (LESS, MORE, SAME):
        return "does not say what its figure is"
    return None if _are_samples(row.get("samples")) else "lacks samples"


def _is_printable(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _are_samples(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and -NUMBER_MAX < value < NUMBER_MAX
