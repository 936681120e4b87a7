"""Options that give a guest network cards. docs/running.md has them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pykvm.cli.options import reads
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
        "--capture", type=Path, metavar="FILE",
        help="what passes at those cards, as a pcapng file",
    )  # fmt: skip


def replaced(args: argparse.Namespace) -> set[str]:
    """Names of devices that take the place of a guest's own."""
    return {"nic" if each.nic else "virtio-net" for each in args.net}


@contextmanager
def attached(args: argparse.Namespace, machine: Machine) -> Iterator[None]:
    """Give a machine its cards, and close what is behind them at the end.

    Raises:
        UsageError: one cannot be had.
    """
    with ExitStack() as stack:
        ports = []
        for number, each in enumerate(args.net):
            ports.append(_card(machine, each, number))
            far_end = each.far_end()
            if isinstance(far_end, Link):
                stack.enter_context(far_end)
            connect(ports[-1], far_end.port)
        if args.capture is not None:
            if not ports:
                raise UsageError("--capture captures what passes at cards; add one by --net")
            stack.enter_context(Capture(args.capture, ports))
        yield


def _card(machine: Machine, option: NetOption, number: int) -> Port:
    mac = option.mac or frames.format_mac((_FIRST_MAC + number).to_bytes(6))
    if option.nic:
        return machine.add_nic(mac).port
    card = Net(mac)
    machine.add_virtio(card)
    return card.port


def _net(text: str) -> NetOption:
    where, mac, nic = text, None, False
    while (parts := where.rpartition(","))[1] and (
        parts[2] == "nic" or parts[2].startswith("mac=")
    ):
        where, word = parts[0], parts[2]
        if word == "nic":
            nic = True
        else:
            mac = frames.format_mac(frames.parse_mac(word.removeprefix("mac=")))
    return NetOption(_far_end(where), mac, nic)


def _far_end(where: str) -> Callable[[], Link | Responder]:
    kind, _, place = where.partition("=")
    match kind:
        case "responder":
            return lambda: Responder(place or ADDRESS)
        case "tap":
            return lambda: Tap(place)
        case "stream" | "listen" if place:
            return lambda: StreamSocket(place, server=kind == "listen")
    raise UsageError(
        f"{where!r} is nowhere to go; write responder, responder=ADDRESS, tap, tap=NAME, "
        "stream=PATH or listen=PATH"
    )
