"""`pykvm bench exits`: its options."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from pykvm.cli import bench_outputs
from pykvm.errors import UsageError

if TYPE_CHECKING:
    from pykvm.bench.run import Run

STATUS_DISAGREES = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    bench_outputs.add_arguments(parser, "their names, or of this group")
    parser.add_argument("--backend", choices=("kvm", "emu"), default="kvm")
    parser.add_argument("--quick", action="store_true", help="fewer samples, within a minute")
    parser.add_argument(
        "--check", action="store_true",
        help="instead: compare with the same exits measured in C, and with known delays",
    )  # fmt: skip
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Measure; returns 0 where all rows were tried, whatever came of them."""
    from pykvm.bench import exits

    if args.check and (args.rows or args.list or args.quick):
        raise UsageError("--check takes no rows, and neither --list nor --quick")
    rows = exits.select(args.rows)
    if args.list:
        for row in rows:
            print(f"{row.group:8} {row.name:32} {row.text}".rstrip())
        return 0
    with bench_outputs.opened(args, one_processor=args.check) as outputs:
        khz = exits.counter_khz(args.backend)  # first: without KVM, that is all there is to say
        if args.check:
            return _check(args, outputs)
        return outputs.measure(
            "exits", args.backend, partial(_run, args, rows, khz, outputs), quick=args.quick
        )


def _run(
    args: argparse.Namespace,
    rows: tuple[Any, ...],
    khz: int,
    outputs: bench_outputs.Outputs,
    run: Run,
) -> None:
    from pykvm.bench.exits.guest import GuestSampler
    from pykvm.bench.progress import progress
    from pykvm.bench.results import taker
    from pykvm.bench.run import measure
    from pykvm.bench.sampler import FULL, QUICK
    from pykvm.bench.table import Table

    take = taker(GuestSampler(args.backend, QUICK if args.quick else FULL), khz)
    measure(run, rows, take, Table(), outputs.say, progress(len(rows)))


def _check(args: argparse.Namespace, outputs: bench_outputs.Outputs) -> int:
    """Are the figures right?"""
    from pykvm.bench.contest import Table, taker
    from pykvm.bench.exits import check
    from pykvm.bench.exits.guest import GuestSampler
    from pykvm.bench.progress import progress
    from pykvm.bench.run import measure
    from pykvm.bench.sampler import QUICK

    contests = check.contests(args.backend)
    take = taker(GuestSampler(args.backend, QUICK), check.ROUNDS)
    met: list[bool] = []

    def run(found: Run) -> None:
        table = Table(check.COLUMNS)
        measure(found, contests, take, table, outputs.say, progress(len(contests)))
        met.extend(bool(row.get("met")) for row in found.rows)

    status = outputs.measure("exits --check", args.backend, run, rounds=check.ROUNDS)
    return status or (0 if all(met) else STATUS_DISAGREES)
