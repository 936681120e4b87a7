"""`pykvm bench cpu`, `floor`, `linux` and `ring`: subjects that take turns."""

from __future__ import annotations

import argparse
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pykvm.cli import bench_outputs

if TYPE_CHECKING:
    from pykvm.bench.run import Run

# Their sides have one thread. Processors of a shared host differ, by a third where neighbours are
# busy, so both sides have to be on the same one.
_ONE_PROCESSOR = ("cpu", "floor")
_ROUNDS_MAX = 1_000_000


def add_arguments(parser: argparse.ArgumentParser, name: str, rounds: int) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rounds", type=_rounds, default=rounds, help=f"turns of all sides ({rounds})"
    )
    bench_outputs.add_arguments(parser, "their names")
    parser.set_defaults(main=partial(main, name))


def _rounds(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(_ROUNDS_MAX))
    rounds = int(text) if is_number else 0
    if not 1 <= rounds <= _ROUNDS_MAX:
        shown = bench_outputs.shortened(text)
        raise argparse.ArgumentTypeError(
            f"{shown} is no number of rounds; write 1 to {_ROUNDS_MAX:,}"
        )
    return rounds


def main(name: str, args: argparse.Namespace) -> int:
    """Measure and print; returns 0, whatever the figures are."""
    # Only what is asked for: each library that a process has mapped makes KVM_CREATE_VM longer.
    bench = import_module(f"pykvm.bench.{name}")
    chosen = import_module("pykvm.bench.run").chosen
    names = [each.name for contest in bench.CONTESTS for each in contest.questions]
    rows = chosen(name, names, args.rows)
    if args.list:
        print(*(each for each in names if each in rows), sep="\n")
        return 0
    with (
        bench_outputs.opened(args, one_processor=name in _ONE_PROCESSOR) as outputs,
        bench.prepare() as prepared,
    ):
        run = partial(_run, bench, prepared, args.rounds, rows, outputs)
        return outputs.measure(name, "", run, rounds=args.rounds)


def _run(
    bench: Any,
    prepared: Any,
    rounds: int,
    rows: set[str],
    outputs: bench_outputs.Outputs,
    run: Run,
) -> None:
    """Measure the contests that these rows belong to."""
    from pykvm.bench.contest import Table, taker
    from pykvm.bench.progress import Progress
    from pykvm.bench.run import measure

    contests = [each for each in bench.CONTESTS if any(one.name in rows for one in each.questions)]
    measure(
        run, contests, taker(prepared, rounds, rows), Table(bench.COLUMNS), outputs.say,
        Progress(len(contests)),
    )  # fmt: skip
