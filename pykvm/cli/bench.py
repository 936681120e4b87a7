"""`pykvm bench`: measure. Without a name it lists what there is."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from importlib import import_module
from typing import Any

SCHEMA = 1
BENCHES = {
    "cpu": "the emulator's speed, against the host's own and Unicorn's",
    "floor": "what pykvm adds to the same system calls made from C",
    "linux": "a stock kernel's way to its first process, against QEMU's emulator",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("bench", help="measure", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES), metavar="NAME")
    parser.add_argument(
        "--rounds", type=int, help="turns of both sides (cpu: 5, floor: 15, linux: 3)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Measure and print; returns 0, whatever the figures are."""
    if args.name is None:
        for name, meaning in BENCHES.items():
            print(f"{name:10} {meaning}")
        return 0
    # Only what is asked for: each library that a process has mapped makes KVM_CREATE_VM longer.
    bench = import_module(f"pykvm.bench.{args.name}")
    rows = bench.measure(max(1, args.rounds or bench.ROUNDS))
    if args.json:
        import json

        print(json.dumps({"schema": SCHEMA, "bench": args.name, "rows": [_row(r) for r in rows]}))
        return 0
    print(f"{'':28} {bench.HEAD} {'figure':>15}   bar")
    for row in rows:
        verdict = {True: "met", False: "missed", None: ""}[row.met]
        print(f"{row.name:28} {row.cells()}   {row.bar or ''} {verdict}".rstrip())
    return 0


def _row(row: Any) -> dict[str, object]:
    return {**asdict(row), "met": row.met}
