"""Which frames a network device lets through, as its driver set it. VIRTIO 1.2 §5.1.6.5."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from pykvm.net import frames

ADDRESSES_MAX = 64  # for either table; a driver with more gets everything of that kind

CLASS_RX, CLASS_MAC, CLASS_VLAN = 0, 1, 2
RX_MODES: Mapping[int, str] = {  # §5.1.6.5.1
    0: "promiscuous", 1: "all_multicast", 2: "all_unicast",
    3: "no_multicast", 4: "no_unicast", 5: "no_broadcast",
}  # fmt: skip
RX_EXTRA = 2  # the first command of VIRTIO_NET_F_CTRL_RX_EXTRA
MAC_TABLE_SET, MAC_ADDR_SET = 0, 1
VLAN_ADD, VLAN_DEL = 0, 1


class Filter:
    """Modes, addresses and VLANs.

    Attributes:
        mac: the station's own address.
        promiscuous, all_multicast, …: the modes of RX_MODES.
        unicast, multicast: further addresses.
        vlans: those let through, None for all; frames without a tag always are.
    """

    def __init__(self, mac: bytes) -> None:
        self.mac = mac
        self.reset()

    def reset(self) -> None:
        """Let everything through until the driver says what it wants."""
        self.modes = dict.fromkeys(RX_MODES.values(), False)
        self.modes["promiscuous"] = True
        self.unicast: frozenset[bytes] = frozenset()
        self.multicast: frozenset[bytes] = frozenset()
        self.vlans: set[int] | None = None

    @property
    def is_open(self) -> bool:
        """Whether everything is let through."""
        return self.vlans is None and self.modes["promiscuous"]

    def lets_through(self, frame: bytes) -> bool:
        """Whether the driver wants this frame."""
        vlan = frames.vlan_of(frame) if self.vlans is not None else None
        if vlan and self.vlans is not None and vlan not in self.vlans:
            return False
        if self.modes["promiscuous"]:
            return True
        target = frame[:6]
        if target == frames.BROADCAST:
            return not self.modes["no_broadcast"]
        if frames.is_group(target):
            wanted = self.modes["all_multicast"] or target in self.multicast
            return wanted and not self.modes["no_multicast"]
        if self.modes["no_unicast"]:
            return False
        return target == self.mac or self.modes["all_unicast"] or target in self.unicast

    # Commands; False where one cannot be.

    def set_mode(self, command: int, data: bytes) -> bool:
        """Switch a mode on or off. §5.1.6.5.1."""
        if command not in RX_MODES or len(data) != 1 or data[0] > 1:
            return False
        self.modes[RX_MODES[command]] = bool(data[0])
        return True

    def set_addresses(self, data: bytes) -> bool:
        """Both tables: a count and that many addresses, for unicast and multicast. §5.1.6.5.2."""
        unicast, rest = _table(data)
        multicast, rest = _table(rest) if unicast is not None else (None, b"")
        if unicast is None or multicast is None or rest:
            return False
        self.modes["all_unicast"] |= len(unicast) > ADDRESSES_MAX
        self.modes["all_multicast"] |= len(multicast) > ADDRESSES_MAX
        self.unicast = frozenset(unicast[:ADDRESSES_MAX])
        self.multicast = frozenset(multicast[:ADDRESSES_MAX])
        return True

    def set_mac(self, data: bytes) -> bool:
        """The station's own address, at once and whole. §5.1.6.5.2."""
        if len(data) != 6 or frames.is_group(data):
            return False
        self.mac = data
        return True

    def set_vlan(self, command: int, data: bytes) -> bool:
        """Let a VLAN through, or no longer. §5.1.6.5.3."""
        if len(data) != 2 or command not in (VLAN_ADD, VLAN_DEL) or self.vlans is None:
            return False
        (vlan,) = struct.unpack("<H", data)
        if vlan > frames.VLAN_MAX:
            return False
        (self.vlans.add if command == VLAN_ADD else self.vlans.discard)(vlan)
        return True


def _table(data: bytes) -> tuple[list[bytes] | None, bytes]:
    """One table and what follows it; None where it is cut off."""
    if len(data) < 4:
        return None, b""
    (count,) = struct.unpack_from("<I", data)
    end = 4 + 6 * count
    if end > len(data):
        return None, b""
    return [data[start : start + 6] for start in range(4, end, 6)], data[end:]
