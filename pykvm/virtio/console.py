"""The console device: one port for a console, and more for other streams of bytes. §5.3."""

from __future__ import annotations

import itertools
import struct
import threading
from collections import deque
from collections.abc import Sequence

from pykvm.errors import UsageError
from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain, QueueError
from pykvm.virtio.device import Device, whole
from pykvm.virtio.ends import End
from pykvm.virtio.queue import Queue

QUEUE_SIZE = 128
PORTS_MAX = 16
INPUT_MAX = 64 << 10  # bytes that wait for a port's driver
CHUNK_BYTES = 64 << 10
SIDE_MAX = 0xFFFF  # columns and rows have 16 bits: §5.3.4
CONTROL_IN, CONTROL_OUT = 2, 3  # §5.3.2
F_SIZE, F_MULTIPORT, F_EMERG_WRITE = 1, 2, 4  # §5.3.3
CONFIG = struct.Struct("<HHII")  # columns, rows, ports, emergency write: §5.3.4
CONFIG_EMERG_WRITE = 8
CONTROL = struct.Struct("<IHH")  # port, event, value: §5.3.6.2
SIZE = struct.Struct("<HH")  # columns, rows


class Event:
    """Of control messages. §5.3.6.2."""

    DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY = 0, 1, 2, 3
    CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME = 4, 5, 6, 7


class Port:
    """One stream of bytes, both ways.

    Args:
        end: the host's end; without one, output of the console goes to the machine's.
        name: what the guest knows it by.
        is_console: the guest is to treat it as a terminal; the first port always is one.

    Raises:
        UsageError: an end or a name of another type.

    Attributes:
        is_open: the guest has it open, as far as it tells.
        is_taken: it belongs to a console, and cannot to another.
    """

    def __init__(self, end: End | None = None, *, name: str = "", is_console: bool = False) -> None:
        if end is not None and not isinstance(end, End):
            raise UsageError(f"a port's end is an End, such as Stream or Pty, not {end!r}")
        if not isinstance(name, str):
            raise UsageError(f"a port's name is a text, not {name!r}")
        self.end = end or End()
        self.has_end = end is not None
        self.name = name
        self.is_console = is_console
        self.input = bytearray()
        self._guard = threading.Lock()  # of the input
        self._is_posted = False
        self._was_full = False
        self.is_taken = False
        self.forget()

    def forget(self) -> None:
        """The guest has reset the device."""
        self.is_added = self.is_ready = self.is_open = False
        self.held: Chain | None = None
        self.done_bytes = 0  # of what is held

    def join(self, console: Console, index: int) -> None:
        """Become port `index` of a device."""
        self._console, self._index, self.is_taken = console, index, True
        self.input_queue = 2 * index + 2 if index else 0  # §5.3.2
        self.post, self.watch, self.unwatch = console.post, console.watch, console.unwatch

    @property
    def room_bytes(self) -> int:
        """How much input is taken now."""
        room = INPUT_MAX - len(self.input)
        self._was_full |= not room
        return room

    def feed(self, data: bytes) -> int:
        """Send input to the guest; any thread may.

        Returns:
            How many bytes were taken; offer the rest again later.

        Raises:
            UsageError: it is in no machine yet.
            ClosedError: its machine is closed.
        """
        if not self.is_taken or not self._console.is_attached:
            raise UsageError("this port is in no machine yet; add_virtio(Console([port])) first")
        self._console.check_open()
        with self._guard:
            data = data[: self.room_bytes]
            self.input += data
            if not data or self._is_posted:
                return len(data)
            self._is_posted = True
        self._console.post(self._deliver)
        return len(data)

    def _deliver(self) -> None:
        self._is_posted = False
        self._console.deliver(self)

    def take(self, size_bytes: int) -> bytes:
        """Input on its way to the guest."""
        with self._guard:
            data = bytes(self.input[:size_bytes])
            del self.input[:size_bytes]
        return data

    def tell_room(self) -> None:
        """Let the end go on, where it was stopped."""
        if self._was_full and len(self.input) < INPUT_MAX:
            self._was_full = False
            self.end.has_room()

    def resume(self) -> None:
        """The end takes output again."""
        self._console.notify(self.input_queue + 1)


class Console(Device):
    """A console, with more ports where more are given.

    Args:
        ports: the first is the console.
        size: columns and rows, where they are known.

    Raises:
        UsageError: too many ports, one that a console has already, or no size.
    """

    device_id = spec.ID_CONSOLE
    asynchronous = True

    def __init__(
        self, ports: Sequence[Port] | None = None, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.ports = _ports(ports)
        if len(self.ports) > PORTS_MAX:
            raise UsageError(f"a console has {PORTS_MAX} ports at most, not {len(self.ports)}")
        if len(set(self.ports)) < len(self.ports) or any(port.is_taken for port in self.ports):
            raise UsageError("this port belongs to a console already; make a new one for each")
        self._size = (0, 0) if size is None else _size(size)
        self.ports[0].is_console = True
        self.own_features = F_EMERG_WRITE | (0 if size is None else F_SIZE)
        self.queue_sizes = (QUEUE_SIZE,) * 2
        if len(self.ports) > 1:
            self.own_features |= F_MULTIPORT
            self.queue_sizes = (QUEUE_SIZE,) * (2 * len(self.ports) + 2)
        self._by_queue: dict[int, Port] = {}
        for index, port in enumerate(self.ports):
            port.join(self, index)
            self._by_queue[port.input_queue] = self._by_queue[port.input_queue + 1] = port
        self._messages: deque[bytes] = deque()

    def attach(self, memory: GuestMemory) -> None:
        """Let the ends begin."""
        super().attach(memory)
        for port in self.ports:
            port.end.attach(port)

    def close(self) -> None:
        """Close the ends."""
        for port in self.ports:
            port.end.close()

    def feed(self, data: bytes) -> int:
        """Send input to the first port; see `Port.feed`."""
        return self.ports[0].feed(data)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the guest of another size of its terminal; any thread may.

        Raises:
            UsageError: no size, or the console was made without one.
            ClosedError: its machine is closed.
        """
        self.check_open()
        if not self.own_features & F_SIZE:
            raise UsageError("this console has no size; make it with one to change it")
        self._size = _size((columns, rows))
        self.post(self._tell_size)

    # Configuration. §5.3.4.

    def config(self) -> bytes:
        """§5.3.4."""
        return CONFIG.pack(*self._size, len(self.ports), 0)

    def write_config(self, offset: int, data: bytes) -> None:
        """A character in need, which needs no queue. §5.3.5.1."""
        if offset == CONFIG_EMERG_WRITE:
            self._write(self.ports[0], data[:1])

    def was_reset(self) -> None:
        """Forget which ports the guest knows."""
        self._messages.clear()
        for port in self.ports:
            port.forget()

    def queue_was_reset(self, index: int) -> None:
        """Forget output that was taken from the queue."""
        if (port := self._by_queue.get(index)) and index == port.input_queue + 1:
            port.held, port.done_bytes = None, 0

    @property
    def _is_multiport(self) -> bool:
        return bool(self.features & F_MULTIPORT)

    # Data. §5.3.6.

    def notified(self, index: int) -> None:
        """Buffers for input, output, or a control message."""
        port = self._by_queue.get(index)
        if index == CONTROL_IN:
            self._send_messages()
        elif port is None:
            self._take_messages()
        elif index == port.input_queue:
            self.deliver(port)
        else:
            self._transmit(port)

    def deliver(self, port: Port) -> None:
        """Put waiting input into the buffers that are there for it."""
        if not self.live or (self._is_multiport and not port.is_open):
            return
        queue = self.queues[port.input_queue]
        while port.input and (chain := queue.pop()):
            if chain.readable:
                raise QueueError("a buffer to read in a receive queue: §5.3.6.1")
            queue.push(chain, chain.write(port.take(chain.writable_bytes)))
        self.signal(queue)
        port.tell_room()

    def _transmit(self, port: Port) -> None:
        """Pass output on, as much as the end takes and a turn allows."""
        queue = self.queues[port.input_queue + 1]
        try:
            for chain in itertools.chain([port.held] if port.held else [], queue):
                port.held = chain
                if not self._pass_on(port, chain):
                    break
                self._give_back(port, queue)
        except BaseException:  # of the end: the guest does not wait for what it did not take
            self._give_back(port, queue)
            raise
        finally:
            self.signal(queue)

    def _give_back(self, port: Port, queue: Queue) -> None:
        if port.held is not None:
            queue.push(port.held)
        port.held, port.done_bytes = None, 0

    def _pass_on(self, port: Port, chain: Chain) -> bool:
        """One buffer of output; whether all of it is gone."""
        while (left_bytes := chain.readable_bytes - port.done_bytes) > 0:
            if self.turn.is_over:
                self.queues[port.input_queue + 1].put_off()
                return False
            size_bytes = min(left_bytes, CHUNK_BYTES)
            taken = self._write(port, chain.read(port.done_bytes, size_bytes))
            port.done_bytes += taken
            self.turn.spend(taken)
            if taken < size_bytes:
                return False  # the end says when it goes on
        return True

    def _write(self, port: Port, data: bytes) -> int:
        if port.has_end or port is not self.ports[0]:
            return whole(port.end.write(data), 0, len(data), "what the write of an end gives")
        self.output(data)
        return len(data)

    # Control messages. §5.3.6.2.

    def _take_messages(self) -> None:
        queue = self.queues[CONTROL_OUT]
        for chain in queue:
            data = chain.read(0, CONTROL.size)
            if len(data) == CONTROL.size:
                self._answer(*CONTROL.unpack(data))
            queue.push(chain)
        self.signal(queue)
        self._send_messages()

    def _answer(self, number: int, event: int, value: int) -> None:
        if event == Event.DEVICE_READY and value:
            for index, port in enumerate(self.ports):
                if not port.is_added:
                    port.is_added = True
                    self._say(index, Event.DEVICE_ADD)
            return
        if number >= len(self.ports) or not self.ports[number].is_added:
            return
        port = self.ports[number]
        if event == Event.PORT_READY and value and not port.is_ready:
            port.is_ready = True
            self._introduce(number, port)
        elif event == Event.PORT_OPEN:
            port.is_open = bool(value)
            self.deliver(port)

    def _introduce(self, number: int, port: Port) -> None:
        if port.is_console:
            self._say(number, Event.CONSOLE_PORT, 1)
        if port.name:
            self._say(number, Event.PORT_NAME, 1, port.name.encode())
        if number == 0 and self.features & F_SIZE:
            self._say(0, Event.RESIZE, 0, SIZE.pack(*self._size))
        self._say(number, Event.PORT_OPEN, 1)

    def _tell_size(self) -> None:
        if not self.live:
            return
        if self._is_multiport and self.ports[0].is_ready:
            self._messages = deque(each for each in self._messages if not _is_size(each))
            self._say(0, Event.RESIZE, 0, SIZE.pack(*self._size))
            self._send_messages()
        self.interrupt(False)

    def _say(self, number: int, event: int, value: int = 0, more: bytes = b"") -> None:
        """Each port has few to say, each once: the messages stay few."""
        self._messages.append(CONTROL.pack(number, event, value) + more)

    def _send_messages(self) -> None:
        queue = self.queues[CONTROL_IN]
        while self._messages and (chain := queue.pop()):
            queue.push(chain, chain.write(self._messages.popleft()))
        self.signal(queue)


def _ports(ports: Sequence[Port] | None) -> tuple[Port, ...]:
    if ports is None:
        return (Port(),)
    if not isinstance(ports, Sequence) or not all(isinstance(each, Port) for each in ports):
        raise UsageError(f"a console is made of a sequence of Port, not {ports!r}")
    return tuple(ports) or (Port(),)


def _size(size: tuple[int, int]) -> tuple[int, int]:
    """0 is for what is not known."""
    try:
        columns, rows = size
    except (TypeError, ValueError):
        raise UsageError(f"a console's size is (columns, rows), not {size!r}") from None
    return whole(columns, 0, SIDE_MAX, "columns"), whole(rows, 0, SIDE_MAX, "rows")


def _is_size(message: bytes) -> bool:
    return int(CONTROL.unpack_from(message)[1]) == Event.RESIZE
