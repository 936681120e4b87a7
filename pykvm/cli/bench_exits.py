"""`pykvm bench exits`: its options and outputs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykvm.cli import bench
from pykvm.errors import UsageError
from pykvm.result import STATUS_INTERRUPTED

if TYPE_CHECKING:
    from pykvm.bench.environment import Environment

STATUS_NO_REPORT = STATUS_DISAGREES = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help="only rows with this in their name, or of this group"
    )
    parser.add_argument("--backend", choices=("kvm", "emu"), default="kvm")
    parser.add_argument("--quick", action="store_true", help="fewer samples, within a minute")
    parser.add_argument("--list", action="store_true", help="list the rows and measure nothing")
    parser.add_argument("--pin", type=int, metavar="CPU", help="stay on this processor")
    bench.add_json(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the figures as CSV")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page and plots there")
    parser.add_argument(
        "--check", action="store_true",
        help="instead: compare with the same exits measured in C, and with known delays",
    )  # fmt: skip
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Measure; returns 0 where all rows were tried, whatever came of them."""
    from pykvm.bench import exits

    rows = exits.select(args.rows)
    if args.list:
        for row in rows:
            print(f"{row.group:8} {row.name:32} {row.text}".rstrip())
        return 0
    _check_outputs(args)
    if args.pin is not None:
        from pykvm.bench.environment import pin

        pin(args.pin)
    return _check(args) if args.check else _run(args, rows)


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out before minutes are spent.

    Raises:
        UsageError: something cannot be written.
    """
    if bench.is_stdout(args.json) and bench.is_stdout(args.csv):
        raise UsageError("--json and --csv cannot both be written to stdout")
    path = args.report
    try:
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
            (path / ".writable").touch()
            (path / ".writable").unlink()
        for path in (args.json, args.csv):
            if path is not None and not bench.is_stdout(path):
                is_new = not path.exists()
                path.open("a").close()
                if is_new:
                    path.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _check(args: argparse.Namespace) -> int:
    """Are the figures right?"""
    from dataclasses import asdict

    from pykvm.bench.environment import Environment
    from pykvm.bench.exits.check import check
    from pykvm.bench.exits.sampler import QUICK, Sampler
    from pykvm.bench.table import agreement

    if args.rows or args.csv or args.report:
        raise UsageError("--check takes no rows, and writes no CSV and no report")
    environment = Environment(args.backend)
    found = check(Sampler(args.backend, QUICK))
    environment.end()
    _warn(environment.warnings())
    if args.json is not None:
        rows = [{**asdict(each), "met": each.met} for each in found]
        bench.write_json(args.json, "exits --check", environment, rows)
    if not bench.is_stdout(args.json):
        print(*agreement(found), sep="\n")
    return 0 if all(each.met for each in found) else STATUS_DISAGREES


def _run(args: argparse.Namespace, rows: tuple[Any, ...]) -> int:
    from pykvm.bench import run
    from pykvm.bench.environment import Environment

    khz = run.counter_khz(args.backend)  # first: where there is no KVM, that is all there is to say
    environment = Environment(args.backend)
    before = environment.warnings()
    _warn(before)
    taken = bench.is_stdout(args.json) or bench.is_stdout(args.csv)

    def say(line: str) -> None:  # looked up each time: a bar puts itself before both streams
        print(line, file=sys.stderr if taken else sys.stdout, flush=True)

    found = run.measure(rows, args.backend, khz, quick=args.quick, say=say)
    environment.end()
    _warn([each for each in environment.warnings() if each not in before])
    status = _write(args, environment, found)
    if found.complete:
        return status
    print(f"pykvm: interrupted: {len(found.rows)} of {len(rows)} rows measured", file=sys.stderr)
    return STATUS_INTERRUPTED


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"pykvm: warning: {warning}", file=sys.stderr)


def _write(args: argparse.Namespace, environment: Environment, found: Any) -> int:
    more = {"complete": found.complete, "quick": args.quick, "took_s": round(found.took_s, 3)}
    if args.json is not None:
        bench.write_json(args.json, "exits", environment, found.rows, **more)
    if args.csv is not None:
        from pykvm.bench.results import as_csv

        bench.write(args.csv, as_csv(found.rows))
    if args.report is None:
        return 0
    return _report(args.report, bench.as_document("exits", environment, found.rows, **more))


def _report(directory: Path, found: dict[str, Any]) -> int:
    """Draw; a table without a report is still something."""
    from pykvm.bench.page import PAGE, NoPlots, write_report

    try:
        write_report(directory, found)
    except NoPlots as error:
        print(f"pykvm: {error}", file=sys.stderr)
        return STATUS_NO_REPORT
    except OSError as error:
        raise UsageError(f"cannot write {directory}: {error.strerror}") from None
    print(f"pykvm: the report is {directory / PAGE}", file=sys.stderr)
    return 0
