"""Programs of the host at the other end of a socket device, and its thread, by turns."""

from __future__ import annotations

import select
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from pykvm.virtio.device import Device
from pykvm.virtio.vsock import Vsock
from pykvm.worker import READ, Worker

GUEST_PORTS, HOST_PORTS = range(1, 4), range(1, 3)  # that each side's programs listen at
CALLS_MAX = 8
SAID = b"what a program says" * 60
_folder = tempfile.TemporaryDirectory(prefix="pykvm-")
_names = count()


class Turns(Worker):
    """A worker without a thread: `turn` does what is ready."""

    def __init__(self) -> None:
        self._ready = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, callback: Callable[[], None], events: int = READ) -> None:
        change = self._ready.modify if fd in self._callbacks else self._ready.register
        change(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        if self._callbacks.pop(fd, None):
            self._ready.unregister(fd)

    def close(self) -> None:
        self._ready.close()

    def turn(self) -> None:
        for fd, _ in self._ready.poll(0):
            if callback := self._callbacks.get(fd):
                callback()


class SpokenTo(Vsock):
    """A socket device whose host has programs that listen, call, speak, and hang up."""

    def __init__(self) -> None:
        path = Path(_folder.name) / str(next(_names))
        super().__init__(path)
        self.worker: Turns = Turns()
        self._calls: list[socket.socket] = []
        self._listeners: list[socket.socket] = []
        for port in HOST_PORTS:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{path}_{port}")
            listener.listen(CALLS_MAX)
            listener.setblocking(False)
            self._listeners.append(listener)
        self._turns = count()

    def notified(self, index: int) -> None:
        """The programs do not sleep while a guest is at work."""
        super().notified(index)
        self.go_round()

    def go_round(self) -> None:
        """Each program does something, then the device looks at what there is, twice."""
        self._answer()
        self._speak()
        (self._call, self._hang_up)[next(self._turns) % 2]()
        self.worker.turn()
        self.worker.turn()

    def _answer(self) -> None:
        for listener in self._listeners:
            with suppress(BlockingIOError):
                while len(self._calls) < CALLS_MAX:
                    self._calls.append(listener.accept()[0])
                    self._calls[-1].setblocking(False)

    def _speak(self) -> None:
        for call in self._calls:
            with suppress(OSError):
                call.recv(1 << 16)
                call.send(SAID)

    def _call(self) -> None:
        if len(self._calls) < CALLS_MAX:
            call = socket.socket(socket.AF_UNIX)
            call.connect(str(self.path))
            call.setblocking(False)
            call.send(b"CONNECT %d\n" % GUEST_PORTS[len(self._calls) % len(GUEST_PORTS)])
            self._calls.append(call)

    def _hang_up(self) -> None:
        if self._calls:
            self._calls.pop(0).close()

    def close(self) -> None:
        super().close()
        self.worker.close()
        for each in (*self._calls, *self._listeners):
            each.close()
        for port in HOST_PORTS:
            Path(f"{self.path}_{port}").unlink()


def speak(device: Device) -> None:
    assert isinstance(device, SpokenTo)
    device.go_round()
