"""What a network device does for its driver: checksums, and cutting up large TCP segments.

Source: VIRTIO 1.2 §5.1.6.2 (packet transmission), RFC 9293 §3.1 (TCP's header).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pykvm.net import frames

HEADER = struct.Struct("<BBHHHHH")  # struct virtio_net_hdr, §5.1.6
HDR_F_NEEDS_CSUM, HDR_F_DATA_VALID = 1, 2
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_ECN = 0, 1, 4, 0x80

_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_U16 = struct.Struct(">H")


class OffloadError(Exception):
    """The driver's header does not fit its packet."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the driver wants done, as its header says."""

    flags: int
    gso_type: int
    header_size: int
    segment_size: int
    checksum_start: int
    checksum_offset: int

    @classmethod
    def read(cls, data: bytes) -> Request:
        """From the 12 bytes in front of a packet."""
        return cls(*HEADER.unpack(data)[:6])


def packets(request: Request, packet: bytes) -> Iterator[bytes]:
    """The frames to send for one packet.

    Raises:
        OffloadError: the request does not fit the packet.
    """
    if request.gso_type != GSO_NONE:
        yield from _segments(request, packet)
    elif request.flags & HDR_F_NEEDS_CSUM:
        yield _with_checksum(packet, request.checksum_start, request.checksum_offset)
    else:
        yield packet


def _with_checksum(packet: bytes, start: int, offset: int) -> bytes:
    """The field holds the pseudo header's sum already. §5.1.6.2."""
    place = start + offset
    if place + 2 > len(packet):
        raise OffloadError(f"a checksum at {place} in a packet of {len(packet)} bytes")
    value = frames.checksum(packet[start:]) or 0xFFFF  # 0 is UDP's "none"
    return packet[:place] + _U16.pack(value) + packet[place + 2 :]


def _segments(request: Request, packet: bytes) -> Iterator[bytes]:
    """Cut a TCP segment into those that fit the wire, each with headers of its own."""
    tcp = request.checksum_start
    if not request.flags & HDR_F_NEEDS_CSUM or request.checksum_offset != 16:
        raise OffloadError("segmentation without TCP's checksum")
    if request.segment_size == 0 or tcp + 20 > len(packet):
        raise OffloadError("segments of no size, or no TCP header")
    network = _network_header(request.gso_type & ~GSO_ECN, packet, tcp)
    payload = tcp + 4 * (packet[tcp + 12] >> 4)
    if payload < tcp + 20 or payload > len(packet):
        raise OffloadError("TCP's header is longer than its segment")
    (sequence,) = struct.unpack_from(">I", packet, tcp + 4)
    for number, start in enumerate(
        range(payload, max(len(packet), payload + 1), request.segment_size)
    ):
        data = packet[start : start + request.segment_size]
        last = start + request.segment_size >= len(packet)
        head = bytearray(packet[:payload])
        struct.pack_into(">I", head, tcp + 4, sequence + start - payload & 0xFFFF_FFFF)
        head[tcp + 13] &= 0xFF if last else ~(_FIN | _PSH)
        head[tcp + 13] &= 0xFF if number == 0 else ~_CWR  # once: RFC 3168 §6.1.2
        size_bytes = payload - tcp + len(data)
        addresses = _size_network(head, network, payload - network + len(data), number)
        pseudo = addresses + struct.pack(">II", size_bytes, frames.PROTOCOL_TCP)
        struct.pack_into(">H", head, tcp + 16, 0)
        value = frames.checksum(pseudo + bytes(head[tcp:]) + data)
        struct.pack_into(">H", head, tcp + 16, value)
        yield bytes(head) + data


def _network_header(gso_type: int, packet: bytes, tcp: int) -> int:
    """Where the IP header begins, which has to be of the type that the request names."""
    network = frames.HEADER_SIZE
    if frames.vlan_of(packet) is not None:
        network += frames.TAG_SIZE
    version, smallest = {GSO_TCPV4: (4, 20), GSO_TCPV6: (6, 40)}.get(gso_type, (0, 0))
    if not version or network + smallest > tcp or packet[network] >> 4 != version:
        raise OffloadError(f"segmentation of type {gso_type} for another packet")
    if version == 4 and network + 4 * (packet[network] & 0xF) != tcp:
        raise OffloadError("TCP does not follow the IPv4 header")
    return network


def _size_network(head: bytearray, network: int, size_bytes: int, number: int) -> bytes:
    """Give the IP header its length, identification and checksum; returns the addresses."""
    if size_bytes > 0xFFFF:
        raise OffloadError(f"a segment of {size_bytes} bytes")
    if head[network] >> 4 == 6:
        struct.pack_into(">H", head, network + 4, size_bytes - 40)
        return bytes(head[network + 8 : network + 40])
    (ident,) = struct.unpack_from(">H", head, network + 4)
    struct.pack_into(">H", head, network + 2, size_bytes)
    struct.pack_into(">H", head, network + 4, ident + number & 0xFFFF)
    struct.pack_into(">H", head, network + 10, 0)
    end = network + 4 * (head[network] & 0xF)
    struct.pack_into(">H", head, network + 10, frames.checksum(bytes(head[network:end])))
    return bytes(head[network + 12 : network + 20])


def is_checked(frame: bytes) -> bool:
    """Whether TCP's or UDP's checksum was looked at and is right: DATA_VALID. §5.1.6.4."""
    start = frames.HEADER_SIZE
    if len(frame) < start + 20 or frames.ether_type(frame) != frames.TYPE_IPV4:
        return False
    head_size, (size,) = 4 * (frame[start] & 0xF), _U16.unpack_from(frame, start + 2)
    is_fragment = _U16.unpack_from(frame, start + 6)[0] & 0x3FFF
    if head_size < 20 or not head_size <= size <= len(frame) - start or is_fragment:
        return False
    protocol, segment = frame[start + 9], frame[start + head_size : start + size]
    if protocol == frames.PROTOCOL_UDP:
        if len(segment) < 8 or segment[6:8] == b"\0\0":
            return False
    elif protocol != frames.PROTOCOL_TCP or len(segment) < 20:
        return False
    pseudo = frame[start + 12 : start + 20] + struct.pack(">HH", protocol, len(segment))
    return frames.ones_sum(pseudo + segment) == 0xFFFF
