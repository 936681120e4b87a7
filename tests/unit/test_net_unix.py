"""Frames over UNIX sockets: streams, datagrams, and peers that come and go."""

from __future__ import annotations

import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from support.waiting import until

from pykvm.errors import UsageError
from pykvm.net import frames, unix
from pykvm.net.link import Link
from pykvm.net.port import Port, connect
from pykvm.net.responder import Responder
from pykvm.net.unix import DatagramSocket, StreamSocket

A, B = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")


def frame(number: int = 0, size: int = 60) -> bytes:
    return (B + A + b"\x88\xb5" + struct.pack(">I", number)).ljust(size, b"\0")


def question() -> bytes:
    """What the responder answers."""
    message = b"\x08\0\xf7\xfc\0\1\0\2"
    return frames.BROADCAST + A + b"\x08\0" + frames.ipv4(b"\x0a\0\0\2", b"\x0a\0\0\1", 1, message)


class Station:
    """An end of a link's cable that keeps what comes."""

    def __init__(self, link: Link) -> None:
        self.got: list[bytes] = []
        self.port = Port(lambda *frames: self.got.extend(frames))
        connect(self.port, link.port)


class Peer:
    """The other side of a stream, as plain as can be."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        stream.settimeout(30)

    def send(self, *sent: bytes) -> None:
        self.stream.sendall(b"".join(struct.pack(">I", len(each)) + each for each in sent))

    def receive(self) -> bytes:
        (size,) = struct.unpack(">I", self.stream.recv(4, socket.MSG_WAITALL))
        return self.stream.recv(size, socket.MSG_WAITALL)

    def has_ended(self) -> bool:
        try:
            return not self.stream.recv(1)
        except ConnectionResetError:  # it had not read all
            return True


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(30)
    return listener


def calling(path: Path) -> Peer:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(str(path))
    return Peer(stream)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hung up is looked for at once."""
    monkeypatch.setattr(unix, "RECONNECT_S", 0.01)


# Streams.


def test_frames_go_over_a_stream_behind_their_length() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs, StreamSocket(ours) as stream:
        connect(stream.port, Responder().port)
        peer = Peer(theirs)
        peer.send(question())
        answer = peer.receive()
        assert (answer[:6], answer[34]) == (A, 0)


def test_a_stream_is_cut_anywhere() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    sent = [frame(0), frame(1, 1514), frame(2, frames.MAX_SIZE), frame(3)]
    data = b"".join(struct.pack(">I", len(each)) + each for each in sent)
    with theirs, StreamSocket(ours) as stream:
        station = Station(stream)
        for start in range(70):
            theirs.sendall(data[start : start + 1])
            time.sleep(0.0005)
        theirs.sendall(data[70:])
        until(lambda: len(station.got) == 4)
        assert station.got == sent


@pytest.mark.parametrize("size", [0, 13, frames.MAX_SIZE + 1, 0xFFFF_FFFF])
def test_a_length_that_no_frame_has_ends_the_stream(size: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs, StreamSocket(ours) as stream:
        station, peer = Station(stream), Peer(theirs)
        theirs.sendall(struct.pack(">I", 60) + frame() + struct.pack(">I", size))
        assert peer.has_ended()
        until(lambda: not stream.is_up)
        assert station.got == [frame()]
        station.port.send(frame())
        assert stream.lost == 1


def test_a_stream_that_is_read_late_gets_what_waited_and_no_more() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs, StreamSocket(ours) as stream:
        station, peer = Station(stream), Peer(theirs)
        for number in range(5000):
            station.port.send(frame(number, 1000))
        assert 1000 < stream.lost < 4000
        for number in range(5000 - stream.lost):  # the first ones, in order and whole
            assert peer.receive() == frame(number, 1000)
        station.port.send(frame(9999))
        assert peer.receive() == frame(9999)


def test_a_socket_where_nobody_listens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="start what listens"):
        StreamSocket(tmp_path / "nobody")


@pytest.mark.usefixtures("soon")
def test_who_listened_and_went_is_connected_to_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path) as listener, StreamSocket(path) as stream:
        station = Station(stream)
        peer = Peer(listener.accept()[0])
        peer.stream.sendall(b"\0\0")  # half a length is nothing to the next one
        peer.stream.close()
        listener.close()
        until(lambda: not stream.is_up)
        station.port.send(frame(1))
        assert stream.lost == 1
        path.unlink()
        with listening(path) as again:
            peer = Peer(again.accept()[0])
            until(lambda: stream.is_up)
            station.port.send(frame(2))
            assert peer.receive() == frame(2)
            peer.send(frame(3))
            until(lambda: station.got == [frame(3)])
            peer.stream.close()


def test_a_stream_that_listens_takes_one_peer_after_another(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with StreamSocket(path, server=True) as stream:
        station = Station(stream)
        station.port.send(frame())
        assert (stream.lost, stream.is_up) == (1, False)
        for number in range(3):
            peer, waiting = calling(path), calling(path)
            until(lambda: stream.is_up)
            waiting.send(frame(7))
            peer.send(frame(number))
            until(lambda: station.got)
            assert station.got == [frame(number)]
            peer.stream.close()
            until(lambda: len(station.got) == 2)  # now the one that waited has its turn
            station.port.send(frame(8))
            assert waiting.receive() == frame(8)
            waiting.stream.close()
            until(lambda: not stream.is_up)
            station.got.clear()
    assert not path.exists()


def test_two_streams_are_a_cable(tmp_path: Path) -> None:
    with StreamSocket(tmp_path / "s", server=True) as one, StreamSocket(tmp_path / "s") as other:
        connect(one.port, Responder().port)
        station = Station(other)
        until(lambda: one.is_up)
        station.port.send(question())
        until(lambda: station.got)
        assert station.got[0][:6] == A


def test_a_path_that_is_taken_says_so(tmp_path: Path) -> None:
    with StreamSocket(tmp_path / "s", server=True):
        for make in (
            lambda: StreamSocket(tmp_path / "s", server=True),
            lambda: DatagramSocket(tmp_path / "s", tmp_path / "t"),
        ):
            with pytest.raises(UsageError, match="remove that file"):
                make()
    for path in ("", "\0", f"{tmp_path}/s\0", tmp_path / ("s" * 200)):
        for make in (
            lambda path=path: StreamSocket(path),  # type: ignore[misc]
            lambda path=path: StreamSocket(path, server=True),  # type: ignore[misc]
            lambda path=path: DatagramSocket(path, tmp_path / "t"),  # type: ignore[misc]
            lambda path=path: DatagramSocket(tmp_path / "t", path),  # type: ignore[misc]
        ):
            with pytest.raises(UsageError, match="cannot be at"):
                make()
    for what in (5, None, b"s"):
        with pytest.raises(UsageError, match="path"):
            StreamSocket(what)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="path"):
            DatagramSocket(tmp_path / "t", what)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_is_given_is_a_connected_stream() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other, socket.socket(socket.AF_UNIX) as unconnected:
        for given in (one, unconnected):
            with pytest.raises(UsageError, match="a link takes"):
                StreamSocket(given)


def links(here: str, there: str) -> list[Link]:
    return [StreamSocket(here, server=True), DatagramSocket(there, here)]


def test_another_ones_socket_at_a_links_path_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = links("a", "b") + links("c", "d")
    for name in ("a", "b"):
        Path(name).unlink()
        listening(Path(name)).close()
    monkeypatch.chdir("/")
    for link in ours:
        link.close()
        link.close()
    assert {each.name for each in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.usefixtures("soon")
def test_a_link_finds_its_peer_from_wherever_the_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        listening(Path("s")) as listener,
        StreamSocket("s"),
        DatagramSocket("a", "b") as one,
        DatagramSocket("b", "a") as other,
    ):
        monkeypatch.chdir("/")
        listener.accept()[0].close()
        listener.accept()[0].close()
        sender, station = Station(one), Station(other)
        sender.port.send(frame())
        until(lambda: station.got == [frame()])


def test_links_end_while_frames_come() -> None:
    """No thread is left, and nobody who sends then is harmed."""
    before = threading.active_count()
    for _ in range(20):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs, StreamSocket(ours) as stream:
            station = Station(stream)
            ended = threading.Event()

            def send(station: Station = station, ended: threading.Event = ended) -> None:
                while not ended.is_set():
                    station.port.send(frame())

            thread = threading.Thread(target=send)
            thread.start()
            Peer(theirs).send(*[frame()] * 100)
            stream.close()
            ended.set()
            thread.join()
    assert threading.active_count() == before


def test_what_is_no_frame_is_lost_and_the_link_lives() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs, StreamSocket(ours) as stream:
        station, peer = Station(stream), Peer(theirs)
        station.port.send(b"", frame(0), bytes(13), bytes(frames.MAX_SIZE + 1))
        assert stream.lost == 3
        for wrong in ("x" * 64, 60, None):
            with pytest.raises(UsageError, match="a frame is bytes"):
                station.port.send(frame(1), wrong)  # type: ignore[arg-type]
        station.port.send(bytearray(frame(2)), memoryview(frame(3, frames.MAX_SIZE)))
        assert [peer.receive() for _ in range(3)] == [frame(0), frame(2), frame(3, frames.MAX_SIZE)]
        assert stream.lost == 3


# Datagrams.


def test_what_is_no_frame_does_not_stay_in_the_way(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with DatagramSocket(here, there) as one, DatagramSocket(there, here) as other:
        sender, station = Station(one), Station(other)
        with pytest.raises(UsageError, match="a frame is bytes"):
            sender.port.send("x" * 64)  # type: ignore[arg-type]
        sender.port.send(bytes(13), frame(1))
        until(lambda: station.got)
        assert (station.got, one.lost) == ([frame(1)], 1)


def test_a_datagram_is_a_frame_and_either_side_may_be_first(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with DatagramSocket(here, there) as link:
        station = Station(link)
        station.port.send(frame(0))
        assert (link.lost, link.is_up) == (1, True)
        for number in range(2):  # the peer may be another one
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
                peer.bind(str(there))
                peer.settimeout(30)
                station.port.send(frame(1))
                assert peer.recv(100) == frame(1)
                for sent in (b"", b"short", bytes(frames.MAX_SIZE + 1), frame(number, 1514)):
                    peer.sendto(sent, str(here))
                until(lambda: station.got)
                assert station.got == [frame(number, 1514)]
                station.got.clear()
            there.unlink()
    assert not here.exists()


def test_datagrams_wait_for_a_slow_reader_and_are_bounded(tmp_path: Path) -> None:
    with (
        DatagramSocket(tmp_path / "here", tmp_path / "there") as link,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
    ):
        peer.bind(str(tmp_path / "there"))
        peer.settimeout(30)
        station = Station(link)
        for number in range(3000):
            station.port.send(frame(number))
        assert 0 < link.lost < 2000
        for number in range(3000 - link.lost):
            assert peer.recv(100) == frame(number)
        station.port.send(frame(9999))
        assert peer.recv(100) == frame(9999)


def test_what_a_receiver_raises_is_heard_of_and_the_link_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: heard.append(args.exc_value))
    came: list[bytes] = []

    def receive(*some: bytes) -> None:
        came.extend(some)
        raise OSError("the disk is full")

    with (
        DatagramSocket(tmp_path / "a", tmp_path / "b") as one,
        DatagramSocket(tmp_path / "b", tmp_path / "a") as other,
    ):
        connect(Port(receive), one.port)
        station = Station(other)
        station.port.send(frame(0))
        until(lambda: len(heard) == 1)
        station.port.send(frame(1))
        until(lambda: len(heard) == 2)
        assert came == [frame(0), frame(1)]
        assert one.is_up
