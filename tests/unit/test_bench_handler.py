"""The row of `pykvm bench floor` about Python handlers: its sides, not how long they take."""

from __future__ import annotations

import pytest

from pykvm import host
from pykvm.bench import floor, handler
from pykvm.bench.exits.user import Handler

needs_kvm = pytest.mark.skipif(host.problem() is not None, reason=str(host.problem()))


class Noting(Handler):
    def __init__(self) -> None:
        self.writes: list[tuple[int, int, int]] = []

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self.writes.append((offset, size_bytes, value))


def test_the_calls_that_are_needed_are_made_once_more() -> None:
    last = Noting()
    handler._Twice(last).write(0, 1, 0x41)
    assert last.writes == [(0, 1, 0x41)]


@needs_kvm
def test_the_row_has_both_sides() -> None:
    contest = next(each for each in floor.CONTESTS if "handler" in each.group)
    (row,) = contest.measure(None, 1, [])
    assert not row.why
    assert row.values.keys() == {"floor_ns", "ours_ns"}
    assert row.figure is not None
