"""The network device. VIRTIO 1.2 §5.1.

Frames go out on the thread of the driver's notification. Those that come wait in an inbox until
the device, under its machine's lock, puts them into the driver's buffers.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from pykvm.net import frames
from pykvm.net.port import Inbox, Port
from pykvm.virtio import netfilter, offload, spec
from pykvm.virtio.device import Device, whole
from pykvm.virtio.queue import BURST, Chain, Queue

MAC = "52:54:00:00:00:01"
QUEUE_SIZE = 256
PAIRS_MAX = 16
MTU_MIN, MTU_MAX = 68, 65535  # §5.1.4.1: at least 68
FLOWS_MAX = 1024
CONTROL_BYTES_MAX = 1 << 14
SEGMENTS_AT_ONCE = 256  # of one packet, before they are sent

# Feature bits. §5.1.3.
F_CSUM, F_GUEST_CSUM, F_MTU, F_MAC = 1 << 0, 1 << 1, 1 << 3, 1 << 5
F_HOST_TSO4, F_HOST_TSO6, F_HOST_ECN = 1 << 11, 1 << 12, 1 << 13
F_MRG_RXBUF, F_STATUS, F_CTRL_VQ = 1 << 15, 1 << 16, 1 << 17
F_CTRL_RX, F_CTRL_VLAN, F_CTRL_RX_EXTRA = 1 << 18, 1 << 19, 1 << 20
F_MQ, F_CTRL_MAC_ADDR = 1 << 22, 1 << 23

_NEEDS = (  # §5.1.3.1
    (F_HOST_TSO4, F_CSUM), (F_HOST_TSO6, F_CSUM), (F_HOST_ECN, F_HOST_TSO4 | F_HOST_TSO6),
    (F_CTRL_RX, F_CTRL_VQ), (F_CTRL_VLAN, F_CTRL_VQ), (F_CTRL_RX_EXTRA, F_CTRL_VQ),
    (F_MQ, F_CTRL_VQ), (F_CTRL_MAC_ADDR, F_CTRL_VQ),
)  # fmt: skip
_GSO_FEATURES = {offload.GSO_TCPV4: F_HOST_TSO4, offload.GSO_TCPV6: F_HOST_TSO6}

S_LINK_UP = 1  # §5.1.4
_CONFIG = struct.Struct("<6sHHH")  # mac, status, max_virtqueue_pairs, mtu
_MQ_PAIRS_SET = (4, 0)  # class and command, §5.1.6.5.6
_OK, _ERR = b"\0", b"\1"  # §5.1.6.5

_HEADER_SIZE = offload.HEADER.size
_PACKET_SIZES = range(_HEADER_SIZE + frames.HEADER_SIZE, _HEADER_SIZE + frames.MAX_SIZE + 1)
_PLAIN = bytes((0, offload.GSO_NONE))  # how the header of a packet begins that asks for nothing
_with_plain_header = offload.HEADER.pack(0, offload.GSO_NONE, 0, 0, 0, 0, 1).__add__


@dataclass
class Statistics:
    """What passed a device.

    Attributes:
        filtered: frames that the driver did not want.
        rx_dropped: those that found no buffer, or too small ones, or no driver.
        tx_errors: packets that were none, or whose header did not fit them.
    """

    rx_frames: int = 0
    rx_bytes: int = 0
    tx_frames: int = 0
    tx_bytes: int = 0
    filtered: int = 0
    rx_dropped: int = 0
    tx_errors: int = 0


class Net(Device):
    """A network card.

    Args:
        mac: the station's address.
        pairs: how many pairs of queues there are.
        mtu: the largest packet that the driver should send; None: it is not told.

    Attributes:
        port: where its cable goes.
        active_pairs: how many pairs the driver uses.

    Raises:
        UsageError: no address, or `pairs` or `mtu` out of range.
    """

    device_id = spec.ID_NET
    asynchronous = True

    def __init__(self, mac: str = MAC, *, pairs: int = 1, mtu: int | None = None) -> None:
        self.pairs = self.active_pairs = whole(pairs, 1, PAIRS_MAX, "the number of queue pairs")
        self.mtu = None if mtu is None else whole(mtu, MTU_MIN, MTU_MAX, "an MTU")
        self.queue_sizes = (QUEUE_SIZE,) * (2 * pairs + 1)
        self.own_features = (
            F_CSUM | F_GUEST_CSUM | F_MAC | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN | F_MRG_RXBUF
            | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN | F_CTRL_RX_EXTRA | F_CTRL_MAC_ADDR
            | (F_MQ if pairs > 1 else 0) | (F_MTU if mtu is not None else 0)
        )  # fmt: skip
        super().__init__()
        self._own_mac = frames.parse_mac(mac)
        self.filter = netfilter.Filter(self._own_mac)
        self.inbox = Inbox(lambda: self.post(self._take_in))
        self.port = Port(self.inbox.put, "virtio-net")
        self._link_up = True
        self._counts = Statistics()
        self.was_reset()

    def was_reset(self) -> None:
        """Nothing of the driver's is left."""
        self.active_pairs = 1
        self.filter.reset()
        self.filter.mac = self._own_mac
        self._flows: dict[bytes, int] = {}
        self._segments: dict[int, Iterator[bytes]] = {}  # by queue: of its next packet
        self._held: list[deque[Chain]] = [deque() for _ in range(self.pairs)]
        self.inbox.clear()

    def queue_was_reset(self, index: int) -> None:
        """Forget the buffers that are out of a receive queue, and what is left of a packet."""
        self._segments.pop(index, None)
        if index % 2 == 0 and index // 2 < self.pairs:
            self._held[index // 2].clear()

    def config(self) -> bytes:
        """§5.1.4; the address is what the control queue last set."""
        return _CONFIG.pack(
            self.filter.mac, S_LINK_UP if self._link_up else 0, self.pairs, self.mtu or 0
        )

    def _accepts(self) -> bool:
        chosen = self.features
        needs = all(chosen & need for feature, need in _NEEDS if chosen & feature)
        return super()._accepts() and needs

    def activated(self) -> None:
        """§5.1.6.5: filters that the driver can set begin with nothing extra let through."""
        self.filter.modes["promiscuous"] = not self.features & F_CTRL_RX
        self.filter.vlans = set() if self.features & F_CTRL_VLAN else None

    # For the user.

    def statistics(self) -> Statistics:
        """What passed until now."""
        return replace(self._counts, rx_dropped=self._counts.rx_dropped + self.inbox.lost)

    def set_link(self, up: bool) -> None:
        """Pull the cable's plug, or put it in; call it by `Machine.post` while a guest runs."""
        self.check_open()
        if up != self._link_up:
            self._link_up = up
            if self.live:
                self.interrupt(False)

    # Queues.

    @property
    def _control_index(self) -> int:
        """§5.1.2: behind the pairs that the driver knows of."""
        return 2 * self.pairs if self.features & F_MQ else 2

    def notified(self, index: int) -> None:
        """Do what the queue is for, then take in what has come meanwhile."""
        control_index = self._control_index
        if index == control_index:
            self._control(self.queues[index])
        elif index % 2 and index < control_index:
            self.inbox.attend()
            self._transmit(index)
            self._take_in()
        elif index % 2 == 0:
            self.inbox.attend()
            self._take_in()

    # Sending. §5.1.6.2.

    def _transmit(self, index: int) -> None:
        queue, is_plain, is_drained = self.queues[index], self.active_pairs == 1, False
        while is_plain and not is_drained and (walk := queue.direct()):
            packets, buffers, is_drained = walk.read_packets(BURST, _PACKET_SIZES, _HEADER_SIZE)
            if not packets:
                break
            self.turn.items_left -= buffers
            self._send(packets)
        if not is_drained:
            self._transmit_chains(index)
        self.signal(queue)

    def _transmit_chains(self, index: int) -> None:
        """What is more than plain packets, and whatever is behind it."""
        queue, counts = self.queues[index], self._counts
        is_plain = self.active_pairs == 1
        for chains in queue.bursts():
            made: list[bytes] = []
            is_cut = index in self._segments  # the first of them, a turn ago
            for place, chain in enumerate(chains):
                if chain.readable_bytes not in _PACKET_SIZES:
                    counts.tx_errors += 1
                    continue
                if not is_cut:
                    data = chain.read()
                    if is_plain and data.startswith(_PLAIN):
                        made.append(data[_HEADER_SIZE:])
                        continue
                    self._segments[index] = self._prepared(data, index // 2)
                is_cut = False
                if not self._segment(index, made):
                    queue.put_back(chains[place:])
                    chains = chains[:place]
                    break
            queue.push_together([(chain, 0) for chain in chains])
            if made:
                self._send(made)

    def _send(self, made: list[bytes]) -> None:
        """Let frames out of the cable's end."""
        counts, size_bytes = self._counts, sum(map(len, made))
        self.turn.spend(size_bytes, len(made))
        if self._link_up:
            counts.tx_frames += len(made)
            counts.tx_bytes += size_bytes
            self.port.send(*made)

    def _segment(self, index: int, made: list[bytes]) -> bool:
        """Make the frames of a packet; False where that is more than one turn's."""
        for frame in self._segments[index]:
            made.append(frame)
            if len(made) >= SEGMENTS_AT_ONCE:
                return False
        del self._segments[index]
        return True

    def _prepared(self, data: bytes, pair: int) -> Iterator[bytes]:
        """The frames for a packet with its header; none where they do not fit each other."""
        request = offload.Request.read(data[:_HEADER_SIZE])
        try:
            self._check(request)
            for number, frame in enumerate(offload.packets(request, data[_HEADER_SIZE:])):
                if number == 0 and self.active_pairs > 1:
                    self._remember(frame, pair)
                yield frame
        except offload.OffloadError:
            self._counts.tx_errors += 1

    def _check(self, request: offload.Request) -> None:
        """Nothing that was not negotiated. §5.1.6.2.1."""
        needs = F_CSUM if request.flags & offload.HDR_F_NEEDS_CSUM else 0
        if request.gso_type != offload.GSO_NONE:
            kind = request.gso_type & ~offload.GSO_ECN
            if kind not in _GSO_FEATURES:
                raise offload.OffloadError(f"segmentation of type {kind}")
            needs |= _GSO_FEATURES[kind]
            needs |= F_HOST_ECN if request.gso_type & offload.GSO_ECN else 0
        if needs & ~self.features:
            raise offload.OffloadError("an offload that was not negotiated")

    def _remember(self, frame: bytes, pair: int) -> None:
        """§5.1.6.5.6: what belongs to a conversation comes where the driver last sent it."""
        if len(self._flows) >= FLOWS_MAX:
            self._flows.clear()
        self._flows[frames.flow(frame)] = pair

    # Receiving. §5.1.6.3, §5.1.6.4.

    def _take_in(self) -> None:
        """Put what waits into the driver's buffers, as far as there are any."""
        touched: set[int] = set()
        while not self.turn.is_over:
            waiting = self.inbox.take(BURST)
            if not waiting or not self._put_in(self._wanted(waiting), touched):
                break
            self.turn.spend(sum(map(len, waiting)), len(waiting))
            if len(waiting) < BURST:
                break
        else:
            self._ask_again(0)
        for pair in touched:
            self.signal(self.queues[2 * pair])

    def _wanted(self, waiting: list[bytes]) -> list[bytes]:
        """Those that the driver wants."""
        counts, size_max = self._counts, frames.MAX_SIZE
        if self.features & F_MTU and self.mtu is not None:  # §5.1.4.1
            size_max = self.mtu + frames.HEADER_SIZE + frames.TAG_SIZE
        fit, sizes = waiting, [*map(len, waiting)]
        if not (self.live and self._link_up):
            fit = []
        elif min(sizes) < frames.HEADER_SIZE or max(sizes) > size_max:
            fit = [each for each in waiting if frames.HEADER_SIZE <= len(each) <= size_max]
        counts.rx_dropped += len(waiting) - len(fit)
        if self.filter.is_open:
            return fit
        wanted = [frame for frame in fit if self.filter.lets_through(frame)]
        counts.filtered += len(fit) - len(wanted)
        return wanted

    def _pair_for(self, frame: bytes) -> int:
        pair = self._flows.get(frames.flow(frame), 0)
        return pair if pair < self.active_pairs else 0

    def _put_in(self, wanted: list[bytes], touched: set[int]) -> bool:
        """False where there is no room for all of them; the rest waits on."""
        if not wanted:  # as before there is a driver, or a machine
            return True
        done = 0
        pairs = groupby(wanted, self._pair_for) if self.active_pairs > 1 else ((0, wanted),)
        for pair, together in pairs:
            run = list(together)
            count = self._pass(run, pair)
            if count < len(run):
                count += self._deliver(run[count:], pair)
            done += count
            touched.add(pair)
            if count < len(run):
                self.inbox.put_back(wanted[done:])
                return False
        return True

    def _pass(self, run: list[bytes], pair: int) -> int:
        """How many of them, from the first on, found a buffer each that nobody need look at."""
        counts = self._counts
        if self._held[pair] or not (walk := self.queues[2 * pair].direct()):
            return 0
        is_plain = not self.features & F_GUEST_CSUM
        count, buffers = walk.write_packets(
            [*map(_with_plain_header if is_plain else self._packet, run)]
        )
        self.turn.items_left -= buffers
        counts.rx_frames += count
        counts.rx_bytes += sum(map(len, run[:count]))
        return count

    def _deliver(self, run: list[bytes], pair: int) -> int:
        """For how many of them there was room."""
        queue, held, counts = self.queues[2 * pair], self._held[pair], self._counts
        done = 0
        given: list[tuple[Chain, int]] = []
        for frame in run:
            size_bytes = _HEADER_SIZE + len(frame)
            if held and held[0].writable_bytes >= size_bytes:
                buffers = 1
            elif (buffers := self._room(queue, held, size_bytes, len(run) - done)) == 0:
                break
            done += 1
            if buffers > 1:
                chains = [held.popleft() for _ in range(buffers)]
                given += _spread(self._packet(frame, buffers), chains)
            elif (chain := held.popleft()).writable_bytes < size_bytes:
                given.append((chain, 0))
                counts.rx_dropped += 1
                continue
            else:
                given.append((chain, chain.write(self._packet(frame))))
            counts.rx_frames += 1
            counts.rx_bytes += len(frame)
        queue.push_together(given)
        return done

    def _packet(self, frame: bytes, buffers: int = 1) -> bytes:
        """A frame with its header, as the driver gets it in so many buffers. §5.1.6.4."""
        is_checked = self.features & F_GUEST_CSUM and offload.is_checked(frame)
        flags = offload.HDR_F_DATA_VALID if is_checked else 0
        return offload.HEADER.pack(flags, offload.GSO_NONE, 0, 0, 0, 0, buffers) + frame

    def _room(self, queue: Queue, held: deque[Chain], size_bytes: int, more: int) -> int:
        """How many of the buffers one frame takes, of those held; 0 where there are too few.

        Several only where they can be merged. §5.1.6.3.1. `more` are taken where none is left.
        """
        room = 0
        for number in range(queue.size):
            if number == len(held):
                held += queue.take(more)
                if number == len(held):
                    return 0
            room += held[number].writable_bytes
            if room >= size_bytes or not self.features & F_MRG_RXBUF:
                return number + 1
        return 0

    # The control queue. §5.1.6.5.

    def _control(self, queue: Queue) -> None:
        for chain in queue:
            self.turn.spend(chain.readable_bytes)
            answer = _OK if self._command(chain) else _ERR
            queue.push(chain, chain.write(answer))
        self.signal(queue)

    def _command(self, chain: Chain) -> bool:
        if not 2 <= chain.readable_bytes <= CONTROL_BYTES_MAX or not self.features & F_CTRL_VQ:
            return False
        kind, command, *_ = head = chain.read()
        data = bytes(head[2:])
        match kind:
            case netfilter.CLASS_RX:
                extra = command >= netfilter.RX_EXTRA
                feature = F_CTRL_RX_EXTRA if extra else F_CTRL_RX
                return bool(self.features & feature) and self.filter.set_mode(command, data)
            case netfilter.CLASS_MAC if command == netfilter.MAC_TABLE_SET:
                return bool(self.features & F_CTRL_RX) and self.filter.set_addresses(data)
            case netfilter.CLASS_MAC if command == netfilter.MAC_ADDR_SET:
                return bool(self.features & F_CTRL_MAC_ADDR) and self.filter.set_mac(data)
            case netfilter.CLASS_VLAN:
                return self.filter.set_vlan(command, data)
            case _ if (kind, command) == _MQ_PAIRS_SET:
                return bool(self.features & F_MQ) and self._set_pairs(data)
        return False

    def _set_pairs(self, data: bytes) -> bool:
        if len(data) != 2 or not 1 <= int.from_bytes(data, "little") <= self.pairs:
            return False
        self.active_pairs = int.from_bytes(data, "little")
        return True


def _spread(packet: bytes, chains: list[Chain]) -> list[tuple[Chain, int]]:
    """Write one packet into several buffers. §5.1.6.4."""
    given, position = [], 0
    for chain in chains:
        written = chain.write(packet[position : position + chain.writable_bytes])
        given.append((chain, written))
        position += written
    return given
