"""`pykvm disasm FILE`: disassemble a flat binary."""

from __future__ import annotations

import argparse
from pathlib import Path

from pykvm.disasm import disassemble
from pykvm.errors import LoadError, UsageError
from pykvm.loader.image import Mode


def _address(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{text!r} is not an address; write 65536 or 0x10000") from None


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("disasm", help="disassemble a flat binary", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--mode", default="long", help="real, protected, long (default) or user")
    parser.add_argument("--base", help="address of the first byte (default: the mode's own)")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print address, bytes and instruction; returns 0."""
    mode = Mode.parse(args.mode)
    base = mode.load_base if args.base is None else _address(args.base)
    try:
        code = args.file.read_bytes()
    except OSError as error:
        raise LoadError(str(args.file), error.strerror or str(error)) from None
    for each in disassemble(code, base, mode.bits):
        print(f"{each.address:08x}  {each.code.hex(' '):30}  {each}")
    return 0
