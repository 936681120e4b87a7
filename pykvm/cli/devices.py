"""Options that give a guest virtio devices. docs/running.md has them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pykvm.cli.options import parse_path, reads, say, split_words, whole_number
from pykvm.errors import UsageError
from pykvm.machine import Machine
from pykvm.memory import parse_size
from pykvm.virtio.balloon import Balloon
from pykvm.virtio.block import Block
from pykvm.virtio.console import Console, Port
from pykvm.virtio.device import Device
from pykvm.virtio.disk import Disk, FileDisk, OverlayDisk
from pykvm.virtio.ends import Pty
from pykvm.virtio.limit import Limit
from pykvm.virtio.vsock import DEFAULT_CID, Vsock


@dataclass(frozen=True)
class DiskOption:
    """What `--disk` says."""

    path: Path
    readonly: bool
    copy_on_write: bool
    operations_per_s: int | None = None
    bytes_per_s: int | None = None

    def open(self) -> Disk:
        """The disk itself."""
        if self.copy_on_write:
            return OverlayDisk(FileDisk(self.path, readonly=True))
        return FileDisk(self.path, readonly=self.readonly)


@dataclass(frozen=True)
class VsockOption:
    """What `--vsock` says."""

    path: Path
    cid: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    option = parser.add_argument
    option(
        "--disk", type=reads(_disk), action="append", default=[],
        metavar="FILE[,ro|,cow][,iops=N][,bw=SIZE]",
        help="a virtio disk with this raw image: writable, read-only, or with changes that are "
        "forgotten; with at most so many requests and bytes a second; once for each disk",
    )  # fmt: skip
    option(
        "--vsock", type=reads(_vsock), metavar="PATH[,cid=N]",
        help="sockets to the host: the guest's port N reaches PATH_N; programs connect to PATH",
    )  # fmt: skip
    option(
        "--balloon", type=reads(parse_size), metavar="SIZE",
        help="a balloon that wants this much of the guest's memory",
    )  # fmt: skip
    option(
        "--console", choices=("stdio", "pty"),
        help="a virtio console on stdin and stdout, or on a terminal whose path is printed",
    )  # fmt: skip


def replaced(args: argparse.Namespace) -> set[str]:
    """Names of devices that take the place of a guest's own."""
    given = {
        "virtio-block": args.disk, "virtio-vsock": args.vsock, "virtio-console": args.console,
        "virtio-balloon": args.balloon is not None,
    }  # fmt: skip
    return {name for name, value in given.items() if value}


def attach(args: argparse.Namespace, machine: Machine) -> None:
    """Give them to a machine, which closes them.

    Raises:
        DiskError, UsageError: one cannot be had.
    """
    for disk in args.disk:
        _add(machine, partial(_block, disk))
    if args.console == "stdio":
        _add(machine, Console)
    if args.console == "pty":
        terminal = Pty()
        say(f"console: {terminal.path}")
        _add(machine, lambda: Console([Port(terminal)]))
    if args.balloon is not None:
        _add(machine, lambda: Balloon(args.balloon))
    if args.vsock:
        _add(machine, lambda: Vsock(args.vsock.path, args.vsock.cid))


def feed(args: argparse.Namespace, machine: Machine) -> Callable[[bytes], int]:
    """What takes stdin."""
    if args.console == "stdio" and machine.console is not None:
        return machine.console.feed
    return machine.feed


def _block(disk: DiskOption) -> Block:
    limit = None
    if disk.operations_per_s is not None or disk.bytes_per_s is not None:
        limit = Limit(disk.operations_per_s, disk.bytes_per_s)
    return Block(disk.open(), limit=limit)


def _add(machine: Machine, make: Callable[[], Device]) -> None:
    device = make()
    try:
        machine.add_virtio(device)
    except BaseException:
        device.close()
        raise


def _disk(text: str) -> DiskOption:
    path, words = split_words(text, "ro|cow|iops=.*|bw=.*")
    if "ro" in words and "cow" in words:
        raise UsageError("a disk is either ro or cow")
    rates = {
        field: _rate(words[name])
        for name, field in (("iops", "operations_per_s"), ("bw", "bytes_per_s"))
        if name in words
    }
    return DiskOption(parse_path(path), "ro" in words, "cow" in words, **rates)


def _rate(text: str) -> int:
    rate = parse_size(text)
    if rate <= 0:
        raise UsageError(f"a rate is more than 0 a second, not {text}")
    return rate


def _vsock(text: str) -> VsockOption:
    path, words = split_words(text, "cid=.*")
    cid = words.get("cid", str(DEFAULT_CID))
    if whole_number(cid) < 0:
        raise UsageError(f"{cid!r} is not a guest's number, such as 3")
    return VsockOption(parse_path(path), int(cid))
