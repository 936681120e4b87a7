"""What every bench is asked for and writes: rows, a processor, JSON, CSV and a report."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykvm.bench.files import PAGE, Target, check_directory
from pykvm.cli.options import parse_path, reads
from pykvm.errors import UsageError

if TYPE_CHECKING:
    from pykvm.bench.environment import Environment
    from pykvm.bench.run import Run

STATUS_NO_REPORT = 1
_CPU_DIGITS = 6  # more than any host's processors have
_SHOWN = 20  # of a word in a message


def add_arguments(parser: argparse.ArgumentParser, rows: str) -> None:
    """Declare the options that every bench has."""
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only rows with this in {rows}")
    parser.add_argument("--list", action="store_true", help="list the rows and measure nothing")
    parser.add_argument("--pin", type=_cpu, metavar="CPU", help="stay on this processor")
    path = reads(parse_path)
    parser.add_argument(
        "--json", nargs="?", const=Path("-"), type=path, metavar="FILE",
        help="write the result as JSON; without FILE, or with -, to stdout",
    )  # fmt: skip
    parser.add_argument("--csv", type=path, metavar="FILE", help="write the figures as CSV")
    parser.add_argument("--report", type=path, metavar="DIR", help="write a page and plots there")


def _cpu(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _CPU_DIGITS):
        raise argparse.ArgumentTypeError(f"{shortened(text)} is no processor's number")
    return int(text)


def shortened(text: str) -> str:
    """A word for a message, quoted; of a long one its beginning."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


@contextmanager
def opened(args: argparse.Namespace, *, one_processor: bool = False) -> Iterator[Outputs]:
    """One command's outputs, with this process pinned as long as it measures.

    Args:
        one_processor: pin it to one even where the user names none.

    Raises:
        UsageError: something cannot be written, or this process not be pinned.
    """
    cpus = os.sched_getaffinity(0)
    cpu = max(cpus) if args.pin is None and one_processor else args.pin
    try:
        if cpu is not None:
            from pykvm.bench.environment import pin

            pin(cpu)
        with ExitStack() as stack:
            yield Outputs(args, stack)
    finally:
        os.sched_setaffinity(0, cpus)


class Outputs:
    """Nothing is measured before it is known that all can be written.

    Args:
        stack: closes what stays open.

    Raises:
        UsageError: something cannot be.
    """

    def __init__(self, args: argparse.Namespace, stack: ExitStack) -> None:
        self._report: Path | None = args.report
        self._is_taken = _is_stdout(args.json) or _is_stdout(args.csv)
        with _refused():
            directory = self._report and _report_directory(self._report, stack)
            self._json = _target(args.json, stack, directory)
            self._csv = _target(args.csv, stack, directory)
        self._directory = directory
        _check_apart(self._json, self._csv, directory)

    def measure(self, bench: str, backend: str, run: Callable[[Run], None], **more: Any) -> int:
        """Measure and write; returns the exit status.

        Raises:
            KeyboardInterrupt, OSError: what ended the run early, once all is written.
            UsageError: something cannot be written.
        """
        from pykvm.bench.environment import Environment
        from pykvm.bench.run import Run

        environment = Environment(backend)
        before = environment.warnings()
        _warn(before)
        found = Run()
        try:
            try:
                run(found)
            finally:
                environment.end()
                _warn([each for each in environment.warnings() if each not in before])
        except (KeyboardInterrupt, OSError) as error:
            found.ended_by = error
        status = self._write(bench, environment, found, more)
        if isinstance(found.ended_by, KeyboardInterrupt):
            raise KeyboardInterrupt(f"{len(found.rows)} rows measured")
        if found.ended_by is not None:
            raise found.ended_by
        return status

    def say(self, line: str) -> None:
        """Print a line of the table."""
        # The streams are looked up each time: a bar puts itself before both.
        print(line, file=sys.stderr if self._is_taken else sys.stdout, flush=True)

    def _write(self, bench: str, environment: Environment, run: Run, more: dict[str, Any]) -> int:
        """Whatever can be written is, whatever else cannot."""
        if self._json is None and self._csv is None and self._directory is None:
            return 0
        errors: list[OSError] = []
        found = self._write_files(bench, environment, run, more, errors)
        status = 0
        if self._report is not None and self._report.is_dir():
            with _kept(errors):
                status = _draw(self._report, found)
        if named := [error for error in errors if error.filename]:
            raise UsageError("; ".join(map(_said, named)))
        for error in errors:  # of stdout
            raise error
        return status

    def _write_files(
        self,
        bench: str,
        environment: Environment,
        run: Run,
        more: dict[str, Any],
        errors: list[OSError],
    ) -> dict[str, Any]:
        """All but the report; returns what that is of."""
        from pykvm.bench.document import as_csv, document, dumps

        with _held_back():
            more = {"complete": run.complete, **more, "took_s": round(run.took_s, 3)}
            found = document(bench, environment, run.rows, **more)
            outputs = ((self._json, dumps(found)), (self._csv, as_csv(run.rows)))
            if self._directory is not None:  # first: the files may be in it
                with _kept(errors):
                    self._directory.mkdir(parents=True, exist_ok=True)
            for target, text in outputs:
                if target is not None and target.real is not None:
                    with _kept(errors):
                        target.write(text)
        for target, text in outputs:
            if target is not None and target.real is None:  # its reader may take any time
                with _kept(errors):
                    target.write(text)
        return found


class _Stdout:
    """In place of a file."""

    path, real = Path("-"), None

    def write(self, text: str) -> None:
        """Print it."""
        print(text, end="", flush=True)


def _is_stdout(path: Path | None) -> bool:
    return path is not None and str(path) == "-"


def _target(path: Path | None, stack: ExitStack, directory: Path | None) -> Target | _Stdout | None:
    if path is None:
        return None
    return _Stdout() if _is_stdout(path) else Target(path, stack, later=directory)


def _report_directory(path: Path, stack: ExitStack) -> Path:
    directory = check_directory(path)
    Target(path / PAGE, stack, later=directory)
    return directory


def _check_apart(
    json: Target | _Stdout | None, csv: Target | _Stdout | None, directory: Path | None
) -> None:
    """Refuse two outputs for one place."""
    if isinstance(json, _Stdout) and isinstance(csv, _Stdout):
        raise UsageError("--json and --csv cannot both be written to stdout")
    if json and csv and json.real and json.real == csv.real:
        raise UsageError(f"--json and --csv cannot both be written to {csv.path}")
    for each in (json, csv):
        if each and each.real and directory and each.real == (directory / PAGE).resolve():
            raise UsageError(f"{each.path} is the report's own page")


def _said(error: OSError) -> str:
    return f"cannot write {error.filename}: {error.strerror}"


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(_said(error)) from None


@contextmanager
def _held_back() -> Iterator[None]:
    """Let signals wait that would end this."""
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _kept(errors: list[OSError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        errors.append(error)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        _tell(f"warning: {warning}")


def _tell(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone, and results are still to be written
        print(f"pykvm: {line}", file=sys.stderr)


def _draw(directory: Path, found: dict[str, Any]) -> int:
    """A report; a table without one is still something."""
    from pykvm.bench.page import NoPlots, write_report

    try:
        write_report(directory, found)
    except NoPlots as error:
        _tell(str(error))
        return STATUS_NO_REPORT
    _tell(f"the report is {directory / PAGE}")
    return 0
