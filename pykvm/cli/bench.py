"""`pykvm bench`: measure. Without a name it lists what there is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from pykvm.bench import cpu, floor, linux

SCHEMA = 1
BENCHES = {
    "cpu": "the emulator's speed, against the host's own and Unicorn's",
    "floor": "what pykvm adds to the same system calls made from C",
    "linux": "a stock kernel's way to its first process, against QEMU's emulator",
}
ROUNDS = {"cpu": 5, "floor": 15, "linux": 3}
MEASURES: dict[str, Callable[[int], Sequence[cpu.Row | floor.Row | linux.Row]]] = {
    "cpu": cpu.measure,
    "floor": floor.measure,
    "linux": linux.measure,
}
HEADS = {
    "cpu": f"{'native':>10} {'pykvm':>10} {'Unicorn':>10}",
    "floor": f"{'C floor':>10} {'pykvm':>10}",
    "linux": f"{'QEMU':>10} {'pykvm':>10}",
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
    rounds = max(1, args.rounds or ROUNDS[args.name])
    rows: Sequence[cpu.Row | floor.Row | linux.Row] = MEASURES[args.name](rounds)
    if args.json:
        print(json.dumps({"schema": SCHEMA, "bench": args.name, "rows": [_row(r) for r in rows]}))
        return 0
    print(f"{'':28} {HEADS[args.name]} {'figure':>15}   bar")
    for row in rows:
        verdict = {True: "met", False: "missed", None: ""}[row.met]
        print(f"{row.name:28} {_cells(row)}   {row.bar or ''} {verdict}".rstrip())
    return 0


def _cells(row: cpu.Row | floor.Row | linux.Row) -> str:
    if isinstance(row, cpu.Row):
        sides = (f"{_number(side, row.unit):>10}" for side in (row.native, row.ours, row.unicorn))
        figure = "" if row.figure is None else f"{row.figure:7.3f} x {row.of}"
        return f"{' '.join(sides)} {figure:>17}"
    if isinstance(row, linux.Row):
        return f"{row.qemu:7.2f} {row.unit:3} {row.ours:7.2f} {row.unit:3} {row.ratio:7.3f} x      "
    return (
        f"{row.floor_ns / 1000:7.2f} us {row.ours_ns / 1000:7.2f} us {row.figure:7.3f} {row.unit:7}"
    )


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.0f} {unit}"


def _row(row: cpu.Row | floor.Row | linux.Row) -> dict[str, object]:
    return {**asdict(row), "met": row.met}
