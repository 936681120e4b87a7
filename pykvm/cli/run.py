"""`pykvm run FILE`: run a guest."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pykvm.asm import assemble
from pykvm.errors import LoadError
from pykvm.machine import Machine


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("run", help="run a guest", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run it; returns the guest's exit status."""
    try:
        source = args.file.read_text()
    except OSError as error:
        raise LoadError(str(args.file), error.strerror or str(error)) from None
    with Machine(output=sys.stdout.buffer) as machine:
        machine.load(assemble(source, name=str(args.file)))
        result = machine.run(timeout=10)
    return result.status & 0xFF
