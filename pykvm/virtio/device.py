"""What every virtio device has: features, queues, configuration space, status. §2."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.queue import Queue, QueueError
from pykvm.virtio.spec import Status


class Device:
    """A device behind any transport.

    Subclasses set `device_id`, `queue_sizes` and `own_features`, answer `notified`, and may have
    a configuration space.

    Attributes:
        interrupt: set by the transport: tells the driver of used buffers (True) or of a
            changed configuration (False).
        features: what was negotiated, once FEATURES_OK is set.
        problem: the rule that the driver broke, where it did.
    """

    device_id: int
    queue_sizes: Sequence[int] = ()
    own_features = 0

    def __init__(self) -> None:
        self.interrupt: Callable[[bool], None] = lambda used: None
        self.queues: list[Queue] = []
        self.features = 0
        self.status = Status(0)
        self.problem = ""

    def attach(self, memory: GuestMemory) -> None:
        """Give it the machine's memory; the transport does so once."""
        self.queues = [Queue(memory, size) for size in self.queue_sizes]

    @property
    def offered(self) -> int:
        """The features that the driver can choose from."""
        return (
            self.own_features
            | spec.F_VERSION_1
            | spec.F_INDIRECT_DESC
            | spec.F_EVENT_IDX
            | spec.F_RING_RESET
        )

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

    # For transports.

    def set_status(self, value: int) -> None:
        """What the driver writes to the status field. §2.1, §3.1."""
        if value == 0:
            self.reset()
            return
        new = Status(value & 0xFF) & ~Status.DEVICE_NEEDS_RESET
        if new & Status.FEATURES_OK and not self._accepts():
            new &= ~Status.FEATURES_OK
        before = self.status
        self.status = new | (before & Status.DEVICE_NEEDS_RESET)
        if new & Status.DRIVER_OK and not before & Status.DRIVER_OK:
            self.activated()

    def _accepts(self) -> bool:
        """§2.2: no feature that was not offered, and no legacy driver."""
        return not self.features & ~self.offered and bool(self.features & spec.F_VERSION_1)

    def reset(self) -> None:
        """Back to the start. §2.4."""
        for queue in self.queues:
            queue.reset()
        self.features = 0
        self.status = Status(0)
        self.problem = ""
        self.was_reset()

    def enable_queue(self, index: int) -> None:
        """The driver says that a queue is set up."""
        try:
            self.queues[index].enable(
                event_idx=bool(self.features & spec.F_EVENT_IDX),
                indirect=bool(self.features & spec.F_INDIRECT_DESC),
            )
        except QueueError as error:
            self.fail(error)

    def notify(self, index: int) -> None:
        """The driver's notification; whatever it did wrong ends in DEVICE_NEEDS_RESET. §2.1.2."""
        if index >= len(self.queues) or not self.live:
            return
        try:
            self.notified(index)
        except QueueError as error:
            self.fail(error)

    @property
    def live(self) -> bool:
        """Whether driver and device are in business."""
        return Status.DRIVER_OK in self.status and Status.DEVICE_NEEDS_RESET not in self.status

    def fail(self, error: QueueError) -> None:
        """Stop until the driver resets; it is told where it can be. §2.1.2."""
        self.problem = str(error)
        self.status |= Status.DEVICE_NEEDS_RESET
        if Status.DRIVER_OK in self.status:
            self.interrupt(False)

    def signal(self, queue: Queue) -> None:
        """Tell the driver of buffers given back, if it wants to know."""
        if queue.needs_notification():
            self.interrupt(True)
