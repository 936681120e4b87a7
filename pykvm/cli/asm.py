"""`pykvm asm FILE`: assemble a guest to a flat binary, with a listing."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from pykvm.asm import Program
from pykvm.cli.options import parse_address, reads
from pykvm.errors import LoadError
from pykvm.guest import load_guest
from pykvm.loader.image import Mode


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("asm", help="assemble a guest", description=__doc__)
    option = parser.add_argument
    option("file", type=Path)
    option("-o", "--output", type=Path, help="flat binary (default: FILE with .bin)")
    option("--listing", action="store_true", help="print address, bytes and source")
    option("--mode", type=reads(Mode.parse), metavar="MODE", help="real, protected, long or user")
    option("--load", type=reads(parse_address), metavar="ADDR", help="address of the first byte")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Write the binary; returns 0."""
    given = {"mode": args.mode, "load": args.load}
    given = {name: value for name, value in given.items() if value is not None}
    program = replace(load_guest(args.file), **given).image()
    output = args.output or args.file.with_suffix(".bin")
    try:
        output.write_bytes(program.code)
    except OSError as error:
        raise LoadError(str(output), error.strerror or str(error)) from None
    if args.listing:
        print(listing(program))
    print(
        f"pykvm: {output}: {len(program.code)} bytes for {program.mode.value} mode "
        f"at {program.origin:#x}, entered at {program.entry:#x}",
        file=sys.stderr,
    )
    return 0


def listing(program: Program) -> str:
    """Address, bytes and source of each line, eight bytes a row."""
    rows, shown = [], None
    for line in program.listing:
        text = line.text if (line.path, line.line) != shown else ""
        shown = (line.path, line.line)
        pieces = [line.code[i : i + 8].hex(" ") for i in range(0, len(line.code), 8)] or [""]
        rows.append(f"{line.address:08x}  {pieces[0]:23}  {text}".rstrip())
        rows += [f"{'':10}{piece}" for piece in pieces[1:]]
    return "\n".join(rows)
