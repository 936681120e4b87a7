"""`pykvm asm FILE`: assemble a guest to a flat binary, with a listing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pykvm.asm import Program
from pykvm.errors import LoadError
from pykvm.guest import load_guest


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("asm", help="assemble a guest", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="flat binary (default: FILE with .bin)")
    parser.add_argument("--listing", action="store_true", help="print address, bytes and source")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Write the binary; returns 0."""
    program = load_guest(args.file).image()
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
