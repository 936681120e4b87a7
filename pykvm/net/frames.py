"""Ethernet frames and what pykvm reads and makes inside them. A frame has no FCS here.

Source: IEEE 802.3 §3, IEEE 802.1Q §9 (tags), RFC 1071 (the checksum).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import lru_cache

from pykvm._native import lib
from pykvm.errors import UsageError

HEADER_SIZE = 14
TAG_SIZE = 4
MIN_SIZE = 60  # without the FCS; senders pad
MAX_SIZE = 0xFFFF + HEADER_SIZE + TAG_SIZE  # nothing larger is carried
BROADCAST = b"\xff" * 6
VLAN_MAX = 4094

TYPE_IPV4, TYPE_ARP, TYPE_VLAN, TYPE_IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP = 1, 6, 17

_U16 = struct.Struct(">H")
_IPV4 = struct.Struct(">BBHHHBBH4s4s")
# `ones_sum` of data[start:end], which have to be in it: nobody looks.
sum_between: Callable[[bytes, int, int], int] = lib.pykvm_ones_sum


def parse_mac(text: str) -> bytes:
    """Six bytes from "52:54:00:12:34:56".

    Raises:
        UsageError: not an address of one station.
    """
    is_mac = isinstance(text, str) and re.fullmatch("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text)
    mac = bytes.fromhex(text.replace(":", "")) if is_mac else bytes(6)
    if is_group(mac) or not any(mac):
        raise UsageError(f'{text!r} is not a station\'s address; write "52:54:00:12:34:56"')
    return mac


def format_mac(mac: bytes) -> str:
    """The usual spelling."""
    return mac.hex(":")


def parse_ipv4(text: str) -> bytes:
    """Four bytes from "10.0.0.1".

    Raises:
        UsageError: not an IPv4 address.
    """
    parts = text.split(".")
    if len(parts) != 4 or not all(
        each.isascii() and each.isdigit() and len(each) <= 3 and int(each) <= 255 for each in parts
    ):
        raise UsageError(f'{text!r} is not an IPv4 address; write "10.0.0.1"')
    return bytes(map(int, parts))


def is_group(mac: bytes) -> bool:
    """Whether an address is for many: multicast or broadcast."""
    return bool(mac[0] & 1)


def ether_type(frame: bytes) -> int:
    """The type behind the addresses: TYPE_VLAN where there is a tag."""
    return int(_U16.unpack_from(frame, 12)[0])


def vlan_of(frame: bytes) -> int | None:
    """The VLAN of the tag; None where there is none. 0 is a tag that has only a priority."""
    if len(frame) < HEADER_SIZE + TAG_SIZE or ether_type(frame) != TYPE_VLAN:
        return None
    return int(_U16.unpack_from(frame, 14)[0]) & 0xFFF


def tag(frame: bytes, control: int) -> bytes:
    """The frame with a tag of this control information: priority, and VLAN in the low 12 bits."""
    return frame[:12] + struct.pack(">HH", TYPE_VLAN, control) + frame[12:]


def untag(frame: bytes) -> bytes:
    """The frame without its tag."""
    return frame[:12] + frame[16:]


def pad(frame: bytes) -> bytes:
    """The frame, long enough for a wire."""
    return frame.ljust(MIN_SIZE, b"\0")


def ones_sum(data: bytes) -> int:
    """The ones' complement sum of 16-bit words; an odd byte is the high half of the last."""
    return sum_between(data, 0, len(data))


def checksum(data: bytes, start: int = 0, end: int | None = None) -> int:
    """What goes into a checksum field for `data[start:end]`; 0 where that holds the right one."""
    if end is None:
        end = len(data)
    elif not 0 <= start <= end <= len(data):
        raise ValueError(f"bytes {start} to {end} of {len(data)}")
    return ~sum_between(data, start, end) & 0xFFFF


def ipv4(source: bytes, target: bytes, protocol: int, payload: bytes) -> bytes:
    """A datagram with a header of its own. RFC 791 §3.1."""
    return ipv4_header(source, target, protocol, 20 + len(payload)) + payload


@lru_cache(maxsize=256)  # those who talk send many of a size
def ipv4_header(source: bytes, target: bytes, protocol: int, size_bytes: int) -> bytes:
    """The header of a datagram of `size_bytes`, header and all."""
    head = [0x45, 0, size_bytes, 0, 0, 64, protocol, 0, source, target]
    head[7] = checksum(_IPV4.pack(*head))
    return _IPV4.pack(*head)


def udp(source: bytes, target: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    """An IPv4 datagram with UDP in it; `ports` are the sender's and the receiver's. RFC 768."""
    head = struct.pack(">HHHH", *ports, 8 + len(payload), 0)
    pseudo = source + target + struct.pack(">BBH", 0, PROTOCOL_UDP, 8 + len(payload))
    value = checksum(pseudo + head + payload) or 0xFFFF
    return ipv4(source, target, PROTOCOL_UDP, head[:6] + _U16.pack(value) + payload)


def flow(frame: bytes) -> bytes:
    """What the frames of one conversation have in common, in both directions.

    Addresses and, for unfragmented TCP and UDP over IPv4, ports.
    """
    ends = [frame[0:6], frame[6:12]]
    if len(frame) >= HEADER_SIZE + 20 and ether_type(frame) == TYPE_IPV4:
        ends = [frame[26:30], frame[30:34]]
        start = HEADER_SIZE + 4 * (frame[14] & 0xF)
        whole = not _U16.unpack_from(frame, 20)[0] & 0x3FFF
        if whole and frame[23] in (PROTOCOL_TCP, PROTOCOL_UDP) and len(frame) >= start + 4:
            ends = [ends[0] + frame[start : start + 2], ends[1] + frame[start + 2 : start + 4]]
    return b"".join(sorted(ends))
