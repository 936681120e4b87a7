"""`pykvm bench`: measure. Without a name it lists what there is."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

BENCHES = {
    "compare": "two results of exits: which rows changed, and by how much",
    "cpu": "the emulator's speed, against the host's own and Unicorn's",
    "exits": "what each way of leaving a guest costs on this machine",
    "floor": "what pykvm adds to the same system calls made from C",
    "linux": "a stock kernel's way to its first process, against QEMU's emulator",
    "ring": "requests per second through virtqueues, against QEMU's devices",
}
IN_TURNS = {"cpu": 5, "floor": 15, "linux": 3, "ring": 5}  # against something else, so many rounds


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("bench", help="measure", description=__doc__)
    parser.set_defaults(main=_list)
    benches = parser.add_subparsers(metavar="NAME", title="what there is")
    for name, meaning in BENCHES.items():
        bench = benches.add_parser(name, help=meaning, description=meaning.capitalize() + ".")
        if name in IN_TURNS:
            _add_rounds(bench, name)
        else:
            import_module(f"pykvm.cli.bench_{name}").add_arguments(bench)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option that every bench has."""
    parser.add_argument(
        "--json", nargs="?", const=Path("-"), type=Path, metavar="FILE",
        help="write the result as JSON; without FILE, or with -, to stdout",
    )  # fmt: skip


def _add_rounds(parser: argparse.ArgumentParser, name: str) -> None:
    rounds = IN_TURNS[name]
    parser.add_argument("--rounds", type=int, help=f"turns of both sides ({rounds})")
    add_json(parser)
    parser.set_defaults(main=partial(_measure, name))


def _list(args: argparse.Namespace) -> int:
    for name, meaning in BENCHES.items():
        print(f"{name:10} {meaning}")
    return 0


def _measure(name: str, args: argparse.Namespace) -> int:
    """Measure and print; returns 0, whatever the figures are."""
    # Only what is asked for: each library that a process has mapped makes KVM_CREATE_VM longer.
    bench = import_module(f"pykvm.bench.{name}")
    environment = import_module("pykvm.bench.environment").Environment()
    rows = bench.measure(max(1, args.rounds or bench.ROUNDS))
    environment.end()
    if args.json:
        write_json(args.json, name, environment, [{**asdict(row), "met": row.met} for row in rows])
    if not is_stdout(args.json):
        print(f"{'':28} {bench.HEAD} {'figure':>15}   bar")
        for row in rows:
            verdict = {True: "met", False: "missed", None: ""}[row.met]
            print(f"{row.name:28} {row.cells()}   {row.bar or ''} {verdict}".rstrip())
    return 0


def is_stdout(path: Path | None) -> bool:
    """Whether an output is for stdout."""
    return path is not None and str(path) == "-"


def write_json(path: Path, bench: str, environment: Any, rows: list[Any], **more: Any) -> None:
    """A result, where `--json` wants it.

    Raises:
        UsageError: the file cannot be written.
    """
    from pykvm.bench.document import dumps

    write(path, dumps(as_document(bench, environment, rows, **more)))


def as_document(bench: str, environment: Any, rows: list[Any], **more: Any) -> dict[str, Any]:
    """A result as JSON has it."""
    from pykvm.bench.document import document

    return document(bench, environment, rows, **more)


def write(path: Path, text: str) -> None:
    """A text to a file, or to stdout for "-".

    Raises:
        UsageError: the file cannot be written.
    """
    from pykvm.errors import UsageError

    if is_stdout(path):
        print(text, end="")
        return
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
