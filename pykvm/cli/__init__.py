"""The `pykvm` command: one module per subcommand, parsing and printing only.

Guest output goes to stdout and nothing else does; all that pykvm says goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from pykvm.cli import asm, bench, disasm, doctor, guests, run
from pykvm.errors import LayoutError, LoadError, PykvmError, UsageError
from pykvm.result import STATUS_DIED, STATUS_INTERRUPTED

STATUS_USAGE = 2
STATUS_CANNOT_LOAD = 126
STATUS_BROKEN_PIPE = 141  # as the shell says for a process that SIGPIPE ended

SUBCOMMANDS = (run, doctor, guests, asm, disasm, bench)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command."""

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into an error like the others."""
        raise UsageError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the process's exit status."""
    logging.getLogger("pykvm").addHandler(logging.NullHandler())  # the command says it itself
    parser = Parser(prog="pykvm", description="A KVM micro-hypervisor.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in SUBCOMMANDS:
        module.add_parser(subparsers)
    try:
        args = parser.parse_args(argv)
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
