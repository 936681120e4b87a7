"""Descriptors as a driver could write them that breaks the rules, or not."""

from __future__ import annotations

from support.tape import Tape
from support.watched import LAST, RAM_END, READABLE, TABLES, WRITABLE

from pykvm import layout
from pykvm.virtio.mmio import Reg
from pykvm.virtio.spec import DESC_F_INDIRECT as INDIRECT
from pykvm.virtio.spec import DESC_F_NEXT as NEXT
from pykvm.virtio.spec import DESC_F_WRITE as WRITE

NOWHERE = (
    RAM_END - 3, RAM_END, RAM_END + 0x8000, (1 << 64) - 16, (1 << 64) - 1, 1 << 63,
    layout.VIRTIO_BASE, layout.VIRTIO_BASE + Reg.QUEUE_NOTIFY, layout.RAM_HIGH_BASE,
)  # fmt: skip

# (gpa, size, flags): of what a device may do with the place, so that nothing honest trespasses.
Described = tuple[int, int, int]


def size_of(tape: Tape) -> int:
    return tape.one_of(
        16, 1, tape.below(65), 512, 4096, 0x1_0000, 0x2_0000, tape.number(2), tape.number(4)
    )


def within(zone: range, tape: Tape) -> tuple[int, int]:
    """(gpa, size) of something in it: near its start or anywhere, and often small."""
    half = len(zone) // 2
    place = zone.start + tape.one_of(0, tape.below(256), 0x1000 * tape.below(16), tape.number(2))
    return place, 1 + tape.one_of(tape.below(64), tape.number(1), tape.number(3)) % half


def buffer(tape: Tape) -> Described:
    """Mostly what a driver may give."""
    match tape.below(10):
        case 0 | 1 | 2:
            return *within(READABLE, tape), 0
        case 3 | 4 | 5 | 6:
            return *within(WRITABLE, tape), WRITE
        case 7:
            size_bytes = 1 + tape.number(2) % len(LAST)
            return LAST.stop - size_bytes, size_bytes, WRITE
        case 8:
            return tape.one_of(*NOWHERE), max(4, size_of(tape)), tape.one_of(0, WRITE)
    return tape.one_of(READABLE.start, WRITABLE.start), 0, 0


def table(tape: Tape) -> Described:
    """A descriptor of an indirect one."""
    # At an entry: what lies across two of them is an address that nobody gave.
    place = TABLES.start + 16 * tape.one_of(0, 0, 0, 1, tape.number(2) % 0x80)
    if tape.below(8) == 7:
        place = tape.one_of(*NOWHERE)
    count = 1 + tape.below(40)
    size_bytes = tape.one_of(16, 32, 64, 16 * count, 16 * count, size_of(tape))
    return place, size_bytes, tape.one_of(INDIRECT, INDIRECT, INDIRECT | WRITE, INDIRECT | NEXT)
