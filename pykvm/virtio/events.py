"""Notifications and interrupts without exits: eventfds between the guest and the machine's thread.

Nothing of a device knows of it: `Doorbells` calls the same `notify` that a store to the register
does, and `Line` is called in the place of the backend's own line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from pykvm.backend.protocol import Vm
from pykvm.virtio.mmio import Reg
from pykvm.worker import Worker

_FLAGS = os.EFD_CLOEXEC | os.EFD_NONBLOCK


class Doorbells:
    """An eventfd for each queue, which the guest's store to QueueNotify signals. §4.2.2.

    Args:
        gpa: of the device's registers.
        queues: how many it has; a notification of another one exits.
        notify: called with the number of a queue on the machine's thread, under its lock.
    """

    def __init__(
        self, vm: Vm, worker: Worker, gpa: int, queues: int, notify: Callable[[int], None]
    ) -> None:
        self._vm = vm
        self._worker = worker
        self._gpa = gpa + Reg.QUEUE_NOTIFY
        self._fds: list[int] = []
        for index in range(queues):
            fd = os.eventfd(0, _FLAGS)
            self._fds.append(fd)
            vm.add_ioeventfd(fd, self._gpa, 4, datamatch=index)
            self._watch(fd, partial(notify, index))

    def _watch(self, fd: int, notify: Callable[[], None]) -> None:
        self._worker.watch(fd, partial(self._rung, fd, notify))

    def _rung(self, fd: int, notify: Callable[[], None]) -> None:
        os.eventfd_read(fd)  # before the queue is looked at, so that no later ring is lost
        try:
            notify()
        except BaseException:  # which ends the watch, and the run, but not the next one
            self._worker.post(partial(self._watch, fd, notify))
            raise

    def close(self) -> None:
        """Give the eventfds back; the machine's thread has ended."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


class Line:
    """A level-triggered line as an irqfd: raised by a write, dropped by the interrupt's end.

    Whether it is to be raised again is asked at that end, by the resample eventfd.
    """

    def __init__(self, vm: Vm, worker: Worker, gsi: int) -> None:
        self._raise_fd = os.eventfd(0, _FLAGS)
        self._ended_fd = os.eventfd(0, _FLAGS)
        self._wanted = self._raised = False
        vm.add_irqfd(self._raise_fd, gsi, self._ended_fd)
        worker.watch(self._ended_fd, self._ended)

    def set(self, level: bool) -> None:
        """What the device wants; under the machine's lock."""
        self._wanted = level
        if level and not self._raised:
            self._raised = True
            os.eventfd_write(self._raise_fd, 1)

    def _ended(self) -> None:
        os.eventfd_read(self._ended_fd)
        self._raised = False
        self.set(self._wanted)

    def close(self) -> None:
        """Give the eventfds back; the machine's thread has ended."""
        os.close(self._raise_fd)
        os.close(self._ended_fd)
