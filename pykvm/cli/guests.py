"""`pykvm guests [DIR]`: list the guests of a directory, by default those that come with pykvm."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from pykvm.errors import UsageError
from pykvm.guest import Guest, load_guest
from pykvm.text import printable

PACKAGE = Path(__file__).parents[1]
SHIPPED = (PACKAGE / "guests", PACKAGE.parent / "guests")  # in a wheel, in a checkout


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("guests", help="list guests", description=__doc__)
    parser.add_argument("dir", metavar="DIR", nargs="?", type=Path, default=_shipped())
    parser.add_argument("--json", action="store_true", help="as JSON, with expectations")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print the list; returns 0.

    Raises:
        UsageError: not a directory, or none of its files is a guest.
        HeaderError: a guest's block is not valid.
    """
    guests = [load_guest(path) for path in sorted(args.dir.glob("*.S"))]
    if not guests:
        raise UsageError(f"there are no guests (*.S) in {args.dir}")
    if args.json:
        print(json.dumps([as_dict(guest) for guest in guests], indent=2))
    else:
        print(table(guests))
    return 0


def _shipped() -> Path:
    """`guests/` here, else the guests that this pykvm came with."""
    here = Path("guests")
    return next((each for each in (here, *SHIPPED) if each.is_dir()), here)


def as_dict(guest: Guest) -> dict[str, object]:
    """All that the block says, as JSON holds it."""
    expect = guest.expect
    return {
        "name": guest.path.stem,
        "path": str(guest.path),
        "summary": guest.summary,
        "mode": guest.mode.value,
        "memory_bytes": guest.memory,
        "timeout_s": guest.timeout_s,
        "cpus": guest.cpus,
        "cpu": guest.cpu,
        "devices": guest.devices,
        "irqchip": guest.irqchip,
        "pit": guest.pit,
        "append": guest.append,
        "float": guest.float_unclaimed,
        "exit_port": guest.exit_port,
        "requires": guest.requires,
        "expect": {
            "input": expect.input,
            "output": expect.output,
            "outcome": expect.outcome and expect.outcome.value,
            "exit_code": expect.exit_code,
            "exits": expect.exits,
        },
    }


def table(guests: Iterable[Guest]) -> str:
    """A line for each: file, mode, what its machine has, and the first sentence of its head."""
    rows = [["GUEST", "MODE", "MACHINE", "WHAT IT SHOWS"]]
    rows += [
        [
            printable(cell)
            for cell in (str(each.path), each.mode.value, _machine(each), _title(each))
        ]
        for each in guests
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _machine(guest: Guest) -> str:
    """Devices, and what else is unlike a plain machine."""
    parts = list(guest.devices)
    parts += [f"irqchip={guest.irqchip}"] if guest.irqchip != "none" else []
    parts += ["pit"] if guest.pit else []
    parts += [f"cpus={guest.cpus}"] if guest.cpus > 1 else []
    parts += [] if guest.exit_port is None else [f"exit_port={guest.exit_port:#x}"]
    parts += ["float"] if guest.float_unclaimed else []
    return " ".join(parts)


def _title(guest: Guest) -> str:
    title = guest.summary.partition(". ")[0].rstrip(".")
    needs = f" [needs {', '.join(guest.requires)}]" if guest.requires else ""
    return title + needs
