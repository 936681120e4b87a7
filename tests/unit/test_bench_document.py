"""The JSON of every bench: what is written is read, and nothing else is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pykvm.bench import document as document_module
from pykvm.bench import exits
from pykvm.bench.document import SCHEMA, DocumentError, as_csv, document, dumps, read
from pykvm.bench.environment import Environment
from pykvm.bench.exits.row import Row
from pykvm.bench.figures import Figures
from pykvm.bench.results import KEPT, Measured
from pykvm.bench.sampler import Samples

ROW = Row("an exit", "user", lambda sampler: Samples([], "guest", 0, 0), "KVM_RUN", "VMX 30")

INTERVAL = {"low": 1, "high": 1, "samples": [1], "unit": "x"}
FIGURE_ALONE = {"name": "x", "measured": True, "figure": 1, "low": 1, "high": 1}


def measured(values_ns: list[float]) -> dict[str, Any]:
    samples = Samples(values_ns, "guest", 60.0, 2_000_000)
    result = exits.Result(ROW, samples, Figures.of(values_ns), 1.5)
    return Measured(result, 3_000_000).as_dict()


def unmeasured() -> dict[str, Any]:
    result = exits.Result(Row("another", "user", ROW.measure), why="it cannot be")
    return Measured(result, 3_000_000).as_dict()


def written(path: Path, **changes: Any) -> Path:
    rows = [measured([100.0, 200.0, 300.0]), unmeasured()]
    found = document("exits", Environment("kvm"), rows, complete=True)
    path.write_text(dumps({**found, **changes}))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.json"))
    assert found["schema"] == SCHEMA
    assert found["complete"] is True
    row, other = found["rows"]
    assert row["ns"]["median"] == 200
    assert row["cycles"]["median"] == 400
    assert row["samples_ns"] == [100, 200, 300]
    assert (row["ratio"], row["clock_ns"], row["exit_reasons"]) == (1.5, 60, "VMX 30")
    assert (other["measured"], other["why"]) == (False, "it cannot be")


def test_many_samples_are_thinned_and_their_figures_are_not() -> None:
    row = measured([float(each) for each in range(3 * KEPT)])
    assert row["count"] == 3 * KEPT
    assert row["samples_step"] == 3
    assert row["samples_ns"][:3] == [0, 3, 6]
    assert row["ns"]["maximum"] == 3 * KEPT - 1


def test_csv_has_the_figures_of_every_row() -> None:
    rows = [measured([100.0, 200.0, 300.0]), unmeasured()]
    first, second = csv.DictReader(io.StringIO(as_csv(rows)))
    assert first["median_ns"] == "200.0"
    assert first["median_cycles"] == "400.0"
    assert second["median_ns"] == ""
    assert second["why"] == "it cannot be"


def test_a_file_of_something_else_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text, why in (
        ("{", "is not JSON"),
        ("[]", "is not a result of `pykvm bench`"),
        ('{"schema": 2, "rows": []}', "is not a result of `pykvm bench`"),
        ("[" * 100_000, "is not JSON that pykvm wrote"),
    ):
        path.write_text(text)
        with pytest.raises(DocumentError, match=why) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(path))


def test_bytes_that_are_no_text_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(DocumentError, match="No such file"):
        read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentError, match="is not JSON"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema": SCHEMA + 1}, f"has schema {SCHEMA + 1}, this pykvm reads {SCHEMA}"),
        ({"bench": None}, "of which bench"),
        ({"environment": None}, "no environment record"),
        ({"environment": {"backend": "kvm"}}, r"has no cpu\.model"),
        ({"rows": [{"name": "x", "group": "user", "measured": True}]}, "row 0: lacks figures"),
        ({"rows": [{"name": "x", "measured": True, "figure": 1.0}]}, "row 0: lacks figures"),
        ({"rows": [{"name": "x"}]}, "whether it was measured"),
        ({"rows": [FIGURE_ALONE]}, "what its figure is"),
        ({"rows": [{**FIGURE_ALONE, **INTERVAL, "better": "most"}]}, "what its figure is"),
        ({"rows": [{**FIGURE_ALONE, **INTERVAL, "low": 2}]}, "outside of its interval"),
        ({"rows": [{"name": "a\ud800"}]}, "no name that can be printed"),
        ({"rows": [{"name": "a\nb"}]}, "no name that can be printed"),
        ({"rows": [{"name": 1}]}, "row 0: has no name that"),
        ({"rows": [3]}, "row 0: is no object"),
    ],
)
def test_another_version_and_damage_are_named(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(DocumentError, match=why):
        read(written(tmp_path / "a.json", **changes))


def test_a_record_of_kvm_is_an_object(tmp_path: Path) -> None:
    record = {**Environment("kvm").as_dict(), "kvm": "kvm_intel"}
    with pytest.raises(DocumentError, match="kvm is no object"):
        read(written(tmp_path / "a.json", environment=record))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, 1e308, 1e18, True, "1"])
@pytest.mark.parametrize("key", ["low", "median"])
def test_no_number_is_no_figure(key: str, number: object, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json")
    found = json.loads(path.read_text())
    found["rows"][0]["ns"][key] = number
    path.write_text(json.dumps(found))
    with pytest.raises(DocumentError, match="lacks figures"):
        read(path)
    found["rows"][0]["ns"][key] = 200
    found["rows"][0]["samples_ns"][1] = number
    path.write_text(json.dumps(found))
    with pytest.raises(DocumentError, match="lacks samples"):
        read(path)


def test_a_median_is_within_its_interval(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json")
    found = json.loads(path.read_text())
    found["rows"][0]["ns"]["median"] = 1e6
    path.write_text(json.dumps(found))
    with pytest.raises(DocumentError, match="median outside of its interval"):
        read(path)


def test_no_file_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.json")
    monkeypatch.setattr(document_module, "FILE_BYTES_MAX", path.stat().st_size)
    read(path)
    monkeypatch.setattr(document_module, "FILE_BYTES_MAX", path.stat().st_size - 1)
    with pytest.raises(DocumentError, match="is too large to be a result"):
        read(path)
