"""What watches the devices sees what it must."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support.watched import ISLAND, QUEUES, READABLE, TABLES, WRITABLE, Trespass, WatchedMemory

TOUCH = """
import ctypes, sys
from support.watched import ISLAND, WatchedMemory
gpa, writes = map(int, sys.argv[1:])
memory = WatchedMemory()
region = memory.regions[gpa in ISLAND]
place = ctypes.c_uint8.from_address(region.hva + gpa - region.gpa)
before = place.value
with memory.watched():
    if writes:
        place.value = 1
    else:
        before = place.value
place.value = before  # nothing is closed any more
"""


@pytest.mark.parametrize("writes", (0, 1))
@pytest.mark.parametrize(
    ("gpa", "touches"),
    ((0, 0), (QUEUES.start, 2), (READABLE.start, 1), (READABLE.stop, 0), (WRITABLE.stop - 1, 2),
     (WRITABLE.stop, 0), (TABLES.start, 1), (ISLAND.start, 0)),
)  # fmt: skip
def test_a_touch_of_closed_pages_ends_the_process(gpa: int, touches: int, writes: int) -> None:
    """Of those it may read (1), or read and write (2), none does."""
    path = os.pathsep.join(each for each in sys.path if each)
    done = subprocess.run(
        [sys.executable, "-c", TOUCH, str(gpa), str(writes)], env={"PYTHONPATH": path}, check=False
    )
    assert done.returncode == (0 if touches > writes else -signal.SIGSEGV)


@pytest.mark.parametrize("gpa", (0, READABLE.stop - 1, WRITABLE.start, ISLAND.start))
def test_an_access_elsewhere_is_a_trespass(gpa: int) -> None:
    memory = WatchedMemory()
    memory.read(gpa, 2)
    with memory.watched(), pytest.raises(Trespass):
        memory.read(gpa, 2)
    memory.close()
