"""The block device. §5.2."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from functools import partial

from pykvm.errors import UsageError
from pykvm.turn import TURN_BYTES
from pykvm.virtio import spec
from pykvm.virtio.device import Device, Parts, whole
from pykvm.virtio.disk import CHUNK_BYTES, SECTOR_BYTES, Disk, MemoryDisk, check_disk
from pykvm.virtio.limit import Limit
from pykvm.virtio.queue import Chain, Queue

QUEUE_SIZE = 256
QUEUES_MAX = 16
SEGMENT_BYTES_MAX = 256 << 10
SEGMENTS_MAX = QUEUE_SIZE - 2  # and the head and the status
DATA_BYTES_MAX = SEGMENT_BYTES_MAX * SEGMENTS_MAX
RANGES_MAX = 16  # of one discard or write-zeroes
RANGE_SECTORS_MAX = (8 << 20) // SECTOR_BYTES
ID_BYTES = 20
EXAMPLE_BYTES = 1 << 20  # the disk of a guest that asks for one by the device's name

# §5.2.3.
F_SIZE_MAX, F_SEG_MAX, F_RO, F_BLK_SIZE = 1 << 1, 1 << 2, 1 << 5, 1 << 6
F_FLUSH, F_TOPOLOGY, F_CONFIG_WCE, F_MQ = 1 << 9, 1 << 10, 1 << 11, 1 << 12
F_DISCARD, F_WRITE_ZEROES = 1 << 13, 1 << 14

# §5.2.6.
S_OK, S_IOERR, S_UNSUPP = 0, 1, 2
_OK = bytes((S_OK,))
RANGE_UNMAP = 1
HEAD = struct.Struct("<IIQ")  # type, reserved, sector
RANGE = struct.Struct("<QII")  # sector, number of sectors, flags

# §5.2.4: capacity, size_max, seg_max, geometry, blk_size, topology, writeback, num_queues,
# discard's three limits, write-zeroes' two and whether it may unmap.
CONFIG = struct.Struct("<QII4xIBBHIBxHIIIIIB3x")
CONFIG_WRITEBACK = 32


class Kind:
    """Types of request. §5.2.6."""

    IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13


class Block(Device):
    """A disk.

    Args:
        disk: what is behind it; closed with the device.
        queues: how many request queues it has, QUEUES_MAX at most.
        limit: how many requests and bytes it serves in a second; the rest waits its turn.

    Raises:
        UsageError: one of them is something else.
    """

    device_id = spec.ID_BLOCK

    def __init__(
        self, disk: Disk | None = None, queues: int = 1, limit: Limit | None = None
    ) -> None:
        super().__init__()
        if limit is not None and not isinstance(limit, Limit):
            raise UsageError(f"its limit is a Limit of pykvm.virtio.limit, not {limit!r}")
        self.asynchronous = limit is not None
        self._limit = limit
        self._held: dict[int, Chain] = {}  # by queue: the request that has to wait
        self._waiting: set[int] = set()
        self.disk = MemoryDisk(EXAMPLE_BYTES) if disk is None else check_disk(disk)
        self.queue_sizes = (QUEUE_SIZE,) * whole(queues, 1, QUEUES_MAX, "the number of queues")
        self.own_features = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY | F_FLUSH
        if queues > 1:
            self.own_features |= F_MQ
        if self.disk.readonly:
            self.own_features |= F_RO
        else:
            self.own_features |= F_CONFIG_WCE | F_DISCARD | F_WRITE_ZEROES
        self._cached = True

    # Configuration.

    @property
    def writeback(self) -> bool:
        """Whether writes wait for a flush to become stable. §5.2.5, §5.2.6.2."""
        return self._cached and bool(self.features & F_FLUSH)

    def config(self) -> bytes:
        """§5.2.4."""
        blocks = self.disk.block_bytes // SECTOR_BYTES
        return CONFIG.pack(
            self.disk.size_bytes // SECTOR_BYTES, SEGMENT_BYTES_MAX, SEGMENTS_MAX, SECTOR_BYTES,
            blocks.bit_length() - 1, 0, blocks, 0,
            self.writeback, len(self.queue_sizes),
            RANGE_SECTORS_MAX, RANGES_MAX, blocks, RANGE_SECTORS_MAX, RANGES_MAX, 1,
        )  # fmt: skip

    def write_config(self, offset: int, data: bytes) -> None:
        """Only `writeback` can be written, where that was negotiated."""
        if offset == CONFIG_WRITEBACK and len(data) == 1 and self.features & F_CONFIG_WCE:
            self._cached = bool(data[0])

    def resized(self) -> None:
        """Look at the disk's size again, and tell the driver where it has changed. §5.2.6.2.

        Call it under the machine's lock.

        Raises:
            DiskError: the image is no whole number of sectors now.
            ClosedError: its machine is closed.
        """
        self.check_open()
        before = self.disk.size_bytes
        self.disk.measure()
        if self.disk.size_bytes != before and self.live:
            self.interrupt(False)

    def was_reset(self) -> None:
        """Back to a cache that is written back."""
        self._cached = True
        self._held.clear()

    def queue_was_reset(self, index: int) -> None:
        """Forget the request that has to wait."""
        self._held.pop(index, None)

    def close(self) -> None:
        """Close the disk."""
        self.disk.close()

    # Requests. §5.2.6.

    def notified(self, index: int) -> None:
        """Do what the driver has put there."""
        queue = self.queues[index]
        self.serve(queue, self._admitted(index, queue), self._answer)

    def _admitted(self, index: int, queue: Queue) -> Iterator[Chain]:
        """The requests whose turn it is."""
        held = self._held.pop(index, None)
        for chain in itertools.chain([held] if held else [], queue):
            if self._limit is not None and (wait_s := self._limit.admit(_data_bytes(chain))):
                self._held[index] = chain
                self._go_on_later(index, wait_s)
                break
            yield chain

    def _go_on_later(self, index: int, wait_s: float) -> None:
        if index not in self._waiting:
            self._waiting.add(index)
            self.post(partial(self._go_on, index), wait_s)

    def _go_on(self, index: int) -> None:
        self._waiting.discard(index)
        self.notify(index)

    def _answer(self, chain: Chain) -> int | Parts:
        """Answer one request; how many bytes from the start of its buffers are written."""
        room_bytes = chain.writable_bytes - 1  # the status is the last byte
        if room_bytes < 0:
            return 0  # there is nowhere to say anything
        try:
            done = self._execute(chain, room_bytes)
        except BaseException as error:
            return _ended(chain, room_bytes, 0, error)
        if not isinstance(done, int):
            return self._in_parts(chain, room_bytes, done)
        chain.write(_OK, room_bytes)
        return done + 1 if done == room_bytes else done

    @staticmethod
    def _in_parts(chain: Chain, room_bytes: int, parts: Parts) -> Parts:
        try:
            written = yield from parts
        except GeneratorExit:  # the queue was reset: the buffers are the driver's again
            raise
        except BaseException as error:
            return _ended(chain, room_bytes, 0, error)
        return _ended(chain, room_bytes, written)

    def _execute(self, chain: Chain, room_bytes: int) -> int | Parts:
        if chain.readable_bytes < HEAD.size:
            raise _Refused(S_IOERR)
        kind, _, sector = HEAD.unpack(chain.read(0, HEAD.size))
        match kind:
            case Kind.IN:
                return self._read(chain, sector, room_bytes)
            case Kind.OUT | Kind.DISCARD | Kind.WRITE_ZEROES if self.disk.readonly:
                raise _Refused(S_IOERR)
            case Kind.OUT:
                return self._write(chain, sector)
            case Kind.FLUSH:
                self._flush()
            case Kind.GET_ID:
                return self._identify(chain, room_bytes)
            case Kind.DISCARD:
                return self._change_ranges(chain, self.disk.discard, 0)
            case Kind.WRITE_ZEROES:
                return self._change_ranges(chain, self.disk.clear, RANGE_UNMAP)
            case _:
                raise _Refused(S_UNSUPP)
        return 0

    def _read(self, chain: Chain, sector: int, size_bytes: int) -> int | Parts:
        self._check(sector, size_bytes)
        start = sector * SECTOR_BYTES
        if size_bytes > CHUNK_BYTES:
            return self._read_parts(chain, start, size_bytes)
        if size_bytes:
            self._read_chunk(chain, start, 0, size_bytes)
        return size_bytes

    def _read_parts(self, chain: Chain, start: int, size_bytes: int) -> Parts:
        for offset, length in _chunks(0, size_bytes):
            self._read_chunk(chain, start, offset, length)
            yield
        return size_bytes

    def _read_chunk(self, chain: Chain, start: int, offset: int, size_bytes: int) -> None:
        data = self.disk.read(start + offset, size_bytes)
        if not data or len(data) != size_bytes:
            raise _Refused(S_IOERR)
        chain.write(data, offset)
        self.turn.spend(size_bytes)

    def _write(self, chain: Chain, sector: int) -> int | Parts:
        size_bytes = chain.readable_bytes - HEAD.size
        self._check(sector, size_bytes)
        start = sector * SECTOR_BYTES
        if size_bytes <= CHUNK_BYTES:
            self._write_chunk(chain, start, 0, size_bytes)
            self._settle()
            return 0
        return self._write_parts(chain, start, size_bytes)

    def _write_parts(self, chain: Chain, start: int, size_bytes: int) -> Parts:
        for offset, length in _chunks(0, size_bytes):
            self._write_chunk(chain, start, offset, length)
            yield
        self._settle()
        return 0

    def _write_chunk(self, chain: Chain, start: int, offset: int, size_bytes: int) -> None:
        self.disk.write(start + offset, chain.read(HEAD.size + offset, size_bytes))
        self.turn.spend(size_bytes)

    def _identify(self, chain: Chain, room_bytes: int) -> int:
        if room_bytes < ID_BYTES:
            raise _Refused(S_IOERR)
        name = self.disk.name.encode("ascii", "replace")[:ID_BYTES]
        return chain.write(name.ljust(ID_BYTES, b"\0"))

    def _change_ranges(
        self, chain: Chain, change: Callable[[int, int], None], known_flags: int
    ) -> Parts:
        """Discard or clear: all ranges are checked before the first is touched."""
        size_bytes = chain.readable_bytes - HEAD.size
        if size_bytes % RANGE.size or not 0 < size_bytes <= RANGES_MAX * RANGE.size:
            raise _Refused(S_IOERR)
        ranges = list(RANGE.iter_unpack(chain.read(HEAD.size, size_bytes)))
        if any(flags & ~known_flags for _, _, flags in ranges):
            raise _Refused(S_UNSUPP)
        for sector, count, _ in ranges:
            if count > RANGE_SECTORS_MAX:
                raise _Refused(S_IOERR)
            self._check(sector, count * SECTOR_BYTES)
        for sector, count, _ in ranges:
            for start, length in _chunks(sector * SECTOR_BYTES, count * SECTOR_BYTES):
                change(start, length)
                self.turn.spend(length)
                yield
        self._settle()
        return 0

    def _settle(self) -> None:
        """Where no flush is to come, what is reported as written is stable. §5.2.6.2."""
        if not self.writeback:
            self._flush()

    def _flush(self) -> None:
        self.disk.flush()
        self.turn.spend(TURN_BYTES)  # it may wait for the host's storage

    def _check(self, sector: int, size_bytes: int) -> None:
        """Whole sectors of the disk, no more than was said to be possible."""
        end = sector * SECTOR_BYTES + size_bytes
        if size_bytes % SECTOR_BYTES or size_bytes > DATA_BYTES_MAX or end > self.disk.size_bytes:
            raise _Refused(S_IOERR)


class _Refused(Exception):
    """A request that cannot be done, and the status that says so."""

    def __init__(self, status: int) -> None:
        self.status = status


def _ended(chain: Chain, room_bytes: int, written: int, error: BaseException | None = None) -> int:
    """Say in the last byte how it went; what a disk should not raise ends the run."""
    status = S_OK if error is None else error.status if isinstance(error, _Refused) else S_IOERR
    chain.write(bytes((status,)), room_bytes)
    if error is not None and not isinstance(error, _Refused | OSError):
        raise error
    return written + 1 if written == room_bytes else written


def _data_bytes(chain: Chain) -> int:
    return max(0, chain.readable_bytes + chain.writable_bytes - HEAD.size - 1)


def _chunks(start: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """A range in pieces that end at multiples of CHUNK_BYTES, as (start, length)."""
    end = start + size_bytes
    while start < end:
        stop = min(end, (start // CHUNK_BYTES + 1) * CHUNK_BYTES)
        yield start, stop - start
        start = stop
