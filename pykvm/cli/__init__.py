"""The `pykvm` command: one module per subcommand, parsing and printing only.

Guest output goes to stdout and nothing else does; all that pykvm says goes to stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pykvm.cli import asm, bench, disasm, doctor, run
from pykvm.errors import LoadError, PykvmError

STATUS_USAGE = 2
STATUS_CANNOT_LOAD = 126
STATUS_INTERRUPTED = 130
STATUS_BROKEN_PIPE = 141  # as the shell says for a process that SIGPIPE ended

SUBCOMMANDS = (run, doctor, asm, disasm, bench)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="pykvm", description="A KVM micro-hypervisor.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in SUBCOMMANDS:
        module.add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        status: int = args.main(args)
        sys.stdout.flush()
    except LoadError as error:
        print(f"pykvm: {error}", file=sys.stderr)
        return STATUS_CANNOT_LOAD
    except PykvmError as error:
        print(f"pykvm: {error}", file=sys.stderr)
        return STATUS_USAGE
    except BrokenPipeError:  # whoever read stdout has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STATUS_BROKEN_PIPE
    except KeyboardInterrupt:
        print("pykvm: interrupted", file=sys.stderr)
        return STATUS_INTERRUPTED
    return status
