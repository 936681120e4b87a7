"""The block device by its driver's side: VIRTIO 1.2 §5.2."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pykvm import Machine
from pykvm.asm import assemble
from pykvm.testing import Driver
from pykvm.virtio import block, spec
from pykvm.virtio.block import HEAD, RANGE, S_IOERR, S_OK, S_UNSUPP, Block, Kind
from pykvm.virtio.disk import Disk, FileDisk, MemoryDisk
from pykvm.virtio.mmio import Reg
from pykvm.virtio.spec import Status

SIZE = 1 << 20
SECTORS = SIZE // 512


class Noted(MemoryDisk):
    """Counts flushes, and fails on demand."""

    flushes = 0
    broken = False

    def flush(self) -> None:
        self.flushes += 1
        if self.broken:
            raise OSError("no")


def content() -> bytes:
    return b"".join(struct.pack("<I", each * 2654435761 & 0xFFFF_FFFF) for each in range(SIZE // 4))


def start(disk: Disk, features: int | None = None, queues: int = 1) -> Driver:
    driver = Driver(Block(disk, queues))
    driver.start(features)
    return driver


def ask(driver: Driver, kind: int, sector: int = 0, data: bytes = b"", room: int = 0) -> bytes:
    """One request; the status byte is the last of what comes back."""
    queue = driver.queues[0]
    readable = [HEAD.pack(kind, 0, sector)] + ([data] if data else [])
    queue.offer(readable, [room, 1] if room else [1])
    queue.notify()
    driver.catch_up()
    (used,) = queue.collect()
    return b"".join(driver.memory.read(*each) for each in used.request.writable)


@pytest.fixture
def disk() -> Noted:
    return Noted(content())


@pytest.fixture(params=[0, spec.F_RING_PACKED], ids=["split", "packed"])
def driver(disk: Noted, request: pytest.FixtureRequest) -> Driver:
    features = block.F_FLUSH | block.F_CONFIG_WCE | request.param
    return start(disk, features | block.F_DISCARD | block.F_WRITE_ZEROES)


def test_reading_gives_the_disk_and_the_status(driver: Driver) -> None:
    for sector, count in ((0, 1), (5, 3), (SECTORS - 2, 2)):
        expected = content()[sector * 512 : (sector + count) * 512]
        assert ask(driver, Kind.IN, sector, room=count * 512) == expected + bytes([S_OK])


def test_data_and_status_may_share_buffers(driver: Driver) -> None:
    queue = driver.queues[0]
    head = HEAD.pack(Kind.IN, 0, 1)
    queue.offer([head[:3], head[3:]], [100, 413])
    queue.notify()
    (used,) = queue.collect()
    assert (used.written_bytes, used.data) == (513, content()[512:1024] + b"\0")


def test_writing_changes_the_disk(driver: Driver, disk: Noted) -> None:
    assert ask(driver, Kind.OUT, 9, b"w" * 1024) == bytes([S_OK])
    assert disk.data == content()[: 9 * 512] + b"w" * 1024 + content()[11 * 512 :]


def test_more_than_a_chunk_goes_in_one_request(driver: Driver, disk: Noted) -> None:
    driver = Driver(Block(MemoryDisk(4 << 20)))
    driver.start()
    data = content() * 3
    assert ask(driver, Kind.OUT, 1, data) == bytes([S_OK])
    assert ask(driver, Kind.IN, 1, room=len(data)) == data + bytes([S_OK])


@pytest.mark.parametrize(
    ("sector", "size_bytes"),
    [(SECTORS, 512), (SECTORS - 1, 1024), (1 << 55, 512), ((1 << 64) - 1, 512), (0, 511), (0, 513)],
)
def test_what_is_no_whole_sector_of_the_disk_is_an_error(
    driver: Driver, disk: Noted, sector: int, size_bytes: int
) -> None:
    assert ask(driver, Kind.IN, sector, room=size_bytes)[-1] == S_IOERR
    assert ask(driver, Kind.OUT, sector, b"x" * size_bytes)[-1] == S_IOERR
    assert disk.data == content()


def test_a_failed_read_claims_no_byte(driver: Driver) -> None:
    queue = driver.queues[0]
    queue.offer([HEAD.pack(Kind.IN, 0, SECTORS)], [512, 1])
    queue.notify()
    assert [used.written_bytes for used in queue.collect()] == [0]  # §2.7.8.2


def test_a_request_without_room_for_the_status_comes_back(driver: Driver, disk: Noted) -> None:
    queue = driver.queues[0]
    for readable in ([HEAD.pack(Kind.OUT, 0, 0)], [HEAD.pack(Kind.OUT, 0, 0), b"x" * 512]):
        for _ in range(2 * block.QUEUE_SIZE):
            queue.offer(readable, [])
            queue.notify()
            assert [used.written_bytes for used in queue.collect()] == [0]
    assert disk.data == content()
    assert Status.DEVICE_NEEDS_RESET not in driver.status


@pytest.mark.parametrize("head", [b"", b"\0", bytes(15)])
def test_a_short_head_is_an_error(driver: Driver, head: bytes) -> None:
    assert driver.request(0, head, 1) == bytes([S_IOERR])


def test_unknown_requests_are_unsupported(driver: Driver) -> None:
    for kind in (2, 3, 5, 7, 9, 10, 14, 15, 16, 26, 0x8000_0000, 0xFFFF_FFFF):
        assert ask(driver, kind) == bytes([S_UNSUPP])


def test_the_name_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a-name-of-more-than-twenty-letters"
    path.write_bytes(bytes(512))
    driver = start(FileDisk(path))
    assert ask(driver, Kind.GET_ID, room=20) == b"a-name-of-more-than-" + bytes([S_OK])
    assert ask(driver, Kind.GET_ID, room=19)[-1] == S_IOERR
    driver.device.close()


# Discard and write zeroes.


def test_zeroes_are_written(driver: Driver, disk: Noted) -> None:
    ranges = RANGE.pack(1, 2, 0) + RANGE.pack(8, 1, block.RANGE_UNMAP)
    assert ask(driver, Kind.WRITE_ZEROES, data=ranges) == bytes([S_OK])
    expected = bytearray(content())
    expected[512:1536], expected[4096:4608] = bytes(1024), bytes(512)
    assert disk.data == expected


def test_discard_keeps_to_its_ranges(driver: Driver, disk: Noted) -> None:
    assert ask(driver, Kind.DISCARD, data=RANGE.pack(1, 2, 0)) == bytes([S_OK])
    assert disk.data[:512] + disk.data[1536:] == content()[:512] + content()[1536:]


@pytest.mark.parametrize(
    ("kind", "flags"),
    [(Kind.DISCARD, 1), (Kind.DISCARD, 2), (Kind.WRITE_ZEROES, 2), (Kind.WRITE_ZEROES, 1 << 31)],
)
def test_unknown_flags_are_unsupported(
    driver: Driver, disk: Noted, kind: int, flags: int
) -> None:  # §5.2.6.2
    ranges = RANGE.pack(0, 1, 0) + RANGE.pack(1, 1, flags)
    assert ask(driver, kind, data=ranges) == bytes([S_UNSUPP])
    assert disk.data == content()


@pytest.mark.parametrize("kind", [Kind.DISCARD, Kind.WRITE_ZEROES])
@pytest.mark.parametrize(
    "ranges",
    [
        b"",
        bytes(15),
        bytes(17),
        RANGE.pack(0, 1, 0) * (block.RANGES_MAX + 1),
        RANGE.pack(0, 1, 0) + RANGE.pack(SECTORS - 1, 2, 0),
        RANGE.pack((1 << 64) - 1, 1, 0),
        RANGE.pack(0, 0xFFFF_FFFF, 0),
    ],
)
def test_ranges_that_cannot_be_are_errors(
    driver: Driver, disk: Noted, kind: int, ranges: bytes
) -> None:
    assert ask(driver, kind, data=ranges) == bytes([S_IOERR])
    assert disk.data == content()


# What is stable when. §5.2.6.2.


def test_a_flush_flushes_and_a_write_does_not(driver: Driver, disk: Noted) -> None:
    ask(driver, Kind.OUT, 0, bytes(512))
    assert disk.flushes == 0
    assert ask(driver, Kind.FLUSH) == bytes([S_OK])
    assert disk.flushes == 1


def test_a_flush_that_fails_is_an_error(driver: Driver, disk: Noted) -> None:
    disk.broken = True
    assert ask(driver, Kind.FLUSH) == bytes([S_IOERR])


def test_without_a_cache_each_write_is_stable(driver: Driver, disk: Noted) -> None:
    driver.registers.write(Reg.CONFIG + block.CONFIG_WRITEBACK, 1, 0)
    assert driver.config(block.CONFIG_WRITEBACK, 1) == b"\0"
    for count, (kind, data) in enumerate(
        [(Kind.OUT, bytes(512)), (Kind.WRITE_ZEROES, RANGE.pack(0, 1, 0))], 1
    ):
        assert ask(driver, kind, data=data) == bytes([S_OK])
        assert disk.flushes == count
    disk.broken = True
    assert ask(driver, Kind.OUT, data=bytes(512)) == bytes([S_IOERR])
    driver.start(block.F_FLUSH | block.F_CONFIG_WCE)
    assert driver.config(block.CONFIG_WRITEBACK, 1) == b"\1"


def test_a_driver_that_knows_no_flush_gets_stable_writes(disk: Noted) -> None:
    driver = start(disk, 0)
    ask(driver, Kind.OUT, 0, bytes(512))
    assert disk.flushes == 1


def test_the_cache_is_not_the_drivers_to_choose_unless_negotiated(disk: Noted) -> None:
    driver = start(disk, block.F_FLUSH)
    driver.registers.write(Reg.CONFIG + block.CONFIG_WRITEBACK, 1, 0)
    assert driver.config(block.CONFIG_WRITEBACK, 1) == b"\1"


# Configuration. §5.2.4.


def test_the_configuration_space(driver: Driver) -> None:
    fields = block.CONFIG.unpack(driver.config(0, block.CONFIG.size))
    assert fields[0] == SECTORS
    assert fields[1] * fields[2] == block.DATA_BYTES_MAX
    assert fields[3] == 512
    assert driver.config(block.CONFIG.size, 4) == bytes(4)


def test_a_read_only_disk_says_so_and_refuses() -> None:
    driver = start(MemoryDisk(content(), readonly=True))
    assert driver.features & block.F_RO
    assert not driver.features & (block.F_DISCARD | block.F_WRITE_ZEROES | block.F_CONFIG_WCE)
    assert ask(driver, Kind.OUT, data=bytes(512)) == bytes([S_IOERR])
    assert ask(driver, Kind.DISCARD, data=RANGE.pack(0, 1, 0)) == bytes([S_IOERR])
    assert ask(driver, Kind.WRITE_ZEROES, data=RANGE.pack(0, 1, 0)) == bytes([S_IOERR])
    assert ask(driver, Kind.FLUSH) == bytes([S_OK])
    assert ask(driver, Kind.IN, room=512)[:-1] == content()[:512]


def test_several_queues_reach_one_disk(disk: Noted) -> None:
    driver = start(disk, queues=4)
    assert driver.features & block.F_MQ
    assert driver.config(34, 2) == b"\4\0"
    for index in range(4):
        data = driver.request(index, HEAD.pack(Kind.IN, 0, index), 513)
        assert data == content()[index * 512 : (index + 1) * 512] + bytes([S_OK])


def test_a_disk_that_grew_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1024))
    device = Block(FileDisk(path))
    driver = Driver(device)
    driver.start()
    generation = driver.read(Reg.CONFIG_GENERATION)
    device.resized()
    assert not driver.line
    path.write_bytes(bytes(4096))
    device.resized()
    assert driver.acknowledge() == spec.Interrupt.CONFIGURATION
    assert driver.read(Reg.CONFIG_GENERATION) != generation
    assert driver.config(0, 8) == struct.pack("<Q", 8)
    assert ask(driver, Kind.IN, 7, room=512)[-1] == S_OK
    device.close()


def test_a_file_cut_short_is_an_error_for_its_request_only(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(content())
    driver = start(FileDisk(path))
    path.write_bytes(bytes(512))
    assert ask(driver, Kind.IN, 1, room=512)[-1] == S_IOERR
    assert ask(driver, Kind.IN, 0, room=512)[-1] == S_OK
    driver.device.close()


def test_a_disk_may_grow_while_its_guest_runs(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1024))
    seen: list[bytes] = []
    with Machine(devices=("exit",)) as vm:
        device = Block(FileDisk(path))
        vm.add_virtio(device)
        vm.load(assemble("spin: jmp spin", mode="long"))
        path.write_bytes(bytes(4096))
        vm.post(device.resized)
        vm.post(lambda: seen.append(device.config()[:8]))
        vm.post(vm.stop)
        vm.run(30)
    assert seen == [struct.pack("<Q", 8)]
    FileDisk(path).close()  # the machine has closed it
