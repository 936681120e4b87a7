"""What every bench is asked for and writes: rows, a processor, JSON, CSV and a report."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykvm.errors import UsageError
from pykvm.result import STATUS_INTERRUPTED

if TYPE_CHECKING:
    from pykvm.bench.environment import Environment
    from pykvm.bench.run import Run

STATUS_NO_REPORT = 1


def add_arguments(parser: argparse.ArgumentParser, rows: str) -> None:
    """Declare the options that every bench has."""
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only rows with this in {rows}")
    parser.add_argument("--list", action="store_true", help="list the rows and measure nothing")
    parser.add_argument("--pin", type=int, metavar="CPU", help="stay on this processor")
    parser.add_argument(
        "--json", nargs="?", const=Path("-"), type=Path, metavar="FILE",
        help="write the result as JSON; without FILE, or with -, to stdout",
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the figures as CSV")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page and plots there")


@contextmanager
def opened(args: argparse.Namespace, *, one_processor: bool = False) -> Iterator[Outputs]:
    """One command's outputs, with this process pinned as long as it measures.

    Args:
        one_processor: pin it to one even where the user names none.

    Raises:
        UsageError: something cannot be written, or this process not be pinned.
    """
    found = Outputs(args)
    cpus = os.sched_getaffinity(0)
    cpu = max(cpus) if args.pin is None and one_processor else args.pin
    try:
        if cpu is not None:
            from pykvm.bench.environment import pin

            pin(cpu)
        yield found
    finally:
        os.sched_setaffinity(0, cpus)


class Outputs:
    """Nothing is measured before it is known that all can be written.

    Raises:
        UsageError: something cannot be.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        if _is_stdout(args.json) and _is_stdout(args.csv):
            raise UsageError("--json and --csv cannot both be written to stdout")
        self._is_taken = _is_stdout(args.json) or _is_stdout(args.csv)
        _check_writable(args)

    def measure(self, bench: str, backend: str, run: Callable[[], Run], **more: Any) -> int:
        """Measure and write; returns the exit status."""
        from pykvm.bench.environment import Environment

        environment = Environment(backend)
        before = environment.warnings()
        _warn(before)
        found = run()
        environment.end()
        _warn([each for each in environment.warnings() if each not in before])
        status = self._write(bench, environment, found, more)
        if found.complete:
            return status
        print(f"pykvm: interrupted: {len(found.rows)} rows measured", file=sys.stderr)
        return STATUS_INTERRUPTED

    def say(self, line: str) -> None:
        """Print a line of the table."""
        # The streams are looked up each time: a bar puts itself before both.
        print(line, file=sys.stderr if self._is_taken else sys.stdout, flush=True)

    def _write(self, bench: str, environment: Environment, run: Run, more: dict[str, Any]) -> int:
        args = self._args
        if args.json is None and args.csv is None and args.report is None:
            return 0
        from pykvm.bench.document import as_csv, document, dumps

        more = {"complete": run.complete, **more, "took_s": round(run.took_s, 3)}
        found = document(bench, environment, run.rows, **more)
        if args.json is not None:
            _write(args.json, dumps(found))
        if args.csv is not None:
            _write(args.csv, as_csv(run.rows))
        return 0 if args.report is None else _report(args.report, found)


def _is_stdout(path: Path | None) -> bool:
    return path is not None and str(path) == "-"


def _check_writable(args: argparse.Namespace) -> None:
    path = args.report
    try:
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
            (path / ".writable").touch()
            (path / ".writable").unlink()
        for path in (args.json, args.csv):
            if path is not None and not _is_stdout(path):
                is_new = not path.exists()
                path.open("a").close()
                if is_new:
                    path.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"pykvm: warning: {warning}", file=sys.stderr)


def _write(path: Path, text: str) -> None:
    if _is_stdout(path):
        print(text, end="")
        return
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


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
