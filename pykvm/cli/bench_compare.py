"""`pykvm bench compare`: which rows changed between two results of one bench."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pykvm.cli.options import parse_path, reads
from pykvm.errors import UsageError

if TYPE_CHECKING:
    from pykvm.bench.compare import Change, Comparison, Series

STATUS_SLOWER = 1
_HEAD = f"{'':32} {'first':>10} {'second':>10} {'change':>10} {'told from':>10}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("first", type=reads(parse_path), metavar="A.json")
    parser.add_argument("second", type=reads(parse_path), metavar="B.json")
    parser.add_argument(
        "--fail-above", type=_percent, metavar="PERCENT",
        help="exit with status 1 where a row became worse by more than that",
    )  # fmt: skip
    parser.add_argument(
        "--anyway", action="store_true", help="compare machines of different kinds, too"
    )
    parser.add_argument("--all", action="store_true", help="show the rows that did not change, too")
    parser.set_defaults(main=main)


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage; write a number such as 5")
    return percent


def main(args: argparse.Namespace) -> int:
    """Compare; returns 1 where a row is slower than allowed, else 0.

    Raises:
        UsageError: a file is no result, or the two cannot be compared.
    """
    from pykvm.bench.compare import compare, different_in_kind
    from pykvm.bench.document import read

    first, second = read(args.first), read(args.second)
    comparison = compare(first, second)
    for difference in different_in_kind(first, second):
        if not args.anyway:
            raise UsageError(
                f"{args.first} and {args.second} are of different kinds; {difference}; "
                "--anyway compares them all the same"
            )
        print(f"pykvm: warning: different {difference}", file=sys.stderr)
    _show(comparison, args)
    failed = () if args.fail_above is None else comparison.worse(args.fail_above)
    if failed:
        print(f"pykvm: worse by more than {args.fail_above:g} %: {len(failed)}", file=sys.stderr)
    return STATUS_SLOWER if failed else 0


def _show(comparison: Comparison, args: argparse.Namespace) -> None:
    from pykvm.bench.compare import SAMPLES_MIN

    shown = [each for each in comparison.changes if each.changed or args.all]
    if shown:
        print(_HEAD)
    for each in shown:
        print(_line(each))
    for path, names in ((args.first, comparison.only_first), (args.second, comparison.only_second)):
        for name in names:
            print(f"{name:32} only in {path}")
    changed = sum(each.changed for each in comparison.changes)
    print(f"{changed} of {len(comparison.changes)} rows changed")
    if few := sum(each.is_blind for each in comparison.changes):
        print(
            f"pykvm: warning: {few} rows have fewer than {SAMPLES_MIN} samples, and no change can "
            f"be told from those; --rounds {SAMPLES_MIN} takes as many where sides take turns",
            file=sys.stderr,
        )


def _line(change: Change) -> str:
    told = f"{change.bound:.1f} %" if change.bound < 1e6 else "-"
    words = ("slower", "faster") if change.second.unit == "ns" else ("worse", "better")
    mark = "" if not change.changed else f"  {words[not change.is_worse]}"
    first, second = map(_shown, (change.first, change.second))
    return f"{change.name:32} {first:>10} {second:>10} {change.percent:+8.1f} % {told:>10}{mark}"


def _shown(series: Series) -> str:
    from pykvm.bench.table import nanoseconds

    return nanoseconds(series.median) if series.unit == "ns" else f"{series.median:.3f}"
