"""The `pykvm` command: one module per subcommand, parsing and printing only.

Guest output goes to stdout and nothing else does; all that pykvm says goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pykvm.cli.options import say
from pykvm.errors import BusError, LayoutError, LoadError, PykvmError, UsageError, explain
from pykvm.result import STATUS_DIED

STATUS_USAGE = 2
STATUS_CANNOT_LOAD = 126
STATUS_SIGNAL = 128  # and the signal's number, as the shell says for a process that one ended
STATUS_BROKEN_PIPE = STATUS_SIGNAL + signal.SIGPIPE
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)

COMMANDS = ("run", "doctor", "guests", "asm", "disasm", "bench")  # each a module here


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command.

    Help has a width of its own: argparse would load compression libraries to find the terminal's.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=partial(argparse.HelpFormatter, width=80))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse here what is unknown: argparse would leave it to the parser of all commands."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into an error like the others."""
        raise UsageError(f"{message}; see {self.prog} --help")


class ShowVersion(argparse.Action):
    """Print the version, which takes a look at what is installed, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_args: object) -> NoReturn:
        """Do so."""
        from pykvm import __version__

        print(f"pykvm {__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the process's exit status."""
    _open_closed_streams()
    with _ended_by_signals() as numbers:
        status = _outcome(sys.argv[1:] if argv is None else argv, numbers)
        _leave_stdout()
    return status


def _outcome(words: Sequence[str], numbers: Sequence[int]) -> int:
    """The exit status; whatever went wrong is a line.

    Args:
        numbers: the signal that ended the command is the first of them.
    """
    try:
        return _run(words)
    except PykvmError as error:
        say(str(error))
        return _status(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # whoever read stdout has had enough
            return STATUS_BROKEN_PIPE
        say(explain(error))
        return STATUS_DIED
    except MemoryError:
        say("out of memory")
        return STATUS_DIED
    except KeyboardInterrupt as error:
        number = signal.Signals(next(iter(numbers), signal.SIGINT))
        words = ["interrupted" if number == signal.SIGINT else f"ended by {number.name}"]
        say(": ".join([*words, *map(str, error.args)]))
        return STATUS_SIGNAL + number


def _run(words: Sequence[str]) -> int:
    logging.getLogger("pykvm").addHandler(logging.NullHandler())  # the command says it itself
    parser = Parser(prog="pykvm", description="A KVM micro-hypervisor.")
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version and end")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        import_module(f"pykvm.cli.{name}").add_parser(subparsers)
    args = parser.parse_args(words)
    if sys.stdout is None:
        raise UsageError("stdout is closed")
    status: int = args.main(args)
    sys.stdout.flush()
    return status


def _open_closed_streams() -> None:
    """No other file may get the number of a standard stream, nor errors go to stdout."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


def _leave_stdout() -> None:
    """What stdout does not take is lost: the interpreter would try again at its end, and fail."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _ended_by_signals() -> Iterator[Sequence[int]]:
    """SIGTERM, SIGHUP and their like end a command as Ctrl-C does: files, sockets and the terminal
    are left as they should be. Nothing disturbs the end once it is under way.

    Yields:
        The number of the signal that did so, once there is one.
    """
    numbers: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # it gets no signals
        yield numbers
        return
    before = {each: signal.getsignal(each) for each in ENDING}

    def end(number: int, _frame: FrameType | None) -> None:
        if not numbers:
            numbers.append(number)
            raise KeyboardInterrupt

    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # nohup's way
                signal.signal(number, end)
        yield numbers
    finally:
        for number, handler in before.items() if not numbers else ():  # else the process ends, too
            signal.signal(number, handler)


def _status(error: PykvmError) -> int:
    """Whose fault it was: the guest's file, the command, or this host."""
    match error:
        case LoadError():
            return STATUS_CANNOT_LOAD
        case UsageError() | LayoutError() | BusError():
            return STATUS_USAGE
    return STATUS_DIED
