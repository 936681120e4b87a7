"""`pykvm bench`: measure. Without a name it lists what there is."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from pykvm.bench import floor

SCHEMA = 1
BENCHES = {"floor": "what pykvm adds to the same system calls made from C"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("bench", help="measure", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=15, help="turns of C and Python (15)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Measure and print; returns 0, whatever the figures are."""
    if args.name is None:
        for name, meaning in BENCHES.items():
            print(f"{name:10} {meaning}")
        return 0
    rows = floor.measure(rounds=max(1, args.rounds))
    if args.json:
        print(json.dumps({"schema": SCHEMA, "bench": "floor", "rows": [_row(row) for row in rows]}))
        return 0
    print(f"{'':28} {'C floor':>10} {'pykvm':>10} {'figure':>15}   bar")
    for row in rows:
        verdict = "met" if row.met else "missed"
        print(
            f"{row.name:28} {row.floor_ns / 1000:7.2f} us {row.ours_ns / 1000:7.2f} us "
            f"{row.figure:7.3f} {row.unit:7}   {row.bar} {verdict}"
        )
    return 0


def _row(row: floor.Row) -> dict[str, object]:
    return {**asdict(row), "met": row.met}
