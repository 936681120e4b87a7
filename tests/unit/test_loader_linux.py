"""Linux kernels: what a bzImage and a PVH kernel are given, and which files are refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support import kernels

import pykvm
from pykvm import host, layout
from pykvm.errors import LoadError
from pykvm.loader import linux
from pykvm.loader.image import Mode
from pykvm.loader.memory_map import MapEntry
from pykvm.parts import KERNEL_DEVICES
from pykvm.result import Outcome

MIB = layout.MIB
MAP = [
    MapEntry(0, 0x9_FC00, True),
    MapEntry(0xE_0000, 0x2_0000, False),
    MapEntry(MIB, 31 * MIB, True),
]
BOOT = linux.Boot(MAP, b"quiet", b"ramdisk", tables=((0xE_0000, b""),))
SEND_AND_OFF = """
    mov dx, 0x3f8
    mov ecx, {count}
next:
    lodsb
    out dx, al
    loop next
    mov dx, 0x604
    mov ax, 0x3400
    out dx, ax
    hlt
"""


def piece(image: linux.Image, gpa: int) -> bytes:
    return dict(image.pieces)[gpa]


def test_a_bzimage_is_entered_behind_its_32_bit_entry() -> None:
    data = kernels.bzimage(b"\x90\xf4")
    image = linux.kernel_image(data, "k", BOOT)
    assert (image.mode, image.entry) == (Mode.LONG, kernels.LOAD + 0x200)
    assert piece(image, kernels.LOAD) == data[1024:]
    assert image.registers == {"rsi": layout.BOOT_INFO_BASE}


def test_the_zero_page_has_the_header_and_what_the_machine_gives() -> None:
    data = kernels.bzimage()
    page = piece(linux.kernel_image(data, "k", BOOT), layout.BOOT_INFO_BASE)
    (initrd, size_bytes) = struct.unpack_from("<II", page, 0x218)
    assert len(page) == 4096
    assert page[:0x1E8].count(0) == 0x1E8 - 1  # but for the RSDP's address
    assert page[0x202:0x210] == data[0x202:0x210]
    assert page[0x210] == 0xFF
    assert struct.unpack_from("<Q", page, 0x70) == (0xE_0000,)
    assert struct.unpack_from("<I", page, 0x228) == (layout.COMMAND_LINE_BASE,)
    assert (initrd, size_bytes) == (32 * MIB - 4096, 7)
    assert page[kernels.HEADER_END : 0x2D0].count(0) == 0x2D0 - kernels.HEADER_END
    assert page[0x1E8] == 3
    rows = struct.unpack_from("<QQIQQIQQI", page, 0x2D0)
    assert rows == (0, 0x9_FC00, 1, 0xE_0000, 0x2_0000, 2, MIB, 31 * MIB, 1)


@pytest.mark.parametrize(
    ("initrd_addr_max", "gpa"),
    [(0x17F_FFFF, 0x17F_F000), (0x180_0005, 0x17F_F000), (0x180_0006, 0x180_0000)],
)
def test_an_initrd_lies_as_high_as_the_kernel_allows(initrd_addr_max: int, gpa: int) -> None:
    data = kernels.bzimage(initrd_addr_max=initrd_addr_max)
    image = linux.kernel_image(data, "k", BOOT)
    assert piece(image, gpa) == b"ramdisk"


def test_an_initrd_may_fill_memory_to_the_last_page() -> None:
    boot = linux.Boot(MAP, initrd=bytes(32 * MIB - kernels.LOAD - 0x1000))
    image = linux.kernel_image(kernels.bzimage(), "k", boot)
    assert len(piece(image, kernels.LOAD + 0x1000)) == len(boot.initrd)
    boot = linux.Boot(MAP, initrd=bytes(len(boot.initrd) + 1))
    with pytest.raises(LoadError, match=r"does not fit behind the kernel.*--memory 33M"):
        linux.kernel_image(kernels.bzimage(), "k", boot)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"version": 0x1FF}, r"protocol 0x1ff; 2\.00 is the oldest"),
        ({"jump": 0x10}, "header ends too early"),
        ({"syssize": 0x1000}, "truncated"),
        ({"syssize": 0}, "truncated"),
        ({"setup_sects": 200}, "truncated"),
        ({"init_size": 0x200_0000}, "--memory 48M has it"),
        ({"pref_address": 0xC000_0000}, "where no RAM can be"),
        ({"pref_address": 2**64 - 1}, "where no RAM can be"),
        ({"cmdline_size": 4}, "4 bytes at most"),
    ],
)
def test_a_header_that_cannot_be_is_refused(fields: dict[str, int], why: str) -> None:
    with pytest.raises(LoadError, match=why):
        linux.kernel_image(kernels.bzimage(**fields), "k", BOOT)


def test_every_truncation_is_refused() -> None:
    data = kernels.bzimage()
    for size in range(len(data) - 15):
        with pytest.raises(LoadError):
            linux.kernel_image(data[:size], "k", BOOT)


def test_a_pvh_kernel_is_entered_where_its_note_says() -> None:
    image = linux.kernel_image(kernels.pvh(b"\xf4"), "k", BOOT)
    assert (image.mode, image.entry) == (Mode.PROTECTED, 0x10_0000)
    assert image.registers == {"rbx": layout.BOOT_INFO_BASE, "cr0": 0x11, "cr4": 0}
    info = piece(image, layout.BOOT_INFO_BASE)
    magic, version, _, modules, at, command_line, rsdp, memory_map, count, _ = struct.unpack_from(
        "<4I4QII", info
    )
    assert (magic, version, modules, count) == (0x336E_C578, 1, 1, 3)
    assert (command_line, rsdp) == (layout.COMMAND_LINE_BASE, 0xE_0000)
    gpa, size_bytes, _, _ = struct.unpack_from("<4Q", info, at - layout.BOOT_INFO_BASE)
    assert piece(image, gpa) == b"ramdisk"
    assert size_bytes == 7
    last = struct.unpack_from("<QQII", info, memory_map - layout.BOOT_INFO_BASE + 48)
    assert last == (MIB, 31 * MIB, 1, 0)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no kernel", "neither a bzImage nor an ELF"),
        (b"", "neither"),
        (kernels.pvh(b"\xf4", entry=b""), "no PVH entry"),
        (b"\x7fELF", "not a well-formed ELF"),
        (kernels.pvh(b"\xf4")[:100], "truncated|well-formed"),
    ],
)
def test_other_files_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        linux.kernel_image(data, "k", BOOT)


# On a machine.


BACKENDS = [
    pytest.param(
        "kvm", marks=pytest.mark.skipif(host.problem() is not None, reason=str(host.problem()))
    ),
    "emu",
]
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def machine(backend: str, append: str = "") -> pykvm.VM:
    return pykvm.VM(
        backend=backend,
        memory="32M", irqchip="full", pit=True, devices=KERNEL_DEVICES, float_unclaimed=True,
        append=append,
    )  # fmt: skip


def run(
    vm: pykvm.VM, data: bytes, path: Path, end: tuple[Outcome, int] = (Outcome.EXIT, 0)
) -> bytes:
    path.write_bytes(data)
    vm.load_kernel(path)
    result = vm.run(timeout=60)
    assert (result.outcome, result.status) == end, result.reason
    return result.output


@each_backend
def test_a_bzimage_finds_its_command_line_and_switches_off(backend: str, tmp_path: Path) -> None:
    source = "mov esi, [rsi + 0x228]\n" + SEND_AND_OFF.format(count=5)
    code = b"".join(data for _, data in pykvm.assemble(source, origin=kernels.LOAD).pieces)
    with machine(backend, "hello") as vm:
        assert run(vm, kernels.bzimage(code), tmp_path / "k") == b"hello"


@each_backend
def test_a_pvh_kernel_finds_its_command_line_and_switches_off(backend: str, tmp_path: Path) -> None:
    source = "mov esi, [ebx + 24]\n" + SEND_AND_OFF.format(count=5)
    program = pykvm.assemble(source, mode="protected", origin=0x10_0000)
    code = b"".join(data for _, data in program.pieces)
    with machine(backend, "hello") as vm:
        assert run(vm, kernels.pvh(code), tmp_path / "k") == b"hello"


@pytest.mark.parametrize(
    "way",
    [
        "mov dx, 0xcf9\nmov al, 2\nout dx, al\nmov al, 6\nout dx, al",
        "mov al, 0xfe\nout 0x64, al",
    ],
)
@each_backend
def test_a_reset_ends_the_run(backend: str, way: str, tmp_path: Path) -> None:
    program = pykvm.assemble(way + "\nhlt", origin=kernels.LOAD)
    with machine(backend) as vm:
        code = b"".join(data for _, data in program.pieces)
        run(vm, kernels.bzimage(code), tmp_path / "k", (Outcome.RESET, 123))


@each_backend
def test_acpi_tables_lie_where_a_kernel_looks(backend: str, tmp_path: Path) -> None:
    with machine(backend) as vm:
        path = tmp_path / "k"
        path.write_bytes(kernels.bzimage())
        vm.load_kernel(path)
        assert vm.memory.read(layout.ACPI_BASE, 8) == b"RSD PTR "
        assert vm.memory.read(layout.BOOT_INFO_BASE + 0x70, 4) == b"\0\0\x0e\0"
