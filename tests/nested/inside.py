"""pytest's plugin on the host inside QEMU: a journal, what is left out, and ready-made guests.

The host hangs where QEMU's AMD-V has faults, so whoever boots it must know how far it came: the
journal has a line as each test begins and a line as it ends. What has been journalled before a
hang is not run again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pykvm.assembly import keystone_process
from pykvm.assembly.keystone_process import Reply

PATIENCE = 100  # QEMU's processor is so much slower than a real one
SHARE = Path(os.environ.get("PYKVM_NESTED_SHARE", "/mnt"))


class Journal:
    """Lines of JSON that outlive this host."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, **fields: object) -> None:
        """Write one line, and have it reach the disk of whoever reads it."""
        with self._path.open("a") as file:
            file.write(json.dumps(fields) + "\n")


journal = Journal(SHARE / "journal.jsonl")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has run already, and what QEMU's faults decide; give more time."""
    for module in {item.getparent(pytest.Module) for item in items}:
        if module is not None and hasattr(module.obj, "OVERRUN_S"):
            module.obj.OVERRUN_S *= PATIENCE
    job = json.loads((SHARE / "job.json").read_text())
    done, faults = set(job["done"]), job["faults"]
    kept = []
    for item in items:
        for fault in [why for name, why in faults.items() if name in item.nodeid]:
            item.add_marker(pytest.mark.skip(reason=f"QEMU: {fault}"))
        if item.nodeid not in done:
            kept.append(item)
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
    items[:] = kept


def pytest_configure() -> None:
    """Take keystone's answers from a table: keystone itself is slow here."""
    table = SHARE / "assembled.json"
    if table.exists():
        keystone_process.ask = Ready(json.loads(table.read_text())).ask


class Ready:
    """keystone's answers, as they were given outside."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers
        self._keystone = keystone_process.ask

    def ask(self, bits: int, texts: list[str], timeout_s: float) -> list[Reply]:
        """What `keystone_process.ask` says; it is asked, with patience, for what is not there."""
        known = [self._answers.get(f"{bits} {text}") for text in texts]
        if None in known:
            return self._keystone(bits, texts, timeout_s * PATIENCE)
        return [Reply(*each) for each in known if each is not None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Journal the beginning."""
    journal.add(began=item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Journal the end, and what went wrong."""
    if report.when == "call" or report.outcome != "passed":
        journal.add(ended=report.nodeid, outcome=report.outcome, why=_why(report))


def _why(report: pytest.TestReport) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return report.longreprtext if report.outcome == "failed" else ""
