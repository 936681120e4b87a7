"""A station that answers ARP, ICMP echo and UDP echo, at once and on the caller's thread.

Source: RFC 826 (ARP), RFC 791 (IPv4), RFC 792 (ICMP), RFC 768 (UDP), RFC 862 (echo).
"""

from __future__ import annotations

import struct

from pykvm.net import frames
from pykvm.net.port import Port

MAC = "02:00:00:00:00:01"
ADDRESS = "10.0.0.1"
ECHO_PORT = 7

_ARP = struct.Struct(">HHBBH6s4s6s4s")
_ARP_ETHERNET_IPV4 = (1, frames.TYPE_IPV4, 6, 4)
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ICMP_ECHO_REQUEST = 8


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

    def _receive(self, frame: bytes) -> None:
        answer = self._answer(frame)
        if answer is None:
            self.ignored += 1
        else:
            self.answered += 1
            self.port.send(frames.pad(answer))

    def _answer(self, frame: bytes) -> bytes | None:
        if len(frame) < frames.HEADER_SIZE or frame[:6] not in (self.mac, frames.BROADCAST):
            return None
        kind, payload = frames.ether_type(frame), frame[frames.HEADER_SIZE :]
        if kind == frames.TYPE_ARP:
            answer = self._answer_arp(payload)
        elif kind == frames.TYPE_IPV4:
            answer = self._answer_ipv4(payload)
        else:
            return None
        return answer and frame[6:12] + self.mac + frame[12:14] + answer

    def _answer_arp(self, packet: bytes) -> bytes | None:
        if len(packet) < _ARP.size:
            return None
        *kind, operation, mac, address, _, target = _ARP.unpack_from(packet)
        if tuple(kind) != _ARP_ETHERNET_IPV4 or operation != _ARP_REQUEST:
            return None
        if target != self.address:
            return None
        return _ARP.pack(*kind, _ARP_REPLY, self.mac, self.address, mac, address)

    def _answer_ipv4(self, packet: bytes) -> bytes | None:
        """A whole datagram for this address, with a header that is right."""
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[16:20] != self.address:
            return None
        head_size, (size,) = 4 * (packet[0] & 0xF), struct.unpack_from(">H", packet, 2)
        is_fragment = struct.unpack_from(">H", packet, 6)[0] & 0x3FFF
        if head_size < 20 or not head_size <= size <= len(packet) or is_fragment:
            return None
        if frames.checksum(packet[:head_size]) != 0:
            return None
        source, payload = packet[12:16], packet[head_size:size]
        match packet[9]:
            case frames.PROTOCOL_ICMP:
                return self._answer_icmp(source, payload)
            case frames.PROTOCOL_UDP:
                return self._answer_udp(source, payload)
        return None

    def _answer_icmp(self, source: bytes, message: bytes) -> bytes | None:
        if len(message) < 8 or message[0] != _ICMP_ECHO_REQUEST or message[1] != 0:
            return None
        if frames.checksum(message) != 0:
            return None
        reply = bytes(4) + message[4:]
        reply = reply[:2] + struct.pack(">H", frames.checksum(reply)) + reply[4:]
        return frames.ipv4(self.address, source, frames.PROTOCOL_ICMP, reply)

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
