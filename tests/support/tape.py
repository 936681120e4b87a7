"""Choices read off bytes that Hypothesis draws at once: a draw for each costs more than a device.

The last two number what follows the others, so that there are always enough, and shrink to zeros.
"""

from __future__ import annotations

from hashlib import shake_128
from typing import TypeVar

from hypothesis import strategies as st

DRAWN_BYTES, SEED_BYTES, TAIL_BYTES = 26, 2, 200
T = TypeVar("T")


class Tape:
    """What a rule does, choice by choice. 0 is the plainest, and all there is behind the end."""

    def __init__(self, data: bytes) -> None:
        self._drawn = data
        self._data, seed = data[:-SEED_BYTES], data[-SEED_BYTES:]
        if any(seed):
            self._data += shake_128(seed).digest(TAIL_BYTES)
        self._place = 0

    def number(self, size_bytes: int) -> int:
        """Any unsigned number of that size."""
        place = self._place
        self._place = place + size_bytes
        return int.from_bytes(self._data[place : place + size_bytes], "little")

    def below(self, count: int) -> int:
        """A number less than `count`, which is 256 at most."""
        place = self._place
        self._place = place + 1
        return self._data[place] % count if place < len(self._data) else 0

    def one_of(self, *choices: T) -> T:
        """One of them."""
        return choices[self.below(len(choices))]

    def __repr__(self) -> str:
        return f"Tape({self._drawn!r})"


tapes = st.binary(min_size=DRAWN_BYTES, max_size=DRAWN_BYTES).map(Tape)
