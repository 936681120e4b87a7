"""`pykvm disasm FILE`: disassemble a flat binary."""

from __future__ import annotations

import argparse
from pathlib import Path

from pykvm.cli.options import parse_address, reads
from pykvm.disasm import disassemble
from pykvm.errors import LoadError
from pykvm.loader.image import Mode

MAX_SIZE = 4 << 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("disasm", help="disassemble a flat binary", description=__doc__)
    parser.add_argument("file", type=Path)
    option = parser.add_argument
    option(
        "--mode", type=reads(Mode.parse), default=Mode.LONG, metavar="MODE",
        help="real, protected, long (default) or user",
    )  # fmt: skip
    option(
        "--base", type=reads(parse_address), metavar="ADDR",
        help="address of the first byte (default: the mode's own)",
    )  # fmt: skip
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print address, bytes and instruction; returns 0."""
    base = args.mode.load_base if args.base is None else args.base
    try:
        with args.file.open("rb") as file:
            code = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise LoadError(str(args.file), error.strerror or str(error)) from None
    if len(code) > MAX_SIZE:
        raise LoadError(str(args.file), f"{MAX_SIZE >> 20} MiB are disassembled at most")
    for each in disassemble(code, base, args.mode.bits):
        print(f"{each.address:08x}  {each.code.hex(' '):30}  {each}")
    return 0
