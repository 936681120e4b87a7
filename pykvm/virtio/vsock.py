"""The socket device: streams between programs of a guest and AF_UNIX sockets of the host. §5.10."""

from __future__ import annotations

import socket
from collections import deque
from functools import partial
from pathlib import Path

from pykvm.errors import UsageError
from pykvm.memory import GuestMemory
from pykvm.net.unix import Bound, settled
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain
from pykvm.virtio.device import Device
from pykvm.virtio.vsock_stream import (
    COUNT_MASK,
    HOST_CID,
    PACKET_BYTES,
    SHUT_RECEIVE,
    SHUT_SEND,
    TYPE_STREAM,
    Op,
    Packet,
    State,
    Stream,
)
from pykvm.worker import READ, WRITE

QUEUE_SIZE = 128
RX, TX = 0, 1  # §5.10.2
F_STREAM = 1  # §5.10.3
STREAMS_MAX = 256
REPLIES_MAX = 256  # that wait for the guest's buffers; then its own packets wait
FIRST_HOST_PORT = 1 << 30
DEFAULT_CID = 3
ACCEPT_AGAIN_S = 1.0
_SUFFIX_BYTES = len(f"_{COUNT_MASK}")


class Vsock(Device):
    """Sockets between a guest and its host.

    A guest's program that connects to port N of CID 2 reaches the socket `PATH_N` of the host. A
    host's program connects to PATH and writes "CONNECT N\\n"; when a guest's program listens at
    port N, it reads "OK M\\n" and has the stream.

    Args:
        path: where host programs connect to; made here, and removed with the device. None:
            nobody of the host is there.
        cid: the guest's number.

    Raises:
        UsageError: a number that is reserved, or a path that cannot be listened at.
    """

    device_id = spec.ID_VSOCK
    queue_sizes = (QUEUE_SIZE,) * 3
    own_features = F_STREAM
    asynchronous = True

    def __init__(self, path: Path | str | None = None, cid: int = DEFAULT_CID) -> None:
        super().__init__()
        if not isinstance(cid, int) or not HOST_CID < cid < COUNT_MASK:
            raise UsageError(f"a guest's CID is more than {HOST_CID}, and no {COUNT_MASK:#x}")
        self._bound = None if path is None else Bound(socket.SOCK_STREAM, path)
        self._base = None if path is None else settled(path, _SUFFIX_BYTES)
        self.path = None if path is None else Path(path)
        self.cid = cid
        self._streams: dict[tuple[int, int], Stream] = {}
        self._greeting: set[Stream] = set()
        self._replies: deque[Packet] = deque()
        self._spare: Chain | None = None  # a guest's buffer that was taken and not needed
        self._next_port = FIRST_HOST_PORT
        if self._bound is not None:
            self._bound.socket.listen()

    def attach(self, memory: GuestMemory) -> None:
        """Wait for programs of the host."""
        super().attach(memory)
        self._wait_for_programs()

    def _wait_for_programs(self) -> None:
        if self._bound is not None:
            listener = self._bound.socket
            self.watch(listener.fileno(), partial(self._accept, listener))

    def close(self) -> None:
        """End all streams, and take the path away."""
        self._drop_all()
        if self._bound is not None:
            self._bound.close()
            self._bound = None

    def config(self) -> bytes:
        """§5.10.4."""
        return self.cid.to_bytes(8, "little")

    def was_reset(self) -> None:
        """The guest has forgotten its sockets."""
        self._drop_all()
        self._replies.clear()
        self._spare = None

    def queue_was_reset(self, index: int) -> None:
        """A buffer that was taken is the guest's again."""
        if index == RX:
            self._spare = None

    def notified(self, index: int) -> None:
        """Buffers for the guest's side, or packets of it."""
        if index == TX:
            self._take_packets()
        if index in (RX, TX):
            self._pump()

    # Towards the guest.

    def _pump(self) -> None:
        """Fill the guest's buffers: replies first, then each stream in its turn."""
        queue = self.queues[RX]
        was_held_up = len(self._replies) >= REPLIES_MAX
        ready = deque(each for each in self._streams.values() if each.is_readable)
        while (ready or self._replies) and (chain := self._buffer()):
            if self._replies:
                queue.push(chain, chain.write(self._replies.popleft().pack()))
                continue
            stream = ready.popleft()
            if not self._send_data(stream, chain):
                self._spare = chain
            elif stream.is_readable:
                ready.append(stream)
        self.signal(queue)
        if was_held_up and len(self._replies) < REPLIES_MAX:
            self.queues[TX].put_off()  # go on with the guest's packets soon

    def _buffer(self) -> Chain | None:
        chain, self._spare = self._spare, None
        return chain or self.queues[RX].pop()

    def _send_data(self, stream: Stream, chain: Chain) -> bool:
        """Whether the buffer was used."""
        room_bytes = min(chain.writable_bytes - Packet.SIZE, PACKET_BYTES)
        if room_bytes <= 0:
            self.queues[RX].push(chain)  # too small for anything
            return True
        if not stream.credit_bytes:
            return False
        try:
            data = stream.receive(room_bytes)
        except OSError:
            self._abort(stream)
            return False
        self._watch(stream)
        if data is None:
            return False
        self.turn.spend(len(data))
        if data:
            packet = stream.packet(self.cid, Op.RW, size_bytes=len(data))
        else:
            packet = stream.packet(self.cid, Op.SHUTDOWN, flags=SHUT_SEND)
        self.queues[RX].push(chain, chain.write(packet.pack() + data))
        return True

    def _reply(self, packet: Packet) -> None:
        self._replies.append(packet)

    def _refuse(self, packet: Packet) -> None:
        """RST in answer to a packet that fits nothing; never to an RST."""
        if packet.op != Op.RST:
            self._reply(
                Packet(packet.dst_cid, packet.src_cid, packet.dst_port, packet.src_port, op=Op.RST)
            )

    # From the guest.

    def _take_packets(self) -> None:
        queue = self.queues[TX]
        if len(self._replies) >= REPLIES_MAX:
            return  # §5.10.6.1: resources are bounded
        for chain in queue:
            if chain.readable_bytes >= Packet.SIZE:
                self._take(Packet.unpack(chain.read(0, Packet.SIZE)), chain)
            queue.push(chain)
            if len(self._replies) >= REPLIES_MAX:
                break
        self.signal(queue)

    def _take(self, packet: Packet, chain: Chain) -> None:
        if packet.src_cid != self.cid:
            return
        stream = self._streams.get((packet.src_port, packet.dst_port))
        if packet.type != TYPE_STREAM or packet.dst_cid != HOST_CID:
            self._refuse(packet)
        elif stream is None:
            if packet.op == Op.REQUEST:
                self._connect(packet)
            else:
                self._refuse(packet)
        else:
            stream.note_credit(packet)
            self._serve(stream, packet, chain)

    def _serve(self, stream: Stream, packet: Packet, chain: Chain) -> None:
        is_open = stream.state is State.OPEN
        match packet.op:
            case Op.RST:
                self._drop(stream)
            case Op.RESPONSE if not is_open:
                self._opened(stream)
            case Op.RW if is_open and self._store(stream, packet, chain):
                self._flush(stream)
            case Op.SHUTDOWN if is_open:
                stream.guest_shut |= packet.flags & (SHUT_RECEIVE | SHUT_SEND)
                self._flush(stream)
            case Op.CREDIT_REQUEST if is_open:
                self._reply(stream.packet(self.cid, Op.CREDIT_UPDATE))
            case Op.CREDIT_UPDATE if is_open:
                pass
            case _:
                self._abort(stream)

    def _store(self, stream: Stream, packet: Packet, chain: Chain) -> bool:
        """Data of a packet; False where it is more than it says, or than was allowed."""
        if packet.len > PACKET_BYTES or packet.len > chain.readable_bytes - Packet.SIZE:
            return False
        self.turn.spend(packet.len)
        return not stream.guest_shut & SHUT_SEND and stream.put(chain.read(Packet.SIZE, packet.len))

    def _connect(self, packet: Packet) -> None:
        """§5.10.6.5: a guest's program wants to reach the host's socket `PATH_PORT`."""
        if self._base is None or len(self._streams) >= STREAMS_MAX:
            self._refuse(packet)
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(f"{self._base}_{packet.dst_port}")
        except OSError:
            sock.close()
            self._refuse(packet)
            return
        stream = Stream(sock, State.OPEN, packet.src_port, packet.dst_port)
        stream.note_credit(packet)
        self._streams[packet.src_port, packet.dst_port] = stream
        self._reply(stream.packet(self.cid, Op.RESPONSE))
        self._watch(stream)

    def _opened(self, stream: Stream) -> None:
        """A program of the guest has accepted one of the host."""
        stream.state = State.OPEN
        try:
            stream.sock.send(b"OK %d\n" % stream.host_port)
        except OSError:
            self._abort(stream)
        else:
            self._watch(stream)

    # The host's sockets.

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: look again in a while
            self.unwatch(listener.fileno())
            self.post(self._wait_for_programs, ACCEPT_AGAIN_S)
            return
        sock.setblocking(False)
        if not self.live or len(self._streams) + len(self._greeting) >= STREAMS_MAX:
            sock.close()
            return
        stream = Stream(sock, State.GREETING, 0, 0)
        self._greeting.add(stream)
        self._watch(stream)

    def _greet(self, stream: Stream) -> None:
        """Ask the guest, once the host's program has said which port it wants."""
        try:
            port = stream.greet()
        except (OSError, ValueError):
            self._drop(stream)
            return
        if port is None:
            return
        self._greeting.discard(stream)
        stream.state = State.CONNECTING
        stream.guest_port, stream.host_port = port, self._free_port(port)
        self._streams[stream.guest_port, stream.host_port] = stream
        self._watch(stream)
        self._reply(stream.packet(self.cid, Op.REQUEST))
        self._pump()

    def _free_port(self, guest_port: int) -> int:
        while True:
            port, self._next_port = self._next_port, self._next_port + 1
            if self._next_port >= 2 * FIRST_HOST_PORT:
                self._next_port = FIRST_HOST_PORT
            if (guest_port, port) not in self._streams:
                return port

    def _watch(self, stream: Stream) -> None:
        """Wait for what matters of a socket now."""
        events = (READ if stream.wants_read else 0) | (WRITE if stream.buffer else 0)
        if events or stream.state is State.CONNECTING:  # a hang-up is always told
            self.watch(stream.sock.fileno(), partial(self._ready, stream), events)
        else:
            self.unwatch(stream.sock.fileno())

    def _ready(self, stream: Stream) -> None:
        if stream.sock.fileno() < 0:
            return
        if stream.state is State.GREETING:
            self._greet(stream)
            return
        if stream.state is State.CONNECTING:
            self._abort(stream)
        else:
            stream.is_readable |= stream.wants_read
            self._flush(stream)
        self.attempt(self._pump)

    def _flush(self, stream: Stream) -> None:
        """Let the socket have what the guest sent, and end the stream where both are done."""
        try:
            stream.flush()
        except OSError:
            self._abort(stream)
            return
        if stream.guest_shut == SHUT_RECEIVE | SHUT_SEND and not stream.buffer:
            self._abort(stream)  # §5.10.6.5: RST answers a clean end
            return
        if stream.owes_credit:
            self._reply(stream.packet(self.cid, Op.CREDIT_UPDATE))
        self._watch(stream)

    def _abort(self, stream: Stream) -> None:
        self._reply(stream.packet(self.cid, Op.RST))
        self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        self._greeting.discard(stream)
        self._streams.pop((stream.guest_port, stream.host_port), None)
        stream.is_readable = False
        self.unwatch(stream.sock.fileno())
        stream.sock.close()

    def _drop_all(self) -> None:
        for stream in (*self._streams.values(), *self._greeting):
            self._drop(stream)
