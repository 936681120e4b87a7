"""UNIX sockets in the framings of QEMU's `-netdev stream` and `-netdev dgram`.

On a stream each frame comes behind its length, four bytes, big-endian, as passt has it too; a
datagram is a frame.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from pykvm.errors import UsageError
from pykvm.net import frames
from pykvm.net.link import Link

RECONNECT_S = 1.0
PATH_MAX = 107  # unix(7): sun_path, with a zero behind it
ROOM_S = 0.001  # a datagram socket does not tell when the other one has room
_CHUNK_BYTES = 1 << 16
_LENGTH = struct.Struct(">I")


class StreamSocket(Link):
    """A stream to one peer at a time.

    A peer that ends, or sends a length that no frame has, is hung up on. Then the link waits for
    another one (`server`), or looks for it every RECONNECT_S; frames are lost meanwhile.

    Args:
        peer: a path; or a connected stream socket, after which there is no other.
        server: listen at the path, rather than connect to who listens there.

    Raises:
        UsageError: nobody listens there, the path cannot be had, or a socket is no connected
            stream.
    """

    def __init__(self, peer: socket.socket | Path | str, *, server: bool = False) -> None:
        super().__init__("stream")
        self._path: str | None = None
        self._socket: socket.socket | None = None
        self._bound: Bound | None = None
        self._received = bytearray()
        if isinstance(peer, socket.socket):
            _check_stream(peer)
            self._take(peer)
        elif server:
            self._bound = Bound(socket.SOCK_STREAM, peer)
            self._bound.socket.listen(1)
            self._look_for_peer()
        else:
            self._path = settled(peer)
            self._take(_connected(self._path))

    # The peer.

    def _take(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        self._received.clear()
        self._socket = peer
        self._use(peer.fileno())

    def _look_for_peer(self) -> None:
        if self._bound is not None:
            self._worker.watch(self._bound.socket.fileno(), self._accept)
        elif self._path is not None:
            self._worker.post(self._connect, RECONNECT_S)

    def _accept(self) -> None:
        assert self._bound is not None
        try:
            peer, _ = self._bound.socket.accept()
        except OSError:  # it has gone again
            return
        self._worker.unwatch(self._bound.socket.fileno())
        self._take(peer)

    def _connect(self) -> None:
        assert self._path is not None
        try:
            self._take(_connected(self._path))
        except UsageError:
            self._look_for_peer()

    def _broke(self) -> None:
        self._drop()
        self._hang_up()
        self._look_for_peer()

    def _hang_up(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    # Frames.

    def _encode(self, frame: bytes) -> bytes:
        return _LENGTH.pack(len(frame)) + frame

    def _write(self, data: bytes) -> int:
        assert self._socket is not None
        return self._socket.send(data, socket.MSG_NOSIGNAL)

    def _read(self) -> list[bytes]:
        return self._whole() or self._more()

    def _more(self) -> list[bytes]:
        assert self._socket is not None
        if not (data := self._socket.recv(_CHUNK_BYTES)):
            raise ConnectionError
        self._received += data
        return self._whole()

    def _whole(self) -> list[bytes]:
        """The frames that are there, up to a length that no frame has."""
        found: list[bytes] = []
        end, data = 0, self._received
        while len(data) >= (start := end + _LENGTH.size):
            (size_bytes,) = _LENGTH.unpack_from(data, end)
            if not frames.HEADER_SIZE <= size_bytes <= frames.MAX_SIZE:
                if not found:
                    raise ConnectionError
                break
            if start + size_bytes > len(data):
                break
            end = start + size_bytes
            found.append(bytes(data[start:end]))
        del data[:end]
        return found

    def _close_file(self) -> None:
        self._hang_up()
        if self._bound is not None:
            self._bound.close()
            self._bound = None


class DatagramSocket(Link):
    """A socket at a path of its own that sends to another path; neither need be there first.

    Args:
        local: where this one is; the peer sends there.
        remote: where the peer is. Frames are lost while nobody is.

    Raises:
        UsageError: `local` cannot be had, or `remote` is no path.
    """

    def __init__(self, local: Path | str, remote: Path | str) -> None:
        super().__init__("datagram")
        self._remote = settled(remote)
        self._waits = False
        self._bound = Bound(socket.SOCK_DGRAM, local)
        self._socket = self._bound.socket
        self._use(self._socket.fileno())

    def _write(self, data: bytes) -> int:
        return self._socket.sendto(data, self._remote)

    def _read(self) -> list[bytes]:
        frame = self._socket.recv(frames.MAX_SIZE + 1)
        return [frame] if frames.HEADER_SIZE <= len(frame) <= frames.MAX_SIZE else []

    def _await_room(self, on: bool) -> None:
        if on and not self._waits:
            self._waits = True
            self._worker.post(self._try_again, ROOM_S)

    def _try_again(self) -> None:
        with self._lock:
            self._waits = False
            self._flush()
            self._await_room(bool(self._waiting))

    def _close_file(self) -> None:
        self._bound.close()


class Bound:
    """A socket at a path that it makes, and takes away again; it does not block.

    Attributes:
        socket: as it is, for whoever uses it.

    Raises:
        UsageError: it cannot be had.
    """

    def __init__(self, kind: int, path: Path | str) -> None:
        name = settled(path)
        self._path = Path(name).absolute()
        self.socket = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
        try:
            self.socket.bind(name)
            self._file = self._path.lstat()
        except OSError as error:
            self.socket.close()
            remedy = "remove that file if no program has it any more"
            raise _problem(f"cannot be at {path}", error, {errno.EADDRINUSE: remedy}) from None

    def close(self) -> None:
        """Close the socket, and remove its file; not another one that is there by now."""
        if self.socket.fileno() < 0:
            return
        with suppress(FileNotFoundError):
            if os.path.samestat(self._path.lstat(), self._file):
                self._path.unlink()
        self.socket.close()  # last, so that nobody else's file has had its number meanwhile


def settled(path: Path | str, more_bytes: int = 0) -> str:
    """A socket's path, the same wherever this process goes: absolute, where that is short enough.

    Args:
        more_bytes: how much will be put behind it.

    Raises:
        UsageError: no socket can be there.
    """
    try:
        name, whole = os.fspath(path), str(Path(path).absolute())
        size_bytes, whole_bytes = len(os.fsencode(name)), len(os.fsencode(whole))
    except (TypeError, UnicodeEncodeError):
        raise UsageError(f"a socket is at a path, not at {path!r}") from None
    except OSError as error:
        raise UsageError(f"a socket cannot be at {path}: {error.strerror}") from None
    if not name or "\0" in name:
        raise UsageError(f"a socket cannot be at {path!r}: it is no file's name")
    if size_bytes > PATH_MAX:
        problem = f"AF_UNIX path too long; it may have {PATH_MAX} bytes"
        raise UsageError(f"a socket cannot be at {path}: {problem}")
    return whole if whole_bytes + more_bytes <= PATH_MAX else name


def _check_stream(peer: socket.socket) -> None:
    try:
        peer.getpeername()
    except OSError as error:
        raise UsageError(f"a link takes a connected socket: {error.strerror}") from None
    if peer.type != socket.SOCK_STREAM:
        raise UsageError(f"a link takes a stream socket, not {peer.type!r}")


def _connected(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        found.connect(path)
    except OSError as error:
        found.close()
        remedy = "start what listens there first"
        remedies = {errno.ENOENT: remedy, errno.ECONNREFUSED: remedy}
        raise _problem(path, error, remedies) from None
    return found


def _problem(what: str, error: OSError, remedies: dict[int, str]) -> UsageError:
    remedy = remedies.get(error.errno or 0)
    return UsageError(f"{what}: {error.strerror}{f'; {remedy}' if remedy else ''}")
