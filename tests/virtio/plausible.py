"""The readable part of a request as each device could want it in a queue: right in form, mostly.

Nothing, where all that a driver puts in is for the device to write to.
"""

from __future__ import annotations

import struct

from support.tape import Tape

from pykvm.net import frames
from pykvm.virtio import balloon, block, console, netfilter, offload
from pykvm.virtio.vsock import DEFAULT_CID, FIRST_HOST_PORT, TX
from pykvm.virtio.vsock_stream import HOST_CID, Packet


def nothing(tape: Tape, queue: int) -> bytes:
    """Or small numbers all the same, as most formats begin with."""
    if tape.below(8) != 7:
        return b""
    return b"".join(
        tape.one_of(tape.below(20), tape.number(4)).to_bytes(4, "little")
        for _ in range(1 + tape.below(6))
    )


def for_block(tape: Tape, queue: int) -> bytes:
    """Any type of request, with ranges behind it where they belong."""
    kind = tape.one_of(0, 1, 4, 8, 11, 13, 11, 13, tape.below(20))
    head = block.HEAD.pack(kind, 0, _sector(tape))
    if kind not in (block.Kind.DISCARD, block.Kind.WRITE_ZEROES):
        return head
    ranges = [
        block.RANGE.pack(_sector(tape), tape.one_of(1, 8, tape.number(2)), tape.below(3))
        for _ in range(1 + tape.below(3))
    ]
    return head + b"".join(ranges)[: tape.one_of(None, None, 17, 8)]


def _sector(tape: Tape) -> int:
    return tape.one_of(0, tape.below(200), tape.number(8))


def for_console(tape: Tape, queue: int) -> bytes:
    """Control messages, which other queues take for output."""
    if queue % 2 == 0:
        return nothing(tape, queue)
    event = tape.one_of(0, 3, 6, tape.below(9))
    message = console.CONTROL.pack(tape.below(3), event, tape.one_of(1, 1, 0, tape.number(2)))
    return message[: tape.one_of(None, None, None, tape.below(9))]


def for_balloon(tape: Tape, queue: int) -> bytes:
    """Numbers of pages, or statistics."""
    if queue > balloon.Number.STATISTICS:
        return nothing(tape, queue)
    if queue < balloon.Number.STATISTICS:
        numbers = [
            tape.one_of(tape.below(256), 512, 0x1_0000, tape.number(4)) % (1 << 32)
            for _ in range(1 + tape.below(6))
        ]
        return struct.pack(f"<{len(numbers)}I", *numbers)
    entries = b"".join(
        balloon.STATISTIC.pack(tape.below(12), tape.number(2)) for _ in range(1 + tape.below(4))
    )
    return entries[: tape.one_of(None, None, 17)]


def for_net(tape: Tape, queue: int) -> bytes:
    """Packets with their header, or commands for the control queue."""
    if queue % 2 == 0:  # the second may be for control, or another pair's
        return _command(tape) if queue > 2 or (queue and tape.below(2)) else nothing(tape, queue)
    packet, tcp = _packet(tape)
    header = offload.HEADER.pack(
        tape.one_of(0, 1, 1, tape.number(1)),
        tape.one_of(0, 1, 4, 0x81, tape.number(1)),
        tcp + 20,
        tape.one_of(1000, 100, 0, tape.number(2)),
        tape.one_of(tcp, tcp, tcp, 38, tape.number(2)),
        tape.one_of(16, 16, 16, 6, tape.number(2)),
        0,
    )
    return header[: tape.one_of(None, None, None, None, 7)] + packet


def _packet(tape: Tape) -> tuple[bytes, int]:
    """One to somebody, and where its TCP header begins."""
    target = tape.one_of(frames.BROADCAST, b"\x01\0\x5e\0\0\1", bytes.fromhex("525400000001"))
    head = target + b"\2\0\0\0\0\1"
    if tape.below(4) == 3:
        head += struct.pack(">HH", 0x8100, tape.number(2))
    offset = tape.one_of(0x50, 0x50, 0x60, 0xF0, 0)
    tcp = struct.pack(">HHIIBBHHH", 1, 2, 3, 4, offset, 0xFF, 9, 0, 0)
    payload = tcp + bytes(tape.one_of(0, 1, 200, 1400))
    if tape.below(2):
        head += b"\x86\xdd\x60\0\0\0\0\x14\6\x40" + bytes(32)
        return (head + payload)[: tape.one_of(None, None, None, 40, 13)], len(head)
    head += b"\x08\0"
    packet = head + frames.ipv4(bytes(4), bytes(4), tape.one_of(6, 17), payload)
    return packet[: tape.one_of(None, None, None, 40, 13)], len(head) + 20


def _command(tape: Tape) -> bytes:
    """Class and command, and some form of what belongs to it. §5.1.6.5."""
    count = tape.one_of(0, 1, 3, netfilter.ADDRESSES_MAX + 1, tape.number(4))
    table = struct.pack("<I", count) + bytes(6 * (count % 100))
    data = tape.one_of(b"\1", b"\0", b"\2\0", bytes(6), table + bytes(4), table, b"")
    kind, command = tape.below(5), tape.one_of(0, 1, tape.below(7))
    return bytes((kind, command))[: tape.one_of(2, 2, 2, 1)] + data


def for_vsock(tape: Tape, queue: int) -> bytes:
    """Packets, with some data behind them."""
    if queue != TX:
        return nothing(tape, queue)
    packet = Packet(
        tape.one_of(*(DEFAULT_CID,) * 7, tape.number(8)),
        tape.one_of(*(HOST_CID,) * 7, tape.number(8)),
        tape.one_of(1, 1, 1, 1, 2, 3),  # few streams, so that one is gone on with
        tape.one_of(1, 1, 1, 2, FIRST_HOST_PORT, FIRST_HOST_PORT + 1),
        tape.one_of(4, 4, 0, 16, tape.number(4)),
        tape.one_of(*(1,) * 7, tape.number(2)),
        tape.one_of(1, 1, 2, 5, 5, tape.below(9)),
        tape.below(4),
        tape.one_of(1 << 16, 100, tape.number(4)),
        tape.one_of(0, 4, tape.number(4)),
    )
    return packet.pack()[: tape.one_of(*(None,) * 7, 43)] + b"data"
