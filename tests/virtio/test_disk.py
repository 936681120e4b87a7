"""What block devices read and write, without a device."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.errors import DiskError
from pykvm.virtio.disk import Disk, FileDisk, MemoryDisk, OverlayDisk

SIZE = 64 << 10


def content(size_bytes: int = SIZE) -> bytes:
    return bytes(each * 7 % 251 for each in range(size_bytes))


class Vast(Disk):
    """Larger than any file can be."""

    size_bytes = (1 << 63) - 4096


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(content())
    return path


MAKERS: dict[str, Callable[[Path], Disk]] = {
    "memory": lambda path: MemoryDisk(path.read_bytes()),
    "file": FileDisk,
    "overlay": lambda path: OverlayDisk(FileDisk(path, readonly=True)),
    "overlay over an overlay": lambda path: OverlayDisk(OverlayDisk(MemoryDisk(content()))),
}


@pytest.fixture(params=MAKERS)
def disk(request: pytest.FixtureRequest, image: Path) -> Iterator[Disk]:
    made = MAKERS[request.param](image)
    yield made
    made.close()


offsets = st.integers(0, SIZE)
changes = st.lists(
    st.tuples(st.sampled_from(["write", "clear"]), offsets, st.integers(0, 12 << 10)), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(changes=changes, kind=st.sampled_from(sorted(MAKERS)))
def test_a_disk_holds_what_was_written_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]], kind: str
) -> None:
    path = tmp_path_factory.mktemp("disk") / "disk.img"
    path.write_bytes(content())
    disk, model = MAKERS[kind](path), bytearray(content())
    for number, (change, offset, size_bytes) in enumerate(changes):
        size_bytes = min(size_bytes, SIZE - offset)
        data = bytes(size_bytes) if change == "clear" else bytes([number + 1]) * size_bytes
        if change == "clear":
            disk.clear(offset, size_bytes)
        else:
            disk.write(offset, data)
        model[offset : offset + size_bytes] = data
        assert disk.read(offset, size_bytes) == data
    assert disk.read(0, SIZE) == model
    disk.close()
    assert path.read_bytes() == (model if kind == "file" else content())


def test_what_is_discarded_leaves_its_neighbours_alone(disk: Disk) -> None:
    disk.discard(5000, 20000)
    assert disk.read(0, 5000) == content()[:5000]
    assert disk.read(25000, SIZE - 25000) == content()[25000:]


def test_clearing_gives_storage_back(image: Path) -> None:
    disk = FileDisk(image)
    disk.flush()
    before = image.stat().st_blocks
    disk.clear(0, SIZE)
    disk.flush()
    disk.close()
    assert image.stat().st_blocks < before
    assert image.read_bytes() == bytes(SIZE)


def test_clearing_works_where_the_file_system_has_no_holes(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileDisk, "_punch", lambda self, offset, size_bytes: False)
    disk = FileDisk(image)
    disk.clear(512, SIZE - 1024)
    disk.discard(0, SIZE)
    disk.close()
    assert image.read_bytes() == content()[:512] + bytes(SIZE - 1024) + content()[-512:]


def test_a_file_that_became_shorter_is_an_error(image: Path) -> None:
    disk = FileDisk(image)
    os.truncate(image, 512)
    with pytest.raises(OSError, match="shorter"):
        disk.read(0, 1024)
    disk.close()


def test_a_file_that_became_longer_is_measured_again(image: Path) -> None:
    disk = FileDisk(image)
    os.truncate(image, 2 * SIZE)
    assert disk.size_bytes == SIZE
    disk.measure()
    assert disk.size_bytes == 2 * SIZE
    disk.close()


def test_one_writer_or_many_readers(image: Path) -> None:
    writer = FileDisk(image)
    with pytest.raises(DiskError, match="in use"):
        FileDisk(image)
    with pytest.raises(DiskError, match="in use"):
        FileDisk(image, readonly=True)
    writer.close()
    readers = [FileDisk(image, readonly=True) for _ in range(3)]
    with pytest.raises(DiskError, match="in use"):
        FileDisk(image)
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("size_bytes", [1, 511, 513])
def test_an_image_is_whole_sectors(tmp_path: Path, size_bytes: int) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(size_bytes))
    with pytest.raises(DiskError, match="no whole number of 512-byte sectors"):
        FileDisk(tmp_path / "disk.img")
    with pytest.raises(DiskError, match="no whole number"):
        MemoryDisk(size_bytes)


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No such file"):
        FileDisk(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(DiskError, match="neither a file nor a block device"):
            FileDisk(path)
    with pytest.raises(DiskError):
        FileDisk(tmp_path)


def test_an_overlay_takes_memory_for_what_is_changed(tmp_path: Path) -> None:
    def resident_kib() -> int:
        (line,) = re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(line)

    size_bytes = 1 << 40
    path = tmp_path / "sparse.img"
    path.touch()
    os.truncate(path, size_bytes)
    before = resident_kib()
    disk = OverlayDisk(FileDisk(path, readonly=True), tmp_path)
    for offset in (0, size_bytes // 2, size_bytes - 512):
        disk.write(offset, b"new!" * 128)
        assert disk.read(offset, 512) == b"new!" * 128
    assert resident_kib() - before < 64 << 10  # a byte a cluster would be 256 MiB
    disk.close()


def test_no_descriptor_is_left(image: Path) -> None:
    before = descriptors()
    for make in MAKERS.values():
        disk = make(image)
        disk.close()
        disk.close()
    with pytest.raises(DiskError):
        FileDisk("/dev/null")
    with pytest.raises(DiskError):
        OverlayDisk(Vast())
    assert descriptors() == before
