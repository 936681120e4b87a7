"""What every virtio device has: features, queues, configuration space, status. §2."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial

from pykvm.errors import ClosedError, MemoryAccessError, UsageError
from pykvm.memory import GuestMemory
from pykvm.turn import Turn
from pykvm.virtio import spec
from pykvm.virtio.queue import Chain, Queue, QueueError
from pykvm.virtio.spec import Status
from pykvm.worker import READ, Worker

# Numbers: an `&` of two flags costs many times as much, at each notification.
_LIVE = int(Status.FEATURES_OK | Status.DRIVER_OK)
_BUSINESS = _LIVE | int(Status.DEVICE_NEEDS_RESET)

# A request that is done in parts: it pauses after each, and returns how much it wrote.
Parts = Generator[None, None, int]


class Device:
    """A device behind any transport.

    Subclasses set `device_id`, `queue_sizes` and `own_features`, answer `notified`, and may have
    a configuration space.

    Attributes:
        withheld: features that are not offered, for those who want it plainer.
        later: set by the transport: takes what is put off, and calls it soon.
        turn: what it may do before it puts the rest off.
        interrupt: set by the transport: tells the driver of used buffers (True) or of a
            changed configuration (False).
        features: what was negotiated, once FEATURES_OK is set.
        problem: the rule that the driver broke, where it did.
        asynchronous: more than the driver's notifications comes to it: by `worker`.
        worker: set by the machine: its thread, which runs calls under the machine's lock.
        output: set by the machine: takes what the guest prints.
        is_attached: it belongs to a machine, and cannot to another.
        is_closed: set by the machine, when it closes.
    """

    device_id: int
    queue_sizes: Sequence[int] = ()
    own_features = 0
    withheld = 0
    asynchronous = False
    worker: Worker | None = None
    is_attached = False
    is_closed = False

    def __init__(self) -> None:
        self.interrupt: Callable[[bool], None] = lambda used: None
        self.output: Callable[[bytes], None] = lambda data: None
        self.later: Callable[[Callable[[], None]], None] = lambda work: None
        self.turn = Turn()
        self.queues: list[Queue] = []
        self.features = 0
        self.status = Status(0)
        self.problem = ""
        self._asked: set[int] = set()
        self._paused: dict[Queue, tuple[Chain, Parts]] = {}

    def attach(self, memory: GuestMemory) -> None:
        """Give it the machine's memory; the transport does so once.

        Raises:
            UsageError: it has one already.
        """
        self.check_new()
        self.is_attached = True
        self.queues = [Queue(memory, size, self.turn) for size in self.queue_sizes]
        for index, queue in enumerate(self.queues):
            queue.cut = partial(self._ask_again, index)

    def check_new(self) -> None:
        """Let no machine take what another one has.

        Raises:
            UsageError: it belongs to a machine, which may be closed by now.
        """
        if self.is_attached:
            raise UsageError("this device belongs to a machine already; make a new one for each")

    def check_open(self) -> None:
        """For what its user asks of it.

        Raises:
            ClosedError: its machine is closed.
        """
        if self.is_closed:
            raise ClosedError("device's machine")

    def _ask_again(self, index: int) -> None:
        """A queue had more than a turn's worth: the rest is put off."""
        if index not in self._asked:
            self._asked.add(index)
            self.later(partial(self._again, index))

    def _again(self, index: int) -> None:
        self._asked.discard(index)
        self.notify(index)

    @property
    def offered(self) -> int:
        """The features that the driver can choose from."""
        return (self.own_features | spec.F_QUEUES) & ~self.withheld

    # For subclasses.

    def notified(self, index: int) -> None:
        """The driver has put something into queue `index`."""

    def config(self) -> bytes:
        """The configuration space as it is now."""
        return b""

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver writes to the configuration space; most devices have nothing to write."""

    def activated(self) -> None:
        """The driver is ready: DRIVER_OK."""

    def queue_was_reset(self, index: int) -> None:
        """Forget what is out of one queue. §2.6.1."""

    def was_reset(self) -> None:
        """Forget what the driver had set up; the queues are reset already."""

    def close(self) -> None:
        """Give back what it holds of the host; its machine closes."""

    def serve(
        self, queue: Queue, chains: Iterable[Chain], answer: Callable[[Chain], int | Parts]
    ) -> None:
        """Give chains back with what `answer` wrote to each, also the one where it raises.

        One that is done in parts goes on in the next turn where this one is over.
        """
        try:
            if (paused := self._paused.pop(queue, None)) and not self._part_by_part(queue, *paused):
                return
            for chain in chains:
                try:
                    written = answer(chain)
                except BaseException:
                    queue.push(chain)
                    raise
                if isinstance(written, int):
                    queue.push(chain, written)
                elif not self._part_by_part(queue, chain, written):
                    return
        finally:
            self.signal(queue)

    def _part_by_part(self, queue: Queue, chain: Chain, parts: Parts) -> bool:
        """Do parts of a request until it is done, or the turn is over: False."""
        written = 0
        try:
            while not self.turn.is_over:
                next(parts)
            self._paused[queue] = chain, parts
            queue.put_off()
            return False
        except StopIteration as done:
            written = done.value
            return True
        finally:
            if queue not in self._paused:
                queue.push(chain, written)

    # What comes from outside.

    def post(self, call: Callable[[], None], delay_s: float = 0.0) -> None:
        """Run `call` soon, or after a delay, on the machine's thread and under its lock.

        Without a machine it runs at once. A QueueError fails the device, as in `notified`.
        """
        if self.worker is None:
            self._guarded(call)
        else:
            self.worker.post(partial(self._guarded, call), delay_s)

    def watch(self, fd: int, callback: Callable[[], None], events: int = READ) -> None:
        """Run `callback` in the same way whenever a file is ready; see `Worker.watch`."""
        if self.worker is not None:
            self.worker.watch(fd, partial(self._guarded, callback), events)

    def unwatch(self, fd: int) -> None:
        """End a watch."""
        if self.worker is not None:
            self.worker.unwatch(fd)

    def _guarded(self, call: Callable[..., None], *arguments: int) -> None:
        self.turn.begin()
        try:
            call(*arguments)
        except (QueueError, MemoryAccessError) as error:
            self.fail(error)

    # For transports.

    def set_status(self, value: int) -> None:
        """What the driver writes to the status field: bits stay until a reset. §2.1, §3.1."""
        if value == 0:
            self.reset()
            return
        new = Status(value & 0xFF) & ~Status.DEVICE_NEEDS_RESET
        if Status.FEATURES_OK not in self.status and not self._accepts():
            new &= ~Status.FEATURES_OK
        was_live = self.live
        self.status |= new
        if self.live and not was_live:
            self.attempt(self._begin_business)

    def _begin_business(self) -> None:
        self.activated()
        ready = [index for index, queue in enumerate(self.queues) if queue.ready]
        try:
            for index in ready:  # Linux puts buffers in, and notifies of them, before: §3.1.1
                self.notified(index)
        except BaseException:
            for index in ready:
                self._ask_again(index)
            raise

    def _accepts(self) -> bool:
        """§2.2: no feature that was not offered, and no legacy driver."""
        return not self.features & ~self.offered and bool(self.features & spec.F_VERSION_1)

    def reset(self) -> None:
        """Back to the start. §2.4."""
        for queue in self.queues:
            queue.reset()
        self._paused.clear()
        self.features = 0
        self.status = Status(0)
        self.problem = ""
        self.was_reset()

    def enable_queue(self, index: int) -> None:
        """The driver says that a queue is set up, which it does after FEATURES_OK. §3.1.1."""
        if Status.FEATURES_OK not in self.status:
            return
        try:
            self.queues[index].enable(self.features)
        except QueueError as error:
            self.fail(error)

    def reset_queue(self, index: int) -> None:
        """The driver takes a queue back. §2.6.1."""
        self.queues[index].reset()
        self._paused.pop(self.queues[index], None)
        self.queue_was_reset(index)

    def notify(self, index: int) -> None:
        """The driver's notification of a queue that may not even be there. §2.9.

        What the host's side raises ends the run; the queue's rest has its turn in the next one.
        """
        if index < len(self.queues) and self.live:
            try:
                self._guarded(self.notified, index)
            except BaseException:
                self._ask_again(index)
                raise

    def attempt(self, work: Callable[[], None]) -> None:
        """Do work on queues of a live device, on a notification or because the host has something.

        It is a turn of the device's own.

        Whatever the driver did wrong ends in DEVICE_NEEDS_RESET. §2.1.2.
        """
        if self.live:
            self._guarded(work)

    @property
    def live(self) -> bool:
        """Whether driver and device are in business."""
        return int(self.status) & _BUSINESS == _LIVE

    def fail(self, error: Exception) -> None:
        """Stop until the driver resets; it is told where it can be. §2.1.2."""
        self.problem = str(error)
        self.status |= Status.DEVICE_NEEDS_RESET
        if Status.DRIVER_OK in self.status:
            self.interrupt(False)

    def signal(self, queue: Queue) -> None:
        """Tell the driver of buffers given back, if it wants to know."""
        if queue.needs_notification():
            self.interrupt(True)


def whole(value: object, least: int, most: int, what: str) -> int:
    """The value, where it is a whole number of that range.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{what} is a whole number from {least} to {most}, not {value!r}")
    return value
