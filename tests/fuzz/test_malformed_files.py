"""Damaged and hostile files: a loader gives an image that fits, or a LoadError."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.elf import Elf, Segment, Symbol

from pykvm.errors import LoadError
from pykvm.loader import parse_image
from pykvm.loader.place import place
from pykvm.memory import GuestMemory

MULTIBOOT = struct.pack("<3I", 0x1BADB002, 3, -0x1BADB005 & 0xFFFF_FFFF)
SEGMENTS = (Segment(MULTIBOOT + b"\x90\xf4"), Segment(b"data", 0x20_0000, memsz=0x1000))
SYMBOLS = (Symbol(b"main", 0x10_000C), Symbol(b"data", 0x20_0000))
SEEDS = [
    *(Elf(SEGMENTS, bits, SYMBOLS).build() for bits in (32, 64)),
    *(Elf(SEGMENTS[1:], bits, SYMBOLS).build() for bits in (32, 64)),
    struct.pack("<8I", 0x1BADB002, 1 << 16, -0x1BAEB002 & 0xFFFF_FFFF, 4096, 4096, 0, 8192, 4128)
    + b"\xf4",
]
VALUES = st.one_of(
    st.integers(0, 255),
    st.sampled_from([1 << 16, 1 << 31, 1 << 32, 1 << 52, 1 << 63]).flatmap(
        lambda edge: st.integers(edge - 2, edge + 1)
    ),
    st.just(2**64 - 1),
)
MUTATIONS = st.tuples(st.integers(0, 1 << 12), st.sampled_from([1, 2, 4, 8]), VALUES)


@pytest.fixture(scope="module")
def memory() -> Iterator[GuestMemory]:
    memory = GuestMemory()
    memory.add(0, 4 << 20)
    yield memory
    memory.close()


@settings(max_examples=1_000, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    mutations=st.lists(MUTATIONS, max_size=4),
    kept=st.one_of(st.none(), st.integers(0, 1 << 10)),
)
def test_damaged_files(
    memory: GuestMemory, seed: bytes, mutations: list[tuple[int, int, int]], kept: int | None
) -> None:
    data = bytearray(seed)
    for where, size, value in mutations:
        start = where % len(data)
        data[start : start + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    with contextlib.suppress(LoadError):
        place(parse_image(bytes(data[:kept])), memory)


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from([b"\x7fELF", b"\x7fELF\1\1\1", b"\x7fELF\2\1\1", MULTIBOOT]),
       rest=st.binary(max_size=512))  # fmt: skip
def test_files_that_only_begin_well(memory: GuestMemory, start: bytes, rest: bytes) -> None:
    with contextlib.suppress(LoadError):
        place(parse_image(start + rest), memory)
