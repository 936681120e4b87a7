"""Results of benches, made up: by a seed, so that they are the same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from pykvm.bench import exits
from pykvm.bench.contest import LESS, MORE, Question, Row
from pykvm.bench.document import document
from pykvm.bench.environment import Environment
from pykvm.bench.exits.row import Row as ExitRow
from pykvm.bench.figures import Figures
from pykvm.bench.results import Measured
from pykvm.bench.sampler import Samples


def exit_row(
    name: str, group: str, median_ns: float | None, started_s: float = 0.0
) -> dict[str, Any]:
    """One of `bench exits`; None for one that was not measured."""
    of = ExitRow(name, group, lambda sampler: Samples([], "guest", 0, 0), "", "VMX 10 <CPUID>")
    times = {"started_s": started_s, "took_s": 0.5}
    if median_ns is None:
        return {**times, **Measured(exits.Result(of, why="no <way> back"), 1).as_dict()}
    source = random.Random(name)
    values = [median_ns * source.lognormvariate(0, 0.02) for _ in range(200)]
    samples = Samples(values, "guest", 60.0, 2_600_000)
    result = exits.Result(of, samples, Figures.of(values), 1.0)
    return {**times, **Measured(result, 1).as_dict()}


EXIT_ROWS = (
    exit_row("RDTSC pair", "floors", 0.0),
    exit_row("CPUID", "kernel", 1200.0, 0.5),
    exit_row("hypercall", "kernel", None, 1.0),
    exit_row("port out 1 B, native", "user", 8000.0, 1.1),
    exit_row("port out 1 B, python", "user", 8500.0, 1.6),
    exit_row("create", "life", 350_000.0, 2.1),
)


def exits_result(rows: Sequence[dict[str, Any]] = EXIT_ROWS) -> dict[str, Any]:
    """Of `bench exits`."""
    more = {"complete": True, "quick": True, "took_s": 2.6}
    return document("exits", Environment("kvm"), rows, **more)


def every_exit() -> dict[str, Any]:
    """The same with all rows that there are, each at another place of the axis."""
    source = random.Random(1)
    rows = [
        exit_row(row.name, row.group, 10 ** source.uniform(0, 7.5), float(number))
        for number, row in enumerate(exits.ROWS)
    ]
    return exits_result(rows)


def turns_result() -> dict[str, Any]:
    """Of a bench whose sides take turns; one row has no bar, one nothing to compare with."""
    questions = (
        Question("create a VM, first exit", "floor_ns", 1.25, LESS),
        Question("loop, 4 MiB apart", "unicorn", None, MORE, reads="M/s", unit="x unicorn"),
        Question("loop", "unicorn", 2.0, MORE, reads="M/s", unit="x unicorn"),
    )
    rows = []
    for question in questions:
        samples = [1.2 + 0.01 * (each % 5) for each in range(15)]
        sides = {"ours": [12.0 * each for each in samples], question.of: [12.0] * 15}
        if question.name == "loop":
            samples = []
            del sides[question.of]
        values = {name: each[7] for name, each in sides.items()}
        row = Row(question, values, samples=samples, sides=sides, note="a <note> of some length")
        rows.append({**row.as_dict(), "started_s": 0.0, "took_s": 1.0})
    rows.append({"name": "not here", "measured": False, "why": "no <way> back"})
    return document("floor", Environment(), rows, complete=True, rounds=15, took_s=2.0)
