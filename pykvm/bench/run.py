"""A run of `bench exits`: rows one after the other, each shown as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pykvm import layout
from pykvm.bench import exits
from pykvm.bench.exits.row import Row
from pykvm.bench.exits.sampler import FULL, QUICK, Sampler
from pykvm.bench.progress import progress
from pykvm.bench.results import Measured
from pykvm.bench.table import Table
from pykvm.machine import Machine


@dataclass
class Run:
    """What came of it.

    Attributes:
        rows: as JSON has them.
        complete: whether it came to its end.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False
    took_s: float = 0.0


def measure(
    rows: Sequence[Row], backend: str, khz: int, *, quick: bool, say: Callable[[str], None]
) -> Run:
    """Measure rows; Ctrl-C ends it early, and what was measured is kept.

    Args:
        khz: what `counter_khz` says.
        say: prints a line of the table.
    """
    run, table = Run(), Table()
    with progress(len(rows)) as bar:
        say(table.head())

        def show(result: exits.Result) -> None:
            now_s = bar.elapsed_s
            measured = Measured(result, run.took_s, now_s - run.took_s, khz)
            run.rows.append(measured.as_dict())
            for line in table.lines(run.rows[-1]):
                say(line)
            bar.advance(result.row.group)
            run.took_s = now_s

        exits.measure(rows, Sampler(backend, QUICK if quick else FULL), show)
        for line in table.foot(run.rows):
            say(line)
    run.complete = len(run.rows) == len(rows)
    return run


def counter_khz(backend: str) -> int:
    """How fast a guest's time-stamp counter runs.

    Raises:
        KvmUnavailable: there is no KVM here.
    """
    with Machine(memory=layout.MIN_RAM_SIZE, backend=backend, devices=()) as machine:
        return machine.vcpu.get_tsc_khz()
