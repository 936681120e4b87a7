"""What a guest flushed is in the file when pykvm is killed, at whatever moment. VIRTIO §5.2.6.2."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pykvm.testing.plugin import problem
from pykvm.virtio.disk import FileDisk

ROOT = Path(__file__).parents[2]
BLOCKS, BLOCK_BYTES = 64, 4096
KILLS = 8

# Writes number n all over block n % 64, flushes, and reports n; again and again.
GUEST = """\
# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "virtio-block"]
# timeout = "60s"
# ///

.include "macros.inc"
.include "virtio64.inc"
QUEUE = 0x20000
HEAD = 0x21000
STATUS = 0x21010
DATA = 0x22000

    mov eax, 2
    call virtio_find
    jc wrong
    mov eax, 1 << 9 # FLUSH
    call virtio_begin
    mov ebx, QUEUE
    xor eax, eax
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK
    xor r14d, r14d
again:
    inc r14d
    mov edi, DATA
    mov ecx, 1024
    mov eax, r14d
    rep stosd

    and eax, 63
    shl eax, 3
    mov dword ptr [HEAD + 8], eax
    mov dword ptr [HEAD], 1 # OUT
    virtq_describe 0, HEAD, 16, VIRTQ_NEXT, 1
    virtq_describe 1, DATA, 4096, VIRTQ_NEXT, 2
    call request
    mov dword ptr [HEAD], 4 # FLUSH
    virtq_describe 0, HEAD, 16, VIRTQ_NEXT, 2
    call request

    mov eax, r14d
    mov ecx, 4
report:
    out DEBUGCON_PORT, al
    shr eax, 8
    loop report
    jmp again
wrong:
    exit 1

request:
    mov byte ptr [STATUS], 0xFF
    virtq_describe 2, STATUS, 1, VIRTQ_WRITE, 0
    virtq_offer 0
    virtio_notify 0
    call virtq_wait
    cmp byte ptr [STATUS], 0
    jne wrong
    ret

.include "virtio64_code.inc"
"""


def run_and_kill(guest: Path, image: Path, backend: str, delay_s: float) -> int:
    """The last number that was reported."""
    command = [str(Path(sys.executable).with_name("pykvm")), "run", "--backend", backend]
    process = subprocess.Popen([*command, "--disk", str(image), str(guest)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    reports = process.stdout.read(4)
    time.sleep(delay_s)
    process.kill()
    reports += process.stdout.read()
    process.stdout.close()
    process.wait()
    numbers = [number for (number,) in struct.iter_unpack("<I", reports[: len(reports) & ~3])]
    assert numbers == list(range(1, len(numbers) + 1))
    return len(numbers)


@pytest.mark.parametrize("backend", ["kvm", "emu"])
def test_what_was_flushed_survives_the_process(tmp_path: Path, backend: str) -> None:
    if why := problem(backend):
        pytest.skip(why)
    guest = tmp_path / "guest.S"
    guest.write_text(GUEST)
    for name in ("macros.inc", "virtio64.inc", "virtio64_code.inc"):
        (tmp_path / name).symlink_to(ROOT / "guests" / name)
    image = tmp_path / "disk.img"
    generator = random.Random(backend)
    for _ in range(KILLS):
        image.write_bytes(bytes(BLOCKS * BLOCK_BYTES))
        last = run_and_kill(guest, image, backend, generator.uniform(0, 0.1))
        content = image.read_bytes()
        # The next two may be on their way over older ones.
        for number in range(max(1, last + 3 - BLOCKS), last + 1):
            start = number % BLOCKS * BLOCK_BYTES
            expected = struct.pack("<I", number) * (BLOCK_BYTES // 4)
            assert content[start : start + BLOCK_BYTES] == expected, (number, last)


def test_a_flush_reaches_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process's death leaves the host's cache alone, the host's own would not."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    (tmp_path / "disk.img").write_bytes(bytes(512))
    disk = FileDisk(tmp_path / "disk.img")
    disk.write(0, b"x")
    assert not synced
    disk.flush()
    assert len(synced) == 1
    disk.close()
