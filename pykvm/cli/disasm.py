"""`pykvm disasm FILE`: disassemble a flat binary."""

from __future__ import annotations

import argparse
import errno
from pathlib import Path

from pykvm.cli.options import parse_address, reads
from pykvm.disasm import disassemble
from pykvm.errors import LoadError
from pykvm.files import read_regular
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
        code = read_regular(args.file, MAX_SIZE)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", 0) in (errno.EINVAL, errno.EFBIG):
            why += f"; {MAX_SIZE >> 20} MiB of a file are disassembled at most"
        raise LoadError(str(args.file), why) from None
    for each in disassemble(code, base, args.mode.bits):
        print(f"{each.address:08x}  {each.code.hex(' '):30}  {each}")
    return 0
