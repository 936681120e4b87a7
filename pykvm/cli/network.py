"""Options that give a guest network cards. docs/running.md has them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from pykvm.cli.options import parse_path, reads, split_words
from pykvm.errors import UsageError
from pykvm.machine import Machine
from pykvm.net import frames
from pykvm.net.capture import Capture
from pykvm.net.link import Link
from pykvm.net.port import Port, connect
from pykvm.net.responder import ADDRESS, Responder
from pykvm.net.tap import Tap
from pykvm.net.unix import StreamSocket
from pykvm.virtio.net import MAC, Net

_FIRST_MAC = int.from_bytes(frames.parse_mac(MAC))


@dataclass(frozen=True)
class NetOption:
    """What `--net` says.

    Attributes:
        far_end: makes what is at the cable's other end.
        mac: the card's; None for the next one.
        nic: the 82540EM, not virtio.
    """

    far_end: Callable[[], Link | Responder]
    mac: str | None
    nic: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    option = parser.add_argument
    option(
        "--net", type=reads(_net), action="append", default=[],
        metavar="WHERE[,mac=MAC][,nic]",
        help="a virtio network card, or the 82540EM (nic), with a cable to: responder[=ADDRESS], "
        "tap[=NAME], stream=PATH (who listens there), or listen=PATH; once for each card",
    )  # fmt: skip
    option(
        "--capture", type=reads(parse_path), metavar="FILE",
        help="what passes at those cards, as a new pcapng file",
    )  # fmt: skip


def replaced(args: argparse.Namespace) -> set[str]:
    """Names of devices that take the place of a guest's own."""
    return {"nic" if each.nic else "virtio-net" for each in args.net}


@contextmanager
def attached(args: argparse.Namespace, machine: Machine) -> Iterator[list[Port]]:
    """Give a machine its cards, and close what is behind them at the end.

    Yields:
        The cards' ports.

    Raises:
        UsageError: one cannot be had.
    """
    with ExitStack() as stack:
        ports: list[Port] = []
        for each, mac in zip(args.net, _macs(args), strict=True):
            ports.append(_card(machine, each, mac))
            far_end = each.far_end()
            if isinstance(far_end, Link):
                stack.enter_context(far_end)
            connect(ports[-1], far_end.port)
        yield ports


def captured(args: argparse.Namespace, ports: Sequence[Port]) -> AbstractContextManager[Any]:
    """Write down what passes at cards, if that is wanted.

    Raises:
        UsageError: it cannot be.
    """
    if args.capture is None:
        return nullcontext()
    if not ports:
        raise UsageError("--capture captures what passes at cards; add one by --net")
    for path in (args.file, args.kernel, args.initrd, *(each.path for each in args.disk)):
        with suppress(OSError):  # one that is not there yet
            if path is not None and path.samefile(args.capture):
                raise UsageError(f"--capture would overwrite {path}, which the machine uses")
    return Capture(args.capture, ports)


def _macs(args: argparse.Namespace) -> list[str]:
    """The cards' addresses: as given, else counted."""
    macs = [
        each.mac or frames.format_mac((_FIRST_MAC + number).to_bytes(6))
        for number, each in enumerate(args.net)
    ]
    for mac in macs:
        if macs.count(mac) > 1:
            raise UsageError(f"two cards cannot both be {mac}; give one of them another mac=")
    return macs


def _card(machine: Machine, option: NetOption, mac: str) -> Port:
    if option.nic:
        return machine.add_nic(mac).port
    card = Net(mac)
    machine.add_virtio(card)
    return card.port


def _net(text: str) -> NetOption:
    where, words = split_words(text, "nic|mac=.*")
    mac = words.get("mac")
    if mac is not None:
        mac = frames.format_mac(frames.parse_mac(mac))
    return NetOption(_far_end(where), mac, "nic" in words)


def _far_end(where: str) -> Callable[[], Link | Responder]:
    kind, equals, place = where.partition("=")
    match kind:
        case "responder" if place or not equals:
            frames.parse_ipv4(place or ADDRESS)
            return lambda: Responder(place or ADDRESS)
        case "tap" if place or not equals:
            return lambda: Tap(place)
        case "stream" | "listen" if place:
            return lambda: StreamSocket(place, server=kind == "listen")
    raise UsageError(
        f"{where!r} is nowhere to go; write responder, responder=ADDRESS, tap, tap=NAME, "
        "stream=PATH or listen=PATH"
    )
