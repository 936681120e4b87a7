"""Real programs, built by a compiler, loaded and run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import cc

import pykvm
from pykvm import layout
from pykvm.guest import load_guest
from pykvm.loader import parse_image, read_image
from pykvm.loader.image import Mode

GUESTS = Path(__file__).parents[2] / "guests"
LINK_AT_1_MIB = "-Wl,-Ttext-segment=0x100000"
MULTIBOOT = ("-m32", "-Wl,-Ttext=0x100000", "-Wl,--section-start=.multiboot=0xff000")


@pytest.mark.parametrize(("bits", "mode"), [("-m64", Mode.LONG), ("-m32", Mode.PROTECTED)])
def test_a_c_program_runs_in_its_own_mode(bits: str, mode: Mode, tmp_path: Path) -> None:
    path = cc.build("hello.c", tmp_path / "hello", bits, LINK_AT_1_MIB)
    with pykvm.VM(memory="16M") as vm:
        vm.load(path)
        result = vm.run(timeout=60)
        assert vm.image is not None
        assert vm.image.mode is mode
        assert vm.image.symbols["_start"] == vm.image.entry
        assert {"print", "greeting", "counter", "scratch"} <= vm.image.symbols.keys()
        assert vm.memory.read_int(vm.image.symbols["counter"], 4) == len(result.output)
    assert result.output == b"Hello from C\n"


@pytest.mark.parametrize("backing", ["anonymous", "memfd", "huge"])
def test_loading_again_zeroes_bss_again(backing: str, tmp_path: Path) -> None:
    path = cc.build("hello.c", tmp_path / "hello", "-m64")
    with pykvm.VM(memory="16M", backing=backing) as vm:
        for runs in (1, 2):
            vm.load(str(path))
            assert vm.run(timeout=60).output == b"Hello from C\n" * runs


def test_a_64_bit_program_can_be_entered_at_cpl_3(tmp_path: Path) -> None:
    path = cc.build("hello.c", tmp_path / "hello", "-m64")
    with pykvm.VM(memory="16M") as vm:
        vm.load(read_image(path, mode="user"))
        for exit in vm.exits(timeout=60):
            if vm.output.data.endswith(b"\n"):
                break
            assert vm.registers.cs & 3 == 3, exit
    assert vm.output.data == b"Hello from C\n"


@pytest.mark.parametrize(
    ("memory", "upper", "ranges"),
    [
        ("2M", 0x400, ["100000 + 100000 type 1"]),
        ("3G", 0x2F_FC00, ["100000 + bff00000 type 1"]),
        ("5G", 0x2F_FC00, ["100000 + bff00000 type 1", "100000000 + 80000000 type 1"]),
    ],
)
def test_a_multiboot_kernel_finds_what_it_is_owed(
    memory: str, upper: int, ranges: list[str], tmp_path: Path
) -> None:
    path = cc.build("multiboot_kernel.c", tmp_path / "kernel", *MULTIBOOT)
    with pykvm.VM(memory=memory, append="console=0xe9 quiet") as vm:
        vm.load(path)
        result = vm.run(timeout=60)
    assert result.output.decode().splitlines() == [
        f"magic 2badb002 flags 245 lower 27f upper {upper:x}",
        f"[{path} console=0xe9 quiet] from pykvm",
        "0 + 9fc00 type 1",
        "9fc00 + 400 type 2",
        *ranges,
    ]


def test_a_multiboot_kernel_starts_in_the_state_of_the_specification(tmp_path: Path) -> None:
    path = cc.build("multiboot_kernel.c", tmp_path / "kernel", *MULTIBOOT)
    with pykvm.VM() as vm:
        vm.load(path)
        registers = vm.registers
        assert registers.rax == 0x2BADB002
        assert registers.rbx == layout.BOOT_INFO_BASE
        assert (registers.cr0 & 1, registers.cr0 >> 31) == (1, 0)
        assert registers.rflags & (1 << 17 | 1 << 9) == 0
        special = vm.vcpu.get_special()
    assert (special.cs.selector, special.ds.selector, special.ss.selector) == (0x08, 0x10, 0x10)
    for segment in (special.cs, special.ds, special.es, special.fs, special.gs, special.ss):
        assert (segment.base, segment.limit, segment.db) == (0, 0xFFFF_FFFF, 1)


def test_a_multiboot_kernel_is_an_ordinary_elf_where_a_mode_is_given(tmp_path: Path) -> None:
    path = cc.build("multiboot_kernel.c", tmp_path / "kernel", *MULTIBOOT)
    assert read_image(path).multiboot
    assert read_image(path, mode="protected").multiboot
    assert not read_image(path, mode="real").multiboot


def test_grub_agrees_on_what_a_multiboot_kernel_is(tmp_path: Path) -> None:
    judge = shutil.which("grub-file")
    if judge is None:
        pytest.skip("grub-file is not installed (Debian: grub-common)")
    kernel = cc.build("multiboot_kernel.c", tmp_path / "kernel", *MULTIBOOT)
    hello = cc.build("hello.c", tmp_path / "hello", "-m32")
    flat = tmp_path / "flat"
    flat.write_bytes(load_guest(GUESTS / "multiboot.S").image().pieces[0][1])
    for path in (kernel, hello, flat):
        done = subprocess.run([judge, "--is-x86-multiboot", str(path)])
        assert (done.returncode == 0) == parse_image(path.read_bytes()).multiboot
