"""`pykvm bench`: measure. Without a name it lists what there is."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from pykvm.bench import cpu, floor, linux

SCHEMA = 1
BENCHES = {
    "cpu": "the emulator's speed, against the host's own and Unicorn's",
    "floor": "what pykvm adds to the same system calls made from C",
    "linux": "a stock kernel's way to its first process, against QEMU's emulator",
}
ROUNDS = {"cpu": 5, "floor": 15, "linux": 3}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("bench", help="measure", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES), metavar="NAME")
    parser.add_argument("--rounds", type=int, help="turns of both sides (cpu: 5, floor: 15, linux: 3)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Measure and print; returns 0, whatever the figures are."""
    if args.name is None:
        for name, meaning in BENCHES.items():
            print(f"{name:10} {meaning}")
        return 0
    rounds = max(1, args.rounds or ROUNDS[args.name])
    measure = {"cpu": cpu.measure, "floor": floor.measure, "linux": linux.measure}[args.name]
    rows = measure(rounds)
    if args.json:
        print(json.dumps({"schema": SCHEMA, "bench": args.name, "rows": [_row(r) for r in rows]}))
        return 0
    if args.name == "cpu":
        _print_cpu(rows)
        return 0
    print(
        f"{'':28} {'C floor' if args.name == 'floor' else 'QEMU':>10} {'pykvm':>10} "
        f"{'figure':>15}   bar"
    )
    for row in rows:
        print(f"{row.name:28} {_cells(row)}   {row.bar} {'met' if row.met else 'missed'}")
    return 0


def _cells(row: floor.Row | linux.Row) -> str:
    if isinstance(row, linux.Row):
        return f"{row.qemu:7.2f} {row.unit:3} {row.ours:7.2f} {row.unit:3} {row.ratio:7.3f} x      "
    return (
        f"{row.floor_ns / 1000:7.2f} us {row.ours_ns / 1000:7.2f} us {row.figure:7.3f} {row.unit:7}"
    )


def _row(row: floor.Row | linux.Row) -> dict[str, object]:
    return {**asdict(row), "met": row.met}
