"""The virtio-mmio transport, version 2: a page of registers in front of a device. §4.2."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.device import Device
from pykvm.virtio.queue import Queue
from pykvm.virtio.spec import Interrupt, Status

VENDOR_ID = int.from_bytes(b"PYKV", "little")


class Reg:
    """Offsets. §4.2.2."""

    MAGIC, VERSION, DEVICE_ID, VENDOR_ID = 0x00, 0x04, 0x08, 0x0C
    DEVICE_FEATURES, DEVICE_FEATURES_SEL = 0x10, 0x14
    DRIVER_FEATURES, DRIVER_FEATURES_SEL = 0x20, 0x24
    QUEUE_SEL, QUEUE_NUM_MAX, QUEUE_NUM, QUEUE_READY = 0x30, 0x34, 0x38, 0x44
    QUEUE_NOTIFY = 0x50
    INTERRUPT_STATUS, INTERRUPT_ACK = 0x60, 0x64
    STATUS = 0x70
    QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE = 0x80, 0x90, 0xA0  # low half; the high one behind
    SHM_LEN, SHM_BASE = 0xB0, 0xB8
    QUEUE_RESET = 0xC0
    CONFIG_GENERATION = 0xFC
    CONFIG = 0x100


_PLACES = {
    Reg.QUEUE_DESC: "desc_gpa",
    Reg.QUEUE_DRIVER: "driver_gpa",
    Reg.QUEUE_DEVICE: "device_gpa",
}
_NOTIFY = Reg.QUEUE_NOTIFY
_NO_SHM = 0xFFFF_FFFF  # §4.2.2: length and base of a region that does not exist


class Mmio:
    """A device's registers, for the bus.

    Args:
        device: what is behind them.
        memory: the machine's.
        set_line: raises or lowers the interrupt line.
        later: takes what the device puts off.
        work_off: called where there may be some of it, when a register was written.
    """

    def __init__(
        self,
        device: Device,
        memory: GuestMemory,
        set_line: Callable[[bool], None],
        later: Callable[[Callable[[], None]], None] = lambda work: None,
        work_off: Callable[[], None] = lambda: None,
    ) -> None:
        self.device = device
        self._work_off = work_off
        self._set_line = set_line
        device.attach(memory)
        device.interrupt = self._interrupt
        device.later = later
        self._clear()

    def _clear(self) -> None:
        self._device_features_sel = self._driver_features_sel = 0
        self._queue_sel = 0
        self._pending = Interrupt(0)
        self._generation = 0

    def _interrupt(self, used: bool) -> None:
        if not used:
            self._generation = (self._generation + 1) & 0xFFFF_FFFF
        self._pending |= Interrupt.USED_BUFFER if used else Interrupt.CONFIGURATION
        self._set_line(True)

    @property
    def _queue(self) -> Queue | None:
        queues = self.device.queues
        return queues[self._queue_sel] if self._queue_sel < len(queues) else None

    # Reading.

    def read(self, offset: int, size_bytes: int) -> int:
        """A register, or bytes of the configuration space."""
        if offset >= Reg.CONFIG:
            start = offset - Reg.CONFIG
            data = self.device.config()[start : start + size_bytes]
            return int.from_bytes(data, "little")
        if size_bytes != 4 or offset % 4:
            return 0  # §4.2.2.2: drivers use aligned 32-bit accesses
        return self._read_register(offset)

    def _read_register(self, offset: int) -> int:
        queue = self._queue
        match offset:
            case Reg.MAGIC:
                return spec.MMIO_MAGIC
            case Reg.VERSION:
                return spec.MMIO_VERSION
            case Reg.DEVICE_ID:
                return self.device.device_id
            case Reg.VENDOR_ID:
                return VENDOR_ID
            case Reg.DEVICE_FEATURES:
                return _half(self.device.offered, self._device_features_sel)
            case Reg.QUEUE_NUM_MAX:
                return 0 if queue is None else queue.size_max
            case Reg.QUEUE_READY:
                return 0 if queue is None else int(queue.ready)
            case Reg.INTERRUPT_STATUS:
                return int(self._pending)
            case Reg.STATUS:
                return int(self.device.status)
            case Reg.SHM_LEN | Reg.SHM_BASE | 0xB4 | 0xBC:
                return _NO_SHM
            case Reg.CONFIG_GENERATION:
                return self._generation
        return 0

    # Writing.

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Store to a register or to the configuration space."""
        if offset == _NOTIFY and size_bytes == 4:  # nearly all are
            self.device.notify(value)
            self._work_off()
        elif offset >= Reg.CONFIG:
            data = value.to_bytes(size_bytes, "little")
            self.device.write_config(offset - Reg.CONFIG, data)
        elif size_bytes == 4 and offset % 4 == 0:
            self._write_register(offset, value)

    def _write_register(self, offset: int, value: int) -> None:
        match offset:
            case Reg.INTERRUPT_ACK:
                self._pending &= ~Interrupt(value & 3)
                if not self._pending:
                    self._set_line(False)
            case Reg.DEVICE_FEATURES_SEL:
                self._device_features_sel = value
            case Reg.DRIVER_FEATURES_SEL:
                self._driver_features_sel = value
            case Reg.DRIVER_FEATURES:
                self._choose(value)
            case Reg.QUEUE_SEL:
                self._queue_sel = value
            case Reg.STATUS:
                self.device.set_status(value)
                self._work_off()
                if value == 0:
                    self._clear()
                    self._set_line(False)
            case _:
                self._write_queue(offset, value)

    def _choose(self, value: int) -> None:
        """§3.1.1: features are chosen before FEATURES_OK, and stay."""
        if Status.FEATURES_OK in self.device.status or self._driver_features_sel > 1:
            return
        shift = 32 * self._driver_features_sel
        kept = self.device.features & ~(0xFFFF_FFFF << shift)
        self.device.features = kept | value << shift

    def _write_queue(self, offset: int, value: int) -> None:
        queue = self._queue
        if queue is None:
            return
        match offset:
            case Reg.QUEUE_READY if value == 1 and not queue.ready:
                self.device.enable_queue(self._queue_sel)
            case Reg.QUEUE_READY if value == 0:
                self.device.reset_queue(self._queue_sel)
            case Reg.QUEUE_RESET if value == 1 and self.device.features & spec.F_RING_RESET:
                self.device.reset_queue(self._queue_sel)
            case _ if queue.ready:
                pass  # §4.2.2.2: a live queue's place does not change
            case Reg.QUEUE_NUM:
                queue.size = value
            case _ if offset & ~4 in _PLACES:
                name = _PLACES[offset & ~4]
                gpa = getattr(queue, name)
                low, high = gpa & 0xFFFF_FFFF, gpa >> 32
                setattr(queue, name, (value << 32 | low) if offset & 4 else (high << 32 | value))


def _half(value: int, select: int) -> int:
    return value >> 32 * select & 0xFFFF_FFFF if select < 2 else 0
