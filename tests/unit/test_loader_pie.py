"""Static PIE: where they go, how they are relocated, and which are refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support import cc
from support.elf import ET_DYN, PT_DYNAMIC, PT_INTERP, Elf, Segment

import pykvm
from pykvm import layout
from pykvm.errors import LoadError, UsageError
from pykvm.loader import parse_image, read_image

PIE = ("-fpie", "-static-pie", "-Wl,--no-dynamic-linker", "-Wl,-z,norelro")
MIB = layout.MIB


@pytest.mark.parametrize("bits", ["-m64", "-m32"])
@pytest.mark.parametrize("packed", ["", "-Wl,-z,pack-relative-relocs"])
@pytest.mark.parametrize("load", [None, 0x2_0000, 0x34_5000])
def test_a_compiled_program_runs_wherever_it_is_put(
    pykvm_backend: str, bits: str, packed: str, load: int | None, tmp_path: Path
) -> None:
    flags = [*PIE, bits, *([packed] if packed else [])]
    path = cc.build("pie.c", tmp_path / "pie", *flags)
    image = read_image(path, load=load)
    assert min(gpa for gpa, _ in image.pieces) == (MIB if load is None else load)
    with pykvm.VM(backend=pykvm_backend) as vm:
        vm.load(image)
        result = vm.run(timeout=60)
        assert (result.output, result.status) == (b"moved to its place\n", 5)
        assert vm.memory.read_int(image.symbols["counter"], 4) == 4


def pie(dynamic: list[tuple[int, int]], code: bytes, bits: int = 64, **more: int) -> bytes:
    """Code at 0 with a dynamic section behind it."""
    form = "<QQ" if bits == 64 else "<II"
    table = b"".join(struct.pack(form, *row) for row in [*dynamic, (0, 0)])
    at = max(0x1000, len(code))
    segments = [Segment(code, 0), Segment(table, at), Segment(table, at, type=PT_DYNAMIC)]
    return Elf(segments, bits, header={"type": ET_DYN, "entry": 0} | more).build()


def test_each_kind_of_table_is_applied() -> None:
    rela = struct.pack("<QQq", 0, 8, 0x10) + struct.pack("<QQq", 8, 8, -8) + bytes(24)
    relr = struct.pack("<QQ", 0x80, 0b1011)
    data = bytearray(0x200)
    data[0x100:0x148] = rela
    data[0x180:0x190] = relr
    struct.pack_into("<4Q", data, 0x80, 1, 2, 3, 4)
    image = parse_image(pie([(7, 0x100), (8, 72), (36, 0x180), (35, 16)], bytes(data)))
    found = image.pieces[0][1]
    assert struct.unpack_from("<QQ", found) == (MIB + 0x10, MIB - 8)
    assert struct.unpack_from("<4Q", found, 0x80) == (MIB + 1, MIB + 2, 3, MIB + 4)
    data = bytearray(0x200)
    struct.pack_into("<4I", data, 0x100, 4, 8, 0, 0)
    struct.pack_into("<I", data, 4, 0xFFFF_FFFF)
    image = parse_image(pie([(23, 0x100), (2, 16), (20, 17)], bytes(data), 32))
    assert struct.unpack_from("<I", image.pieces[0][1], 4) == (MIB - 1,)


def test_what_is_linked_above_1_mib_stays_there() -> None:
    image = parse_image(Elf([Segment(b"\xf4", 0x20_0000)], header={"type": ET_DYN}).build())
    assert image.entry == 0x20_0000
    assert parse_image(pie([], b"\xf4")).entry == MIB


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (pie([(1, 5)], b"\xf4"), "needs shared libraries"),
        (pie([(7, 0x100), (8, 24)], b"\xf4"), "relocations at 0x100, which is not in the file"),
        (pie([(7, 0), (8, 2**63)], bytes(24)), "which is not in the file"),
        (pie([(7, 0), (8, 24)], struct.pack("<QQq", 0x18, 8, 0)), "relocations at 0x18"),
        (pie([(7, 0), (8, 24)], struct.pack("<QQq", 0, 37, 0)), "relocations of type 37"),
        (pie([(36, 0), (35, 8)], struct.pack("<Q", 2**64 - 2)), "which is not in the file"),
        (pie([(36, 0), (35, 8)], struct.pack("<Q", 3)), None),
        (Elf([Segment(b"\xf4"), Segment(b"ld", type=PT_INTERP)], header={"type": ET_DYN}).build(),
         "dynamic linker"),
    ],
)  # fmt: skip
def test_a_program_is_refused(data: bytes, why: str | None) -> None:
    if why is None:
        parse_image(data)
        return
    with pytest.raises(LoadError, match=why):
        parse_image(data)


def test_a_small_file_does_not_keep_the_loader_busy() -> None:
    rows = struct.pack("<Q", 0x8000) + struct.pack("<Q", 2**64 - 1) * 20000
    data = rows.ljust(0xA0_0000, b"\0")
    with pytest.raises(LoadError, match="more than 1048576 relocations"):
        parse_image(pie([(36, 0), (35, len(rows))], data))


def test_a_load_address_is_for_those_that_can_be_moved() -> None:
    with pytest.raises(UsageError, match="says itself where it goes"):
        parse_image(Elf([Segment(b"\xf4")]).build(), load=0x20_0000)
