"""Opening files of any kind, and fitting what is in them into a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.elf import Elf, Segment

import pykvm
from pykvm import layout
from pykvm.errors import LoadError, UsageError
from pykvm.loader import parse_image
from pykvm.loader.image import Image, Mode
from pykvm.registers import RFLAGS_FIXED

PRINT = b"\xb0!\xe6\xe9\xf4"  # mov al, '!'; out 0xe9, al; hlt: the same in every mode


@pytest.mark.parametrize("mode", Mode)
def test_a_flat_binary_runs_in_every_mode(mode: Mode, tmp_path: Path) -> None:
    path = tmp_path / "guest.bin"
    path.write_bytes(PRINT[:4] + b"\xe7\xf8" if mode is Mode.USER else PRINT)
    image = pykvm.read_image(path, mode=mode)
    assert image.entry == (0x7C00 if mode is Mode.REAL else 0x1_0000)
    with pykvm.VM(memory="1M") as vm:
        vm.load(image)
        assert vm.run(timeout=60).output == b"!"


def test_a_flat_binary_goes_where_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "guest.bin"
    path.write_bytes(PRINT)
    with pykvm.VM(memory="2M") as vm:
        vm.load(pykvm.read_image(path, load=0x1F_FFFB))
        assert vm.registers.rip == 0x1F_FFFB
        assert vm.run(timeout=60).output == b"!"


def test_bytes_load_as_files_do() -> None:
    assert pykvm.parse_image(bytearray(PRINT)).pieces == ((layout.LOAD_BASE, PRINT),)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "No such file"),
        ("directory", "not a regular file"),
        ("pipe", "not a regular file"),
        ("huge", "larger than 1 GiB"),
        ("empty", "is empty"),
        ("guest.S", "assembler source"),
        ("nul\0", "null byte"),
    ],
)
def test_a_file_is_refused(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for file, size_bytes in (("huge", 1 << 40), ("empty", 0), ("guest.S", 5)):
        with (tmp_path / file).open("wb") as stream:
            stream.truncate(size_bytes)
    with pykvm.VM(memory="1M") as vm, pytest.raises(LoadError, match=why) as caught:
        vm.load(tmp_path / name)
    assert caught.value.path == str(tmp_path / name)


@pytest.mark.parametrize("load", [-1, 1 << 52, 1 << 64, True, "0x1000", 1.0])
def test_an_address_that_is_none_is_wrong_usage(load: object) -> None:
    with pytest.raises(UsageError, match="load address"):
        pykvm.parse_image(PRINT, load=load)  # type: ignore[arg-type]


def test_a_file_with_addresses_of_its_own_takes_no_other() -> None:
    with pytest.raises(UsageError, match="leave the load address out"):
        pykvm.parse_image(Elf([Segment(PRINT)]).build(), load=0x1000)


def test_an_unknown_mode_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no mode 'virtual'"):
        pykvm.parse_image(PRINT, mode="virtual")


def image(gpa: int, size_bytes: int = 5, mode: Mode = Mode.LONG, **fields: object) -> Image:
    return Image("guest", mode, gpa, ((gpa, PRINT.ljust(size_bytes, b"\0")),), **fields)  # type: ignore[arg-type]


BAD_PLACES = [
    (image(0xF_FFFC), r"0xffffc\.\.0x100001 is not all RAM; --memory 2M would hold it"),
    (image(0x1_0000, zeros=((0x20_0000, 1 << 30),)), "--memory 1026M would hold it"),
    (image(0xC000_0000), "belongs to devices"),
    (image(0xFEE0_0000), "belongs to devices"),
    (image(0x1_0000, zeros=((1 << 32, 1 << 20),)), "--memory 3073M would hold it"),
    (image(0x1_0000, zeros=((1 << 51, 1),)), "load or link it lower"),
    (image(0x9_107F, 1), "overlaps GDT at 0x91000"),
    (image(0x6FFF), "overlaps PD at 0x3000"),
    (image(0x1_0000, 0x8_0000), "overlaps COMMAND_LINE at 0x80000"),
    (image(0x9_1080, mode=Mode.PROTECTED), "overlaps TSS at 0x91080"),
    (image(0x8_1000, multiboot=True, mode=Mode.PROTECTED), "overlaps BOOT_INFO"),
    (image(0x1_0000, mode=Mode.REAL), "entry 0x10000 is not below 0x10000, where real mode ends"),
    (Image("guest", Mode.LONG, 1 << 32, ()), "entry 0x100000000 is not below"),
    (Image("guest", Mode.LONG, 0x20_0000, ()), "entry 0x200000 is not in RAM"),
    (Image("guest", Mode.LONG, -1, ()), "entry -0x1 is not below"),
]


@pytest.mark.parametrize(("guest", "why"), BAD_PLACES)
def test_a_guest_that_does_not_fit_is_refused_and_nothing_is_written(
    guest: Image, why: str
) -> None:
    with pykvm.VM(memory="1M") as vm:
        with pytest.raises(LoadError, match=why):
            vm.load(guest)
        assert not any(vm.memory.read(0, 1 << 20))


@pytest.mark.parametrize(
    "guest",
    [
        image(0x500, mode=Mode.REAL),
        image(0x7000),
        image(0x1000, mode=Mode.PROTECTED),
        image(0x8_1000),
        image(0xF_FFFB),
    ],
)
def test_what_the_mode_does_not_use_is_free(guest: Image) -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(guest)
        assert vm.run(timeout=60).output == b"!"


@pytest.mark.parametrize("backing", ["anonymous", "memfd", "huge"])
def test_zeros_reach_exactly_as_far_as_they_say(backing: str) -> None:
    with pykvm.VM(memory="8M", backing=backing) as vm:
        for start, end in ((0x1_0001, 0x1_0002), (0x1_0FFF, 0x1_3001), (0x1F_FFFF, 0x60_0001)):
            vm.memory.write(0x1_0000, b"\xff" * 0x70_0000)
            vm.load(Image("guest", Mode.REAL, 0x7C00, (), zeros=((start, end - start),)))
            assert not any(vm.memory.read(start, end - start))
            assert vm.memory.read(start - 1, 1) == vm.memory.read(end, 1) == b"\xff"


def test_zeros_take_no_memory_of_the_host() -> None:
    with pykvm.VM(memory="64G") as vm:
        vm.load(image(0x1_0000, zeros=((1 << 32, 32 << 30),)))
        assert vm.run(timeout=60).output == b"!"


def test_a_guest_can_be_loaded_over_one_that_ran() -> None:
    with pykvm.VM(memory="1M") as vm:
        for mode in (Mode.PROTECTED, Mode.REAL, Mode.LONG, Mode.PROTECTED):
            vm.load(image(mode.load_base, mode=mode))
            assert vm.registers.rflags == RFLAGS_FIXED
            vm.run(timeout=60)
    assert vm.output.data == b"!!!!"


def test_a_linux_kernel_is_told_how_to_run() -> None:
    kernel = bytes(0x202) + b"HdrS" + bytes(600)
    with pykvm.VM(memory="1M", backend="emu") as vm:
        with pytest.raises(LoadError, match="is a Linux kernel: --kernel"):
            vm.load(parse_image(kernel))
        vm.load(parse_image(kernel, mode="real"))
