"""ELF executables: what is taken from them, and what is refused with which words."""

from __future__ import annotations

import pytest
from support.elf import (
    EM_X86_64,
    ET_CORE,
    ET_REL,
    PT_DYNAMIC,
    PT_INTERP,
    PT_NOTE,
    STT_FILE,
    Elf,
    Segment,
    Symbol,
)

from pykvm.errors import LoadError
from pykvm.loader import elf, parse_image
from pykvm.loader.image import Mode

CODE = Segment(b"\x90\x90\xf4")
BASE = CODE.paddr


@pytest.mark.parametrize(("bits", "mode"), [(64, Mode.LONG), (32, Mode.PROTECTED)])
def test_segments_go_to_their_physical_addresses(bits: int, mode: Mode) -> None:
    data = Segment(b"data", paddr=0x20_0000, memsz=0x1000)
    bss = Segment(paddr=0x30_0000, memsz=1 << 30)
    image = parse_image(Elf([CODE, data, bss], bits).build())
    assert (image.mode, image.entry) == (mode, BASE)
    assert image.pieces == ((BASE, b"\x90\x90\xf4"), (0x20_0000, b"data"))
    assert image.zeros == ((0x20_0004, 0xFFC), (0x30_0000, 1 << 30))


def test_a_mode_can_be_chosen() -> None:
    assert parse_image(Elf([CODE], 64).build(), mode="user").mode is Mode.USER
    assert parse_image(Elf([CODE], 32).build(), mode="real").mode is Mode.REAL


def test_the_entry_point_is_translated_through_its_segment() -> None:
    high = Segment(b"\x90\xf4", paddr=0x20_0000, vaddr=0xFFFF_FFFF_8020_0000)
    image = parse_image(Elf([high], header={"entry": 0xFFFF_FFFF_8020_0001}).build())
    assert image.entry == 0x20_0001
    assert image.pieces == ((0x20_0000, b"\x90\xf4"),)


def test_a_physical_entry_point_of_a_higher_half_kernel_is_taken_as_it_is() -> None:
    high = Segment(b"\x90\xf4", paddr=0x20_0000, vaddr=0xFFFF_FFFF_8020_0000)
    assert parse_image(Elf([high], header={"entry": 0x20_0001}).build()).entry == 0x20_0001


@pytest.mark.parametrize("bits", [32, 64])
def test_symbols_are_those_with_a_name_and_a_place(bits: int) -> None:
    symbols = [
        Symbol(b"file.c", 0, STT_FILE),
        Symbol(b"same", 1, info=2),
        Symbol(b"extern", 0, section=0),
        Symbol(b"same", 2),
        Symbol("größe".encode(), 3),
        Symbol(b"\xff", 4),
    ]
    image = parse_image(Elf([CODE], bits, symbols).build())
    assert image.symbols == {"same": 2, "größe": 3, "�": 4}


@pytest.mark.parametrize("offset", [0, 0xFF_FFFF, (1 << 32) - 1])
@pytest.mark.parametrize("bits", [32, 64])
def test_a_segment_without_bytes_in_the_file_has_no_offset_there(bits: int, offset: int) -> None:
    bss = Segment(paddr=0x30_0000, memsz=0x5000, offset=offset)
    image = parse_image(Elf([CODE, bss], bits).build())
    assert image.pieces == ((BASE, CODE.data),)
    assert image.zeros == ((0x30_0000, 0x5000),)


def test_an_empty_segment_is_nothing() -> None:
    image = parse_image(Elf([CODE, Segment(paddr=BASE)]).build())
    assert image.pieces == ((BASE, CODE.data),)


SYMBOL = [Symbol(b"main", BASE)]
REFUSED = {
    "for another machine": (Elf([CODE], header={"machine": 183}), "EM_AARCH64.*x86"),
    "of no machine": (Elf([CODE], header={"machine": 0xFFFF}), "for another machine"),
    "an object file": (Elf([CODE], header={"type": ET_REL}), "object file.*ld"),
    "a core dump": (Elf([CODE], header={"type": ET_CORE}), "core dump"),
    "of an unknown type": (Elf([CODE], header={"type": 77}), "unknown type 77"),
    "with an interpreter": (Elf([CODE, Segment(b"ld", type=PT_INTERP)]), "dynamic linker"),
    "dynamic": (Elf([CODE, Segment(b"", type=PT_DYNAMIC)]), "dynamic linker"),
    "without segments": (Elf([], header={"entry": BASE}), "nothing to load"),
    "with an empty segment only": (Elf([Segment()]), "nothing to load"),
    "cut off in a segment": (
        Elf([Segment(b"\xf4", filesz=100)]),
        r"truncated: segment 0 \(0x100000\.\.0x100064\) ends at byte 220, the file has 121",
    ),
    "with more in the file than in memory": (
        Elf([Segment(b"\xf4\xf4", memsz=1)]),
        r"more bytes in the file \(0x2\) than in memory",
    ),
    "of 2^63 bytes": (Elf([Segment(b"\xf4", memsz=1 << 63)]), "beyond the physical address"),
    "at 2^63": (Elf([Segment(b"\xf4", paddr=1 << 63)]), "beyond the physical address"),
    "that wraps around": (
        Elf([Segment(b"\xf4", paddr=2**64 - 1, memsz=2**64 - 1)]),
        "beyond the physical address",
    ),
    "with an offset of 2^63": (Elf([Segment(b"\xf4", offset=1 << 63)]), "truncated"),
    "with overlapping segments": (
        Elf([Segment(b"\xf4", memsz=9), Segment(b"a", paddr=BASE + 8)]),
        r"segment 0 .* and segment 1 .* overlap",
    ),
    "with segments that share bytes": (
        Elf(
            [Segment(bytes(9000)), *(Segment(b"", i << 24, offset=0, filesz=9000) for i in (1, 2))]
        ),
        "share bytes",
    ),
    "entered before its segments": (Elf([CODE], header={"entry": BASE - 1}), "entry point 0xfffff"),
    "entered behind them": (Elf([CODE], header={"entry": BASE + 3}), "entry point 0x100003"),
    "with headers outside the file": (Elf([CODE], header={"phoff": 1 << 62}), "headers.*outside"),
    "with more headers than bytes": (Elf([CODE], header={"phnum": 0xFFFE}), "headers.*outside"),
    "with headers of no size": (Elf([CODE], header={"phentsize": 0}), "headers of 0 bytes"),
    "with too many segments": (Elf([CODE] * 300), "has 300 segments; 256 are the most"),
    "with section headers outside": (Elf([CODE], header={"shoff": 99, "shnum": 9}), "headers"),
    "with sections at 2^63": (
        Elf([CODE], header={"shoff": 1 << 63, "shnum": 1}),
        "headers.*outside",
    ),
    "with its section count past the end": (Elf([CODE], header={"shoff": 1 << 63}), "well-formed"),
    "with symbols outside": (
        Elf([CODE], symbols=SYMBOL, symbol_section={"offset": 1 << 63}),
        "symbol table outside the file.*strip",
    ),
    "with symbols named by no section": (
        Elf([CODE], symbols=SYMBOL, symbol_section={"link": 9}),
        "well-formed",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_is_refused_that_is(what: str) -> None:
    file, why = REFUSED[what]
    with pytest.raises(LoadError, match=why) as caught:
        parse_image(file.build(), name="guest.elf")
    message = str(caught.value)
    assert message.startswith("guest.elf: ")
    assert "\n" not in message


def test_a_file_of_the_other_byte_order_is_refused() -> None:
    data = bytearray(Elf([CODE]).build())
    data[5] = 2  # ELFDATA2MSB
    with pytest.raises(LoadError, match="another machine"):
        parse_image(bytes(data))


@pytest.mark.parametrize("size", [4, 5, 16, 51, 52, 63, 64, 100, 119])
def test_a_file_cut_off_anywhere_is_refused(size: int) -> None:
    with pytest.raises(LoadError):
        parse_image(Elf([CODE]).build()[:size])


def overlapping_names(length: int) -> bytes:
    """A file whose symbols have all ends of one long name; their sum is its square."""
    symbols = [Symbol(b"", 0, name_at=i) for i in range(1, 4_000)]
    return Elf([CODE], symbols=[Symbol(b"x" * length, 0), *symbols]).build()


def test_symbols_that_share_one_name_without_measure_are_refused() -> None:
    with pytest.raises(LoadError, match="share too many names"):
        parse_image(overlapping_names(4_000))


def test_symbols_with_endless_names_are_left_out() -> None:
    assert parse_image(overlapping_names(100_000)).symbols == {}


def test_symbols_without_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "MAX_SYMBOLS", 9)
    assert len(parse_image(Elf([CODE], symbols=SYMBOL * 8).build()).symbols) == 1
    with pytest.raises(LoadError, match="more than 9 symbols; `strip`"):
        parse_image(Elf([CODE], symbols=SYMBOL * 9).build())


def test_notes_that_share_their_bytes_end_at_a_limit() -> None:
    notes = [Segment(type=PT_NOTE, offset=0, filesz=50_000)] * 100
    with pytest.raises(LoadError, match="notes of more than 1 MiB"):
        elf.notes(Elf([Segment(bytes(50_000)), *notes]).build(), "x")


def test_x32_code_is_64_bit_code() -> None:
    assert parse_image(Elf([CODE], 32, header={"machine": EM_X86_64}).build()).mode is Mode.LONG
