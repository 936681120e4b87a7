"""A station that answers ARP, ICMP echo and UDP echo, at once and on the caller's thread.

Source: RFC 826 (ARP), RFC 791 (IPv4), RFC 792 (ICMP), RFC 768 (UDP), RFC 862 (echo).
"""

from __future__ import annotations

import struct
from functools import lru_cache

from pykvm.net import frames
from pykvm.net.port import Port

MAC = "02:00:00:00:00:01"
ADDRESS = "10.0.0.1"
ECHO_PORT = 7

_ARP, _IPV4 = struct.pack(">H", frames.TYPE_ARP), struct.pack(">H", frames.TYPE_IPV4)
_ARP_PACKET = struct.Struct(">HHBBH6s4s6s4s")
_ARP_ETHERNET_IPV4 = (1, frames.TYPE_IPV4, 6, 4)
_ARP_REQUEST, _ARP_REPLY = 1, 2
_DATAGRAM = struct.Struct(">14xBxHxxHxBxx4s4s")  # version, size, fragment, protocol, addresses
_FRAGMENT = 0x3FFF  # more of them, or not the first
_ICMP = struct.Struct(">HH")  # type and code, checksum
_ICMP_ECHO = 0x0800  # a request; a reply is 0


class Responder:
    """The station.

    Args:
        address: its IPv4 address.

    Attributes:
        port: where its cable goes.
        answered: frames that it answered; `ignored`: those that were not for it, or broken.
    """

    def __init__(self, address: str = ADDRESS, mac: str = MAC) -> None:
        self.address = frames.parse_ipv4(address)
        self.mac = frames.parse_mac(mac)
        self.port = Port(self._receive, "responder")
        self.answered = self.ignored = 0

    def _receive(self, *received: bytes) -> None:
        answers = [*filter(None, map(self._answer, received))]
        self.answered += len(answers)
        self.ignored += len(received) - len(answers)
        if answers:
            self.port.send(*answers)

    def _answer(self, frame: bytes) -> bytes | None:
        if len(frame) < frames.HEADER_SIZE or not frame.startswith((self.mac, frames.BROADCAST)):
            return None
        kind = frame[12:14]
        if kind == _IPV4:
            return self._answer_ipv4(frame)
        if kind == _ARP and (answer := self._answer_arp(frame[frames.HEADER_SIZE :])):
            return frames.pad(frame[6:12] + self.mac + kind + answer)
        return None

    def _answer_arp(self, packet: bytes) -> bytes | None:
        if len(packet) < _ARP_PACKET.size:
            return None
        *kind, operation, mac, address, _, target = _ARP_PACKET.unpack_from(packet)
        if tuple(kind) != _ARP_ETHERNET_IPV4 or operation != _ARP_REQUEST:
            return None
        if target != self.address:
            return None
        return _ARP_PACKET.pack(*kind, _ARP_REPLY, self.mac, self.address, mac, address)

    def _answer_ipv4(self, frame: bytes) -> bytes | None:
        """To a whole datagram for this address, with a header that is right.

        A sum with the right checksum in it is 0xFFFF: RFC 1071 §1.
        """
        if len(frame) < _DATAGRAM.size:
            return None
        version, size, fragment, protocol, source, target = _DATAGRAM.unpack_from(frame)
        start, end = frames.HEADER_SIZE + 4 * (version & 0xF), frames.HEADER_SIZE + size
        if version >> 4 != 4 or target != self.address or fragment & _FRAGMENT:
            return None
        if start < _DATAGRAM.size or not start <= end <= len(frame):
            return None
        if frames.sum_between(frame, frames.HEADER_SIZE, start) != 0xFFFF:
            return None
        if protocol == frames.PROTOCOL_ICMP:
            return self._answer_icmp(source, frame, start, end)
        if protocol == frames.PROTOCOL_UDP and (
            answer := self._answer_udp(source, frame[start:end])
        ):
            return frames.pad(frame[6:12] + self.mac + _IPV4 + answer)
        return None

    def _answer_icmp(self, source: bytes, frame: bytes, start: int, end: int) -> bytes | None:
        if end - start < 8:
            return None
        kind, value = _ICMP.unpack_from(frame, start)
        if kind != _ICMP_ECHO or frames.sum_between(frame, start, end) != 0xFFFF:
            return None
        value += _ICMP_ECHO  # for the type that becomes 0: RFC 1624 §3
        reply = _ICMP.pack(0, (value & 0xFFFF) + (value >> 16))
        head = _head((frame[6:12], self.mac), (self.address, source), 20 + end - start)
        return (head + reply + frame[start + _ICMP.size : end]).ljust(frames.MIN_SIZE, b"\0")

    def _answer_udp(self, source: bytes, datagram: bytes) -> bytes | None:
        if len(datagram) < 8:
            return None
        sender, port, size, value = struct.unpack_from(">HHHH", datagram)
        if port != ECHO_PORT or not 8 <= size <= len(datagram):
            return None
        datagram = datagram[:size]
        pseudo = source + self.address + struct.pack(">BBH", 0, frames.PROTOCOL_UDP, size)
        if value and frames.checksum(pseudo + datagram) != 0:
            return None
        return frames.udp(self.address, source, (ECHO_PORT, sender), datagram[8:])


@lru_cache(maxsize=256)  # those who ask send many of a size
def _head(macs: tuple[bytes, bytes], addresses: tuple[bytes, bytes], size_bytes: int) -> bytes:
    """What comes before an echo reply: `macs` are the receiver's and the sender's."""
    datagram = frames.ipv4_header(*addresses, frames.PROTOCOL_ICMP, size_bytes)
    return b"".join(macs) + _IPV4 + datagram
