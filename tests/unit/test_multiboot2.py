"""Multiboot 2: which headers are found and refused, and what a kernel finds when it runs."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from support.elf import Elf, Segment

import pykvm
from pykvm import layout
from pykvm.errors import LoadError
from pykvm.loader import parse_image
from pykvm.loader.boot import Module
from pykvm.loader.image import Mode
from pykvm.parts import KERNEL_DEVICES

MAGIC = 0xE85250D6
BASE = 0x10_0000
END = (0, 0, b"")
OPTIONAL = 1

CHECK = """
_start:
    cmp eax, 0x36d76289
    jne bad
    mov eax, 0x10
    mov ds, eax
    mov ss, eax
    mov esp, 0x200000
    ljmp 0x08:there
there:
    mov esi, ebx
    mov ecx, [ebx]
    cld
all: # the whole of the information
    lodsb
    out 0xe9, al
    loop all
    mov al, 0
    out 0xf8, al
bad:
    int3
"""


def header(*tags: tuple[int, int, bytes], architecture: int = 0, size: int | None = None) -> bytes:
    body = b""
    for kind, flags, data in tags:
        tag = struct.pack("<HHI", kind, flags, 8 + len(data)) + data
        body += tag + bytes(-len(tag) % 8)
    size = 16 + len(body) if size is None else size
    checksum = -(MAGIC + architecture + size) & 0xFFFF_FFFF
    return struct.pack("<4I", MAGIC, architecture, size, checksum) + body


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def elf(head: bytes, code: bytes = b"\xf4", bits: int = 64) -> bytes:
    body = bytes(4 if bits == 32 else 0) + head  # to a multiple of eight in the file
    return Elf([Segment(body + code, BASE)], bits, header={"entry": BASE + len(body)}).build()


@pytest.mark.parametrize("bits", [32, 64])
def test_an_elf_kernel_goes_where_its_segments_say(bits: int) -> None:
    head = header((1, 0, words(1, 4, 6, 9, 15)), (6, 0, b""), END)
    image = parse_image(elf(head, bits=bits))
    assert (image.mode, image.multiboot, image.entry) == (
        Mode.PROTECTED, 2, BASE + len(head) + (4 if bits == 32 else 0),
    )  # fmt: skip
    assert image.registers == {"rax": 0x36D76289, "rbx": layout.BOOT_LIST_BASE}
    assert image.load_base is None


def test_an_entry_tag_goes_before_the_elf_entry() -> None:
    image = parse_image(elf(header((3, 0, words(BASE + 4)), END)))
    assert image.entry == BASE + 4


@pytest.mark.parametrize("load", [BASE - 8, 0xFFFF_FFFF])
def test_addresses_say_where_a_file_goes(load: int) -> None:
    head = header((2, 0, words(BASE, load, 0, BASE + 0x1000)), (3, 0, words(BASE + 60)), END)
    data = bytes(8) + head + b"\xf4" * 30
    image = parse_image(data)
    assert image.pieces == ((BASE - 8, data),)
    assert image.entry == BASE + 60
    assert image.zeros[0][0] + image.zeros[0][1] == BASE + 0x1000


def test_a_kernel_that_can_be_moved_is_told_where_it_lies() -> None:
    image = parse_image(elf(header((10, 0, words(BASE, 0xFFFF_FFFF, 0x1000, 0)), END)))
    assert image.load_base == BASE


def test_version_1_goes_before_version_2() -> None:
    both = struct.pack("<3I", 0x1BADB002, 0, -0x1BADB002 & 0xFFFF_FFFF) + bytes(4) + header(END)
    assert parse_image(elf(both)).multiboot == 1


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (header((1, 0, words(4, 22)), END), "unknown information 22"),
        (header((4, 0, words(3)), END), r"a display \(tag 4\)"),
        (header((5, 0, words(640, 480, 32)), END), r"a display \(tag 5\)"),
        (header((11, 0, b""), END), "unknown tag 11"),
        (header((2, 0, words(BASE, BASE, 0, 0)), END), "no entry"),
        (header((2, 0, words(BASE)), END), "too short"),
        (header((3, 0, b""), END), "too short"),
        (header((4, 0, b""), END), "too short"),
        (header(), "have no end"),
        (header((1, 0, words(1))), "have no end"),
        (header((1, 0, b"")) + struct.pack("<HHI", 1, 0, 7), "have no end"),
        (header(END, size=0x10000), "cut off"),
        (header(END, architecture=4), "another machine"),
        (header((10, 0, words(BASE + 1, 0xFFFF_FFFF, 1, 0)), END), "outside the place"),
        (header((10, 0, words(0, BASE + 8, 1, 0)), END), "outside the place"),
    ],
)
def test_a_kernel_is_refused(head: bytes, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        parse_image(elf(head))


def test_what_is_optional_or_known_is_granted() -> None:
    tags = [(kind, OPTIONAL, words(1, 2, 3)) for kind in (1, 4, 5, 11, 99)]
    tags += [(4, 0, words(2)), (7, 0, b""), (8, 0, words(1)), (9, 0, words(1))]
    assert parse_image(elf(header(*tags, END))).multiboot == 2


@pytest.mark.parametrize(
    "data",
    [bytes(4) + header(END), bytes(32768) + header(END), header(END)[:12], header(END)[1:]],
    ids=["unaligned", "late", "short", "magic"],
)
def test_what_is_no_header_makes_no_kernel(data: bytes) -> None:
    assert parse_image(data).multiboot == 0


def test_a_file_without_elf_and_addresses_is_refused() -> None:
    with pytest.raises(LoadError, match="no addresses"):
        parse_image(header(END))


def kernel(*more: tuple[int, int, bytes]) -> bytes:
    tags = (*more, END)
    code = pykvm.assemble(CHECK, mode="protected", origin=BASE + len(header(*tags)))
    return elf(header(*tags), code.pieces[0][1])


def tags_of(information: bytes) -> list[tuple[int, bytes]]:
    """§3.6.2, as a kernel goes through them."""
    size_bytes, _ = struct.unpack_from("<II", information)
    assert size_bytes == len(information)
    position, tags = 8, []
    while True:
        kind, size_bytes = struct.unpack_from("<II", information, position)
        tags.append((kind, information[position + 8 : position + size_bytes]))
        position += size_bytes + 7 & ~7
        if kind == 0:
            assert position == len(information)
            return tags


def test_a_kernel_finds_what_it_is_owed(pykvm_backend: str, tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_bytes(kernel((10, 0, words(0, 0xFFFF_FFFF, 1, 0))))
    with pykvm.VM(
        backend=pykvm_backend, memory="8M", append="a=b", irqchip="full",
        devices=(*KERNEL_DEVICES, "debugcon", "exit"),
    ) as vm:  # fmt: skip
        vm.load(path, [Module("m text", b"data"), Module("n", b"")])
        tags = tags_of(vm.run(timeout=60).output)
        assert vm.memory.read(0x10_1000, 4) == b"data"
        rsdp = vm.memory.read(0xE_0000, 36)
    assert tags[:-4] == [
        (1, f"{path} a=b".encode() + b"\0"),
        (2, b"pykvm\0"),
        (3, words(0x10_1000, 0x10_1004) + b"m text\0"),
        (3, words(0x10_2000, 0x10_2000) + b"n\0"),
        (4, words(639, 7168)),
        (6, words(24, 0) + b"".join(
            struct.pack("<QQII", *row)
            for row in ((0, 0x9_FC00, 1, 0), (0x9_FC00, 0x400, 2, 0), (0xE_0000, 0x2_0000, 2, 0),
                        (BASE, 0x70_0000, 1, 0))
        )),
    ]  # fmt: skip
    assert tags[-4:] == [(14, rsdp[:20]), (15, rsdp), (21, words(BASE)), (0, b"")]


def test_a_machine_without_chips_has_no_acpi_to_tell_of(tmp_path: Path) -> None:
    with pykvm.VM(backend="emu") as vm:
        vm.load(parse_image(kernel()))
        assert [kind for kind, _ in tags_of(vm.run(timeout=60).output)] == [1, 2, 4, 6, 0]
        with pytest.raises(LoadError, match="too many"):
            vm.load(parse_image(kernel()), [Module("x" * 1000, b"")] * 60)


def test_an_assembled_kernel_is_one_too() -> None:
    tags = ((2, 0, words(BASE, BASE, 0, 0)), (3, 0, words(BASE + 64)), END)
    head = "\n".join(f".long {word}" for word in struct.unpack("<16I", header(*tags)))
    program = pykvm.assemble(f"{head}\nhlt\n", mode="protected", origin=BASE)
    assert (program.multiboot, program.entry) == (2, BASE + 64)


def test_grub_agrees_on_what_a_multiboot_2_kernel_is(tmp_path: Path) -> None:
    judge = shutil.which("grub-file")
    if judge is None:
        pytest.skip("grub-file is not installed (Debian: grub-common)")
    path = tmp_path / "k"
    for data in (kernel(), elf(b"\x90" * 64)):
        path.write_bytes(data)
        done = subprocess.run([judge, "--is-x86-multiboot2", str(path)])
        assert (done.returncode == 0) == (parse_image(data).multiboot == 2)
