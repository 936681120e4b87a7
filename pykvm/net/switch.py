"""A learning switch with VLANs. Source: IEEE 802.1D §7.7 to §7.9, IEEE 802.1Q §8."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf

from pykvm.errors import UsageError
from pykvm.net import frames
from pykvm.net.port import Port

AGE_S = 300.0  # IEEE 802.1D §7.9.2: the recommended ageing time
ADDRESSES_MAX = 4096
ENTRIES_MAX = 2  # of a frame, one inside the other: it may come back once, from a Loopback say
BURST_MIN_BYTES = 1522  # the longest frame of a usual wire
_RESERVED = bytes.fromhex("0180c20000")  # IEEE 802.1D table 7-10: these are never forwarded
_RESERVED_MAX = 0x0F


@dataclass(frozen=True)
class Limit:
    """A bandwidth: what is beyond it is dropped.

    Attributes:
        bits_per_s: on the average.
        burst_bytes: how much may come at once.
    """

    bits_per_s: float
    burst_bytes: int = 1 << 16

    def __post_init__(self) -> None:
        if not 0 < self.bits_per_s < inf or not BURST_MIN_BYTES <= self.burst_bytes < inf:
            raise UsageError(
                f"a limit is more than 0 bits/s with bursts of {BURST_MIN_BYTES} bytes at least, "
                "both finite"
            )


@dataclass(frozen=True)
class PortStatistics:
    """What passed a switch's port; in and out as the switch sees them."""

    frames_in: int
    bytes_in: int
    frames_out: int
    bytes_out: int
    dropped_in: int
    dropped_out: int


class _Bucket:
    """Tokens of a byte each."""

    def __init__(self, limit: Limit, now_s: float) -> None:
        self._limit = limit
        self._tokens = float(limit.burst_bytes)
        self._filled_s = now_s

    def takes(self, size_bytes: int, now_s: float) -> bool:
        gained = (now_s - self._filled_s) * self._limit.bits_per_s / 8
        self._tokens = min(self._tokens + gained, self._limit.burst_bytes)
        self._filled_s = now_s
        if size_bytes > self._tokens:
            return False
        self._tokens -= size_bytes
        return True


class _Socket:
    """A port of the switch, with what is set for it and what it counted."""

    def __init__(
        self,
        port: Port,
        vlan: int,
        trunk: frozenset[int],
        ingress: _Bucket | None,
        egress: _Bucket | None,
    ) -> None:
        self.port = port
        self.vlan = vlan
        self.trunk = trunk
        self.ingress, self.egress = ingress, egress
        self.frames = [0, 0]  # in, out
        self.bytes = [0, 0]
        self.dropped = [0, 0]

    def count(self, out: bool, size_bytes: int) -> None:
        self.frames[out] += 1
        self.bytes[out] += size_bytes

    def classify(self, frame: bytes) -> tuple[int, int, bytes] | None:
        """The frame's VLAN, its tag's priority bits, and itself untagged; None: not allowed."""
        vlan = frames.vlan_of(frame)
        if vlan is None:
            return self.vlan, 0, frame
        priority = int.from_bytes(frame[14:16], "big") & 0xF000
        if vlan == 0:
            return self.vlan, priority, frames.untag(frame)
        return (vlan, priority, frames.untag(frame)) if vlan in self.trunk else None

    def carries(self, vlan: int) -> bool:
        return vlan == self.vlan or vlan in self.trunk


class _Way(threading.local):
    """The frames that a thread is sending on, one inside the other."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []


class Switch:
    """Ports, and a table of which station is behind which.

    Args:
        age_s: how long a station is remembered after its last frame; may be infinite.
        clock: gives seconds; for ageing and limits.

    Raises:
        UsageError: `age_s` is no time.

    Attributes:
        addresses_max: how many stations are remembered; frames to others go to all ports.
    """

    addresses_max = ADDRESSES_MAX

    def __init__(
        self, *, age_s: float = AGE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not isinstance(age_s, int | float) or not age_s >= 0:
            raise UsageError(f"stations are remembered for 0 seconds or more, not {age_s}")
        self._age_s = age_s
        self._clock = clock
        self._lock = threading.Lock()  # never held while a frame is sent
        self._way = _Way()
        self._sockets: list[_Socket] = []
        self._table: dict[tuple[int, bytes], tuple[_Socket, float]] = {}

    def add_port(
        self,
        name: str = "",
        *,
        vlan: int = 1,
        trunk: Iterable[int] = (),
        ingress: Limit | None = None,
        egress: Limit | None = None,
    ) -> Port:
        """A new port, for a cable.

        Args:
            vlan: where untagged frames belong.
            trunk: VLANs whose frames have a tag here; other tags are dropped.
            ingress, egress: bandwidths into the switch and out of it.

        Raises:
            UsageError: no such VLAN.
        """
        try:
            tagged = frozenset(trunk) - {vlan}
        except TypeError:
            raise UsageError(f"a trunk is some VLANs, not {trunk!r}") from None
        for each in (vlan, *tagged):
            if not isinstance(each, int) or not 1 <= each <= frames.VLAN_MAX:
                raise UsageError(f"a VLAN is 1 to {frames.VLAN_MAX}, not {each!r}")
        port = Port(lambda *frames: self._receive(socket, *frames), name or f"{len(self._sockets)}")
        socket = _Socket(port, vlan, tagged, self._bucket(ingress), self._bucket(egress))
        with self._lock:
            self._sockets.append(socket)
        return port

    def _bucket(self, limit: Limit | None) -> _Bucket | None:
        return None if limit is None else _Bucket(limit, self._clock())

    def statistics(self, port: Port) -> PortStatistics:
        """What passed a port of this switch until now."""
        for socket in self._sockets:
            if socket.port is port:
                with self._lock:
                    pairs = zip(socket.frames, socket.bytes, strict=True)
                    (frames_in, bytes_in), (frames_out, bytes_out) = pairs
                    return PortStatistics(
                        frames_in, bytes_in, frames_out, bytes_out, *socket.dropped
                    )
        raise UsageError(f"port {port.name!r} is not of this switch")

    def stations(self) -> dict[tuple[int, str], str]:
        """Which station is known behind which port: (VLAN, address) to the port's name."""
        with self._lock:
            self._forget(self._clock())
            return {
                (vlan, frames.format_mac(mac)): socket.port.name
                for (vlan, mac), (socket, _) in self._table.items()
            }

    # The way of a frame.

    def _receive(self, source: _Socket, *frames: bytes) -> None:
        for frame in frames:
            with self._lock:
                ways = self._route(source, frame)
            self._way.frames.append(frame)
            try:
                for send in ways:
                    send()
            finally:
                self._way.frames.pop()

    def _route(self, source: _Socket, frame: bytes) -> list[Callable[[], None]]:
        """Where a frame goes, decided and counted; it is sent when the lock is free again."""
        now_s = self._clock()
        found = source.classify(frame) if self._fits(source, frame, now_s) else None
        if found is None:
            source.dropped[False] += 1
            return []
        source.count(False, len(frame))
        vlan, priority, bare = found
        self._learn(vlan, frame[6:12], source, now_s)
        if frame[:5] == _RESERVED and frame[5] <= _RESERVED_MAX:
            return []
        ways: list[Callable[[], None]] = []
        for target in self._targets(source, vlan, frame[:6], now_s):
            form = frames.tag(bare, priority | vlan) if vlan in target.trunk else bare
            if target.egress is not None and not target.egress.takes(len(form), now_s):
                target.dropped[True] += 1
                continue
            target.count(True, len(form))
            ways.append(partial(target.port.send, form))
        return ways

    def _fits(self, source: _Socket, frame: bytes, now_s: float) -> bool:
        if not frames.HEADER_SIZE <= len(frame) <= frames.MAX_SIZE or frames.is_group(frame[6:12]):
            return False
        if self._way.frames.count(frame) >= ENTRIES_MAX:
            return False
        return source.ingress is None or source.ingress.takes(len(frame), now_s)

    def _targets(self, source: _Socket, vlan: int, mac: bytes, now_s: float) -> Iterator[_Socket]:
        known = None if frames.is_group(mac) else self._table.get((vlan, mac))
        if known is not None and now_s - known[1] <= self._age_s:
            if known[0] is not source:
                yield known[0]
            return
        for socket in self._sockets:
            if socket is not source and socket.carries(vlan):
                yield socket

    def _learn(self, vlan: int, mac: bytes, socket: _Socket, now_s: float) -> None:
        key = (vlan, mac)
        if key not in self._table and len(self._table) >= self.addresses_max:
            self._forget(now_s)
            if len(self._table) >= self.addresses_max:
                return
        self._table[key] = (socket, now_s)

    def _forget(self, now_s: float) -> None:
        for key, (_, seen_s) in list(self._table.items()):
            if now_s - seen_s > self._age_s:
                del self._table[key]
