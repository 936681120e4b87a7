"""`pykvm bench`: measure. Without a name it lists what there is."""

from __future__ import annotations

import argparse
from importlib import import_module

BENCHES = {
    "compare": "two results of one bench: which rows changed, and by how much",
    "cpu": "the emulator's speed, against the host's own and Unicorn's",
    "exits": "what each way of leaving a guest costs on this machine",
    "floor": "what pykvm adds to the same system calls made from C",
    "linux": "a stock kernel's way to its first process, against QEMU's emulator",
    "ring": "requests per second through virtqueues, against QEMU's devices",
}
IN_TURNS = {"cpu": 10, "floor": 15, "linux": 3, "ring": 5}  # against something else, so many rounds


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("bench", help="measure", description=__doc__)
    parser.set_defaults(main=_list)
    benches = parser.add_subparsers(metavar="NAME", title="what there is")
    for name, meaning in BENCHES.items():
        sentence = f"{meaning[0].upper()}{meaning[1:]}."
        bench = benches.add_parser(name, help=meaning, description=sentence)
        if name in IN_TURNS:
            import_module("pykvm.cli.bench_turns").add_arguments(bench, name, IN_TURNS[name])
        else:
            import_module(f"pykvm.cli.bench_{name}").add_arguments(bench)


def _list(args: argparse.Namespace) -> int:
    for name, meaning in BENCHES.items():
        print(f"{name:10} {meaning}")
    return 0
