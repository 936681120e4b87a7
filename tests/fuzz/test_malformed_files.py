"""Damaged and hostile files: a loader gives an image that fits, or a LoadError.

Sources and heads are made of what is expensive, deep or leads elsewhere, in any order and number.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.elf import Elf, Segment, Symbol

from pykvm.asm import assemble
from pykvm.errors import LoadError
from pykvm.guest import parse_guest
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


# Sources and heads. What hung or ate memory once is an example, and runs every time.

PIECES = st.sampled_from(
    [
        "nop",
        "a:",
        "b: ",
        "\\a",
        "\\+",
        "\\@",
        '"',
        "'",
        '\\"',
        "/*",
        "*/",
        "#",
        ";",
        "\n",
        ",",
        "(",
        ")",
        "[",
        "1",
        "-1",
        "0x" + "f" * 40,
        "1 << 24",
        "1 << 128",
        " + ",
        " - ",
        " * ",
        ".",
        "x = y + 1",
        "y = x",
        "\n.rept 300\n",
        "\n.rept 9000\n",
        "\n.endr\n",
        "\n.irp a, 1, 2\n",
        "\n.macro m a\n",
        "\n.endm\n",
        "\nm ",
        "\nm m\n",
        "\n.if 0\n",
        "\n.if 1\n",
        "\n.else\n",
        "\n.endif\n",
        ".fill ",
        ".space ",
        ".org ",
        ".balign ",
        ".byte ",
        ".quad ",
        ".ascii ",
        '.include "own.inc"',
        '.include "../up.inc"',
        "mov rax, [rbx + \\+]",
        "jmp x",
        "rep ",
        "lock ",
        "x" * 3000,
        "\x1b[2J",
        "\0",
        "\u202e",
    ]
)
KEYS = st.sampled_from(
    [
        "cpus",
        "load",
        "memory",
        "mode",
        "devices",
        "append",
        "[expect]",
        "exits",
        "a",
        ".a" * 200,
        " = ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n# ",
        '"',
        "'",
        "9" * 400,
        "0x" + "f" * 20,
        "1e999",
        "inf",
        "1979-05-27",
        "\x1b",
        '"full"',
        "true",
        "\n# ///\n",
        "hlt\n",
    ]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guests") / "guest"
    folder.mkdir()
    (folder / "own.inc").write_text('nop\n.include "own.inc"\n')
    (folder.parent / "up.inc").write_text("secret words\n")
    return folder


@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.tuples(PIECES, st.sampled_from([1, 1, 1, 3, 100])), max_size=12))
@example(pieces=[(".ascii ", 1), ('"', 1), ('\\"', 100_000)])
@example(pieces=[("\n.rept 9000\n", 1), ("mov rax, [rbx + \\+]", 1), ("\n.endr\n", 1)])
@example(pieces=[("\n.rept 9000\n", 1), (".fill ", 1), ("1 << 24", 1), ("\n.endr\n", 1)])
@example(pieces=[("b: ", 1_300)])
@example(pieces=[("x", 3_000)])
def test_sources_of_expensive_pieces(folder: Path, pieces: list[tuple[str, int]]) -> None:
    source = "".join(text * count for text, count in pieces)
    try:
        assemble(source, include_dir=folder)
    except LoadError as error:
        assert str(error).isprintable() or "\t" in str(error)
        assert len(str(error)) < 2_000
        assert "secret" not in str(error)


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.tuples(KEYS, st.sampled_from([1, 1, 1, 2, 50])), max_size=12))
@example(pieces=[("a", 1), (".a" * 200, 100), (" = ", 1), ("9" * 400, 1)])
@example(pieces=[("cpus", 1), (" = ", 1), ("9" * 400, 13)])
@example(pieces=[("devices", 1), (" = ", 1), ("[", 4_000)])
def test_heads_of_expensive_pieces(pieces: list[tuple[str, int]]) -> None:
    toml = "".join(text * count for text, count in pieces)
    try:
        parse_guest(f"# /// pykvm\n# {toml}\n# ///\nhlt\n")
    except LoadError as error:
        assert str(error).isprintable() or "\t" in str(error)
