"""`pykvm asm FILE`: assemble a guest to a flat binary, with a listing."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from pykvm.asm import Program
from pykvm.cli.options import add_include_dirs, parse_address, reads, say
from pykvm.errors import LoadError
from pykvm.files import open_stream, replace_file
from pykvm.guest import load_guest
from pykvm.loader.image import Mode
from pykvm.text import printable


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("asm", help="assemble a guest", description=__doc__)
    option = parser.add_argument
    option("file", type=Path)
    option("-o", "--output", type=Path, help="flat binary (default: FILE with .bin)")
    option("--listing", action="store_true", help="print address, bytes and source")
    option("--mode", type=reads(Mode.parse), metavar="MODE", help="real, protected, long or user")
    option("--load", type=reads(parse_address), metavar="ADDR", help="address of the first byte")
    add_include_dirs(parser)
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Write the binary; returns 0."""
    given = {"mode": args.mode, "load": args.load}
    given = {name: value for name, value in given.items() if value is not None}
    program = replace(load_guest(args.file, args.include_dir), **given).image()
    output = args.output or args.file.with_suffix(".bin")
    _write(output, program.code, args.file)
    if args.listing:
        print(listing(program))
    say(
        f"{output}: {len(program.code)} bytes for {program.mode.value} mode "
        f"at {program.origin:#x}, entered at {program.entry:#x}"
    )
    return 0


def _write(path: Path, code: bytes, source: Path) -> None:
    """To a new file, to one of that name that gives way to it, or to a pipe."""
    try:
        if path.exists() and path.samefile(source):
            raise LoadError(str(path), "is the source; -o names another file")
        if path.exists() and not path.is_file():
            with os.fdopen(open_stream(path), "wb") as stream:
                stream.write(code)
        else:
            replace_file(path, code)
    except (OSError, ValueError) as error:
        raise LoadError(str(path), getattr(error, "strerror", None) or str(error)) from None


def listing(program: Program) -> str:
    """Address, bytes and source of each line, eight bytes a row."""
    rows, shown = [], None
    for line in program.listing:
        text = printable(line.text) if (line.path, line.line) != shown else ""
        shown = (line.path, line.line)
        pieces = [line.code[i : i + 8].hex(" ") for i in range(0, len(line.code), 8)] or [""]
        rows.append(f"{line.address:08x}  {pieces[0]:23}  {text}".rstrip())
        rows += [f"{'':10}{piece}" for piece in pieces[1:]]
    return "\n".join(rows)
