"""The `pykvm` command: one module per subcommand, parsing and printing only.

Guest output goes to stdout and nothing else does; all that pykvm says goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

from pykvm.errors import LayoutError, LoadError, PykvmError, UsageError
from pykvm.result import STATUS_DIED, STATUS_INTERRUPTED

STATUS_USAGE = 2
STATUS_CANNOT_LOAD = 126
STATUS_BROKEN_PIPE = 141  # as the shell says for a process that SIGPIPE ended

COMMANDS = ("run", "doctor", "guests", "asm", "disasm", "bench")  # each a module here


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command.

    Help has a width of its own: argparse would load compression libraries to find the terminal's.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=partial(argparse.HelpFormatter, width=80))

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into an error like the others."""
        raise UsageError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the process's exit status."""
    logging.getLogger("pykvm").addHandler(logging.NullHandler())  # the command says it itself
    parser = Parser(prog="pykvm", description="A KVM micro-hypervisor.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    words = sys.argv[1:] if argv is None else argv
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        import_module(f"pykvm.cli.{name}").add_parser(subparsers)
    try:
        args = parser.parse_args(words)
        if sys.stdout is None:
            raise UsageError("stdout is closed")
        status: int = args.main(args)
        sys.stdout.flush()
    except PykvmError as error:
        print(f"pykvm: {error}", file=sys.stderr)
        return _status(error)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no more flushing there
        if isinstance(error, BrokenPipeError):  # whoever read stdout has had enough
            return STATUS_BROKEN_PIPE
        print(f"pykvm: {error.strerror or error}", file=sys.stderr)
        return STATUS_DIED
    except KeyboardInterrupt:
        print("pykvm: interrupted", file=sys.stderr)
        return STATUS_INTERRUPTED
    return status


def _status(error: PykvmError) -> int:
    """Whose fault it was: the guest's file, the command, or this host."""
    match error:
        case LoadError():
            return STATUS_CANNOT_LOAD
        case UsageError() | LayoutError():
            return STATUS_USAGE
    return STATUS_DIED
