"""Multiboot headers: which are found, which are refused, and where their kernels go."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support.elf import Elf, Segment

import pykvm
from pykvm import layout
from pykvm.errors import LayoutError, LoadError
from pykvm.guest import load_guest
from pykvm.loader import multiboot, parse_image
from pykvm.loader.image import Mode
from pykvm.loader.memory_map import MapEntry
from pykvm.loader.multiboot import HEADER_MAGIC

GUESTS = Path(__file__).parents[2] / "guests"
BASE = 0x10_0000
ADDRESSES = 1 << 16


def header(flags: int = 0, *addresses: int, checksum: int | None = None) -> bytes:
    if checksum is None:
        checksum = -(HEADER_MAGIC + flags) & 0xFFFF_FFFF
    return struct.pack(f"<{3 + len(addresses)}I", HEADER_MAGIC, flags, checksum, *addresses)


def kernel(*addresses: int, offset: int = 0) -> bytes:
    """A file with an address header at `offset`, and code behind it."""
    return bytes(offset) + header(ADDRESSES, *addresses) + b"\x90\xf4"


def test_addresses_say_where_a_file_goes() -> None:
    data = kernel(BASE + 8, BASE, BASE + 42, BASE + 0x1000, BASE + 40, offset=16)
    image = parse_image(data)
    assert (image.mode, image.entry, image.multiboot) == (Mode.PROTECTED, BASE + 40, True)
    assert image.pieces == ((BASE, data[8:]),)
    assert image.zeros == ((BASE + 42, 0x1000 - 42),)
    assert image.registers == {"rax": 0x2BADB002, "rbx": layout.BOOT_INFO_BASE}


def test_end_addresses_of_zero_mean_the_whole_file_and_no_bss() -> None:
    data = kernel(BASE, BASE, 0, 0, BASE + 32)
    image = parse_image(data)
    assert (image.pieces, image.zeros) == (((BASE, data),), ())


def test_what_lies_behind_load_end_is_not_loaded() -> None:
    image = parse_image(kernel(BASE, BASE, BASE + 33, 0, BASE + 32) + b"debug information")
    assert image.pieces[0][1][-1:] == b"\x90"


def test_addresses_go_before_those_of_an_elf_file() -> None:
    """§3.1.2: the loader uses them instead of the fields of the executable's own header."""
    body = header(ADDRESSES, BASE, BASE, 0, 0, BASE + 32) + b"\x90\xf4"
    image = parse_image(Elf([Segment(body, paddr=0x20_0000)], 32).build())
    assert image.pieces == ((BASE, body),)


@pytest.mark.parametrize("bits", [32, 64])
def test_an_elf_kernel_goes_where_its_segments_say(bits: int) -> None:
    body = header(3) + b"\x90\xf4"
    image = parse_image(Elf([Segment(body, BASE)], bits, header={"entry": BASE + 12}).build())
    assert (image.mode, image.entry, image.multiboot) == (Mode.PROTECTED, BASE + 12, True)
    assert image.pieces == ((BASE, body),)


@pytest.mark.parametrize(
    "data",
    [
        header(checksum=0),
        b"\0" + header(),
        bytes(8184) + header(),
        header()[:11],
    ],
    ids=["checksum", "unaligned", "late", "short"],
)
def test_what_is_no_header_makes_no_kernel(data: bytes) -> None:
    image = parse_image(data)
    assert (image.multiboot, image.pieces) == (False, ((layout.LOAD_BASE, data),))


def test_a_header_may_end_with_the_first_8192_bytes() -> None:
    data = bytes(8180) + header(3)
    assert multiboot.find_header(data, "kernel") == multiboot.Header(8180, 3, None)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (header(1 << 2), "video mode"),
        (header(1 << 3), "unknown flags 0x8"),
        (header(0xFFF8 | ADDRESSES), "unknown flags 0xfff8"),
        (header(3), "no addresses.*no ELF"),
        (header(ADDRESSES, BASE, BASE, 0, 0), "cut off"),
        (kernel(BASE, BASE + 4, 0, 0, BASE + 32), "load_addr.*does not fit"),
        (kernel(BASE + 4, BASE, 0, 0, BASE + 32), "load_addr.*does not fit"),
        (kernel(BASE, BASE, BASE + 35, 0, BASE + 32), "truncated"),
        (kernel(BASE, BASE, BASE - 1, 0, BASE), "out of order"),
        (kernel(BASE, BASE, 0, BASE + 1, BASE + 32), "out of order"),
        (kernel(BASE, BASE, 0, 0, BASE + 34), "out of order"),
        (kernel(BASE, BASE, 0, 0, BASE - 1), "out of order"),
    ],
)
def test_a_kernel_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        parse_image(data)


def test_options_that_are_not_known_are_ignored() -> None:
    data = header(ADDRESSES | 1 << 20, BASE, BASE, 0, 0, BASE + 32) + b"\xf4"
    assert parse_image(data).multiboot


def test_the_information_structure_has_the_fields_of_the_specification() -> None:
    entries = [MapEntry(0, 0x9_FC00, True), MapEntry(0x9_FC00, 0x400, False)]
    data = multiboot.information([*entries, MapEntry(BASE, 0x10_0000, True)])
    field = {at: struct.unpack_from("<I", data, at)[0] for at in range(0, 116, 4)}
    assert field[0] == 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9
    assert (field[4], field[8]) == (639, 1024)
    assert field[16] == layout.COMMAND_LINE_BASE
    mmap = data[field[48] - layout.BOOT_INFO_BASE :][: field[44]]
    assert list(struct.iter_unpack("<IQQI", mmap)) == [
        (20, 0, 0x9_FC00, 1),
        (20, 0x9_FC00, 0x400, 2),
        (20, BASE, 0x10_0000, 1),
    ]
    assert data[field[64] - layout.BOOT_INFO_BASE :] == b"pykvm\0"
    assert {at for at, value in field.items() if value} == {0, 4, 8, 16, 44, 48, 64}


def test_the_memory_map_leaves_read_only_memory_out() -> None:
    with pykvm.VM(memory="2M") as vm:
        vm.memory.add(0x100_0000, 0x1000, readonly=True)
        vm.memory.add(0x200_0000, 0x1000)
        vm.load(parse_image(kernel(BASE, BASE, 0, 0, BASE + 32)))
        length = vm.memory.read_int(layout.BOOT_INFO_BASE + 44, 4)
        start = vm.memory.read_int(layout.BOOT_INFO_BASE + 48, 4)
        entries = list(struct.iter_unpack("<IQQI", vm.memory.read(start, length)))
    assert [base for _, base, _, _ in entries] == [0, 0x9_FC00, BASE, 0x200_0000]


def test_a_memory_map_that_is_too_long_is_an_error() -> None:
    with pytest.raises(LayoutError, match="200 entries"):
        multiboot.information([MapEntry(i << 24, 0x1000, True) for i in range(200)])


def test_an_assembled_kernel_is_entered_as_its_binary_is() -> None:
    guest = load_guest(GUESTS / "multiboot.S")
    program = guest.image()
    image = parse_image(program.pieces[0][1])
    assert program.multiboot
    assert (program.entry, program.pieces) == (image.entry, image.pieces)
    assert (program.zeros, program.registers) == (image.zeros, image.registers)


def test_a_program_of_another_mode_is_no_kernel() -> None:
    source = ".long 0x1BADB002, 0, 0xE4524FFE"
    assert not pykvm.assemble(source, mode="long").multiboot
    with pytest.raises(LoadError, match="no addresses"):
        pykvm.assemble(source, mode="protected")
