"""One stream between a guest's socket and a host's AF_UNIX socket: buffers, credit, its end."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import Enum

HOST_CID = 2  # §5.10.4
TYPE_STREAM = 1  # §5.10.6.2
BUFFER_BYTES = 256 << 10  # from a guest, on its way to the host's socket
PACKET_BYTES = 64 << 10  # of data, at most, towards a guest
GREETING_MAX = 32
COUNT_MASK = 0xFFFF_FFFF
SHUT_RECEIVE, SHUT_SEND = 1, 2  # §5.10.6.5
_HEADER = struct.Struct("<QQIIIHHIII")


class Op:
    """§5.10.6."""

    REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)


@dataclass
class Packet:
    """A packet's header. §5.10.6."""

    src_cid: int
    dst_cid: int
    src_port: int
    dst_port: int
    len: int = 0
    type: int = TYPE_STREAM
    op: int = 0
    flags: int = 0
    buf_alloc: int = 0
    fwd_cnt: int = 0

    SIZE = _HEADER.size

    @classmethod
    def unpack(cls, data: bytes) -> Packet:
        """From the bytes of a header."""
        return cls(*_HEADER.unpack(data))

    def pack(self) -> bytes:
        """As bytes."""
        return _HEADER.pack(
            self.src_cid, self.dst_cid, self.src_port, self.dst_port, self.len, self.type,
            self.op, self.flags, self.buf_alloc, self.fwd_cnt,
        )  # fmt: skip


class State(Enum):
    """Of a stream."""

    GREETING = 0  # the host's program has yet to say which port it wants
    CONNECTING = 1  # the guest has been asked
    OPEN = 2


class Stream:
    """A host's socket that belongs to a guest's.

    Attributes:
        guest_port, host_port: which it is.
        buffer: from the guest, not yet taken by the socket.
        is_readable: the socket has something, or its end, for the guest.
        is_over: the socket will give nothing more.
        guest_shut: what the guest does no more, SHUT_RECEIVE and SHUT_SEND.
    """

    def __init__(self, sock: socket.socket, state: State, guest_port: int, host_port: int) -> None:
        self.sock = sock
        self.state = state
        self.guest_port = guest_port
        self.host_port = host_port
        self.buffer = bytearray()
        self.greeting = b""
        self.is_readable = self.is_over = False
        self.guest_shut = 0
        self._sent = 0  # to the guest, modulo 2^32, as all four are
        self._peer_taken = 0
        self._peer_buffer = 0
        self._taken = 0
        self._told_taken = 0

    # Credit. §5.10.6.3.

    def note_credit(self, packet: Packet) -> None:
        """What the guest says of its buffer."""
        self._peer_buffer, self._peer_taken = packet.buf_alloc, packet.fwd_cnt

    @property
    def credit_bytes(self) -> int:
        """How much the guest can take now; nothing where it claims what cannot be."""
        out = (self._sent - self._peer_taken) & COUNT_MASK
        return max(0, self._peer_buffer - out)

    def packet(self, cid: int, op: int, *, size_bytes: int = 0, flags: int = 0) -> Packet:
        """A packet to the guest, with this side's credit."""
        self._told_taken = self._taken
        return Packet(
            HOST_CID, cid, self.host_port, self.guest_port, size_bytes, TYPE_STREAM, op, flags,
            BUFFER_BYTES, self._taken,
        )  # fmt: skip

    @property
    def owes_credit(self) -> bool:
        """So much has been taken since the guest was told that it should hear of it."""
        return (self._taken - self._told_taken) & COUNT_MASK >= BUFFER_BYTES // 2

    # Data.

    def put(self, data: bytes) -> bool:
        """From the guest; False where it sends more than there is room for."""
        if len(self.buffer) + len(data) > BUFFER_BYTES:
            return False
        self.buffer += data
        return True

    def flush(self) -> None:
        """Give the socket what it takes.

        Raises:
            OSError: it takes nothing any more.
        """
        while self.buffer:
            try:
                count = self.sock.send(self.buffer)
            except BlockingIOError:
                return
            del self.buffer[:count]
            self._taken = (self._taken + count) & COUNT_MASK
        if self.guest_shut & SHUT_SEND:
            self.sock.shutdown(socket.SHUT_WR)

    def receive(self, room_bytes: int) -> bytes | None:
        """For the guest; empty at the end, None where there is nothing now.

        Raises:
            OSError: the connection is broken.
        """
        size_bytes = min(room_bytes, PACKET_BYTES, self.credit_bytes)
        try:
            data = self.sock.recv(size_bytes)
        except BlockingIOError:
            self.is_readable = False
            return None
        self._sent = (self._sent + len(data)) & COUNT_MASK
        if not data:
            self.is_over, self.is_readable = True, False
        return data

    @property
    def wants_read(self) -> bool:
        """Whether it matters that the socket has something."""
        return not (self.is_readable or self.is_over or self.guest_shut & SHUT_RECEIVE) and (
            self.state is not State.CONNECTING
        )

    def greet(self) -> int | None:
        """Read "CONNECT PORT\\n", and nothing behind it.

        Returns:
            The port, None while the line is not complete.

        Raises:
            OSError, ValueError: there is no such line.
        """
        try:
            waiting = self.sock.recv(GREETING_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        line, newline, _ = waiting.partition(b"\n")
        self.greeting += self.sock.recv(len(line + newline))
        if not waiting or len(self.greeting) > GREETING_MAX:
            raise ValueError("no greeting")
        if not newline:
            return None
        word, _, port = self.greeting.decode("ascii").strip().partition(" ")
        if word.upper() != "CONNECT" or not 0 <= int(port) < COUNT_MASK:
            raise ValueError(f"not a greeting: {self.greeting!r}")
        return int(port)
