"""Checksums and segments of the network device, computed a second time by scapy."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.net import frames
from pykvm.virtio import offload

pytest.importorskip("scapy", reason="scapy is not installed (the extra `test`)")
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80
NETWORKS = {4: (IP, offload.GSO_TCPV4), 6: (IPv6, offload.GSO_TCPV6)}
TRANSPORTS = {"tcp": (TCP, 16), "udp": (UDP, 6)}
OPTIONS = st.sampled_from([[], [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]])
VERSIONS = st.sampled_from(sorted(NETWORKS))
BYTES = st.binary(max_size=64)
U32 = st.integers(0, 2**32 - 1)


def lower(version: int, vlan: int | None, addresses: tuple[int, int], ident: int = 0) -> Any:
    """Ethernet and IP."""
    link = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
    if vlan is not None:
        link = link / Dot1Q(vlan=vlan)
    if version == 4:
        source, target = (f"10.{each >> 16 & 255}.{each >> 8 & 255}.1" for each in addresses)
        return link / IP(src=source, dst=target, id=ident)
    source, target = (f"fd00::{each >> 16:x}:{each & 0xFFFF:x}" for each in addresses)
    return link / IPv6(src=source, dst=target)


def start_of(packet: Any, layer: Any) -> int:
    """Where a layer begins in its packet."""
    return len(packet) - len(packet[layer])


def rebuilt(frame: bytes) -> bytes:
    """The frame with every length and checksum as scapy has them."""
    packet = Ether(frame)
    for layer, fields in ((IP, ("len", "chksum")), (IPv6, ("plen",)), (TCP, ("chksum",)),
                          (UDP, ("len", "chksum"))):  # fmt: skip
        if layer in packet:
            for field in fields:
                packet[layer].delfieldval(field)
    return bytes(packet)


@given(
    version=VERSIONS, vlan=st.none() | st.integers(1, 4094), addresses=st.tuples(U32, U32),
    ident=st.integers(0, 0xFFFF), sequence=U32, flags=st.integers(0, 0xFF), options=OPTIONS,
    payload=st.builds(lambda data, times: data * times, st.binary(min_size=1, max_size=64),
                      st.integers(0, 1000)),
    size=st.integers(1, 9000), rubbish=st.integers(0, 0xFFFF),
)  # fmt: skip
def test_segments_are_those_that_scapy_makes(
    version: int, vlan: int | None, addresses: tuple[int, int], ident: int, sequence: int,
    flags: int, options: list[Any], payload: bytes, size: int, rubbish: int,
) -> None:  # fmt: skip
    _, kind = NETWORKS[version]
    payload, size = payload[:64000], max(size, len(payload) // 100)
    tcp = TCP(sport=1000, dport=2000, seq=sequence, flags=flags, options=options, chksum=rubbish)
    packet = lower(version, vlan, addresses, ident) / tcp / payload
    packet = Ether(bytes(packet))
    start = start_of(packet, TCP)
    head = len(packet) - len(payload)
    request = offload.Request(offload.HDR_F_NEEDS_CSUM, kind, head, size, start, 16)
    made = list(offload.packets(request, bytes(packet)))

    assert b"".join(each[head:] for each in made) == payload
    assert len(made) == max(1, -(-len(payload) // size))
    for number, each in enumerate(made):
        assert each == rebuilt(each)
        found = Ether(each)
        assert found[TCP].seq == (sequence + number * size) % 2**32
        wanted = flags if number == len(made) - 1 else flags & ~(FIN | PSH)
        assert int(found[TCP].flags) == (wanted if number == 0 else wanted & ~CWR)
        assert found[TCP].options == packet[TCP].options
        if version == 4:
            assert found[IP].id == (ident + number) % 2**16


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(version=VERSIONS, vlan=st.none() | st.just(5), addresses=st.tuples(U32, U32), data=BYTES)
def test_a_checksum_is_the_one_that_scapy_makes(
    transport: str, version: int, vlan: int | None, addresses: tuple[int, int], data: bytes
) -> None:
    layer, offset = TRANSPORTS[transport]
    right = bytes(lower(version, vlan, addresses) / layer(sport=1000, dport=2000) / data)
    start = start_of(Ether(right), layer)
    packet, place = bytearray(right), start + offset
    struct.pack_into(">H", packet, place, pseudo_sum(right, version, start))
    request = offload.Request(offload.HDR_F_NEEDS_CSUM, offload.GSO_NONE, 0, 0, start, offset)
    (made,) = offload.packets(request, bytes(packet))
    assert made[:place] + made[place + 2 :] == right[:place] + right[place + 2 :]
    ours, theirs = (struct.unpack_from(">H", each, place)[0] for each in (made, right))
    assert ours % 0xFFFF == theirs % 0xFFFF  # both zeros are right for TCP
    assert ours or transport == "tcp"  # but none is a checksum for UDP


def pseudo_sum(packet: bytes, version: int, start: int) -> int:
    """What the driver leaves in the field. §5.1.6.2."""
    addresses = packet[start - 8 : start] if version == 4 else packet[start - 32 : start]
    protocol = packet[start - 11] if version == 4 else packet[start - 34]
    total = sum(struct.unpack(f">{len(addresses) // 2}H", addresses))
    total += protocol + len(packet) - start
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_udp_never_sends_a_checksum_of_zero() -> None:
    """RFC 768: it would mean that there is none."""
    addresses = (1 << 8, 2 << 8)
    plain = bytes(lower(6, None, addresses) / UDP(sport=1, dport=2) / bytes(2))
    (value,) = struct.unpack_from(">H", plain, 60)
    right = bytes(lower(6, None, addresses) / UDP(sport=1, dport=2) / struct.pack(">H", value))
    packet = bytearray(right)
    struct.pack_into(">H", packet, 60, pseudo_sum(right, 6, 54))
    request = offload.Request(offload.HDR_F_NEEDS_CSUM, offload.GSO_NONE, 0, 0, 54, 6)
    (made,) = offload.packets(request, bytes(packet))
    assert made[60:62] == right[60:62] == b"\xff\xff"


# What comes in: GUEST_CSUM.


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(addresses=st.tuples(U32, U32), data=BYTES, choice=st.integers(0), padded=st.booleans())
def test_one_wrong_bit_is_noticed(
    transport: str, addresses: tuple[int, int], data: bytes, choice: int, padded: bool
) -> None:
    layer, _ = TRANSPORTS[transport]
    frame = bytes(lower(4, None, addresses) / layer(sport=1000, dport=2000) / data)
    right = frames.pad(frame) if padded else frame
    assert offload.is_checked(right)
    bits = range(26 * 8, len(frame) * 8)  # addresses, and all behind them
    bit = bits[choice % len(bits)]
    wrong = bytearray(right)
    wrong[bit // 8] ^= 1 << bit % 8
    assert not offload.is_checked(bytes(wrong))


def test_what_is_not_looked_at_is_not_called_right() -> None:
    fragment = lower(4, None, (1, 2))
    fragment[IP].flags = "MF"
    for packet in (
        lower(4, None, (1, 2)) / UDP(chksum=0) / b"without",
        fragment / UDP() / b"hello",
        lower(6, None, (1, 2)) / UDP() / b"hello",
        lower(4, 7, (1, 2)) / TCP() / b"hello",
    ):
        assert not offload.is_checked(bytes(packet))
