"""ACPI tables: what they say, and that the reference compiler reads and rewrites them.

`iasl` is Debian's acpica-tools; where it is missing and cannot be installed that part is skipped.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.debian import installed

from pykvm import layout
from pykvm.acpi import aml, tables

VIRTIO = (
    tables.virtio_mmio(0, 0xD000_1000, 0x200, 16),
    tables.virtio_mmio(1, 0xD000_1200, 0x200, 17),
)


def at(built: tables.Tables, address: int) -> bytes:
    """The table at a guest-physical address."""
    start = address - layout.ACPI_BASE
    (size_bytes,) = struct.unpack_from("<I", built.data, start + 4)
    return built.data[start : start + size_bytes]


def walk(built: tables.Tables) -> Iterator[bytes]:
    """All tables, as a kernel finds them from the RSDP on."""
    xsdt = at(built, struct.unpack_from("<Q", built.data, 24)[0])
    yield xsdt
    for (address,) in struct.iter_unpack("<Q", xsdt[36:]):
        found = at(built, address)
        yield found
        if found.startswith(b"FACP"):
            facs, dsdt = struct.unpack_from("<II", found, 36)
            yield from (at(built, facs), at(built, dsdt))


@pytest.mark.parametrize("cpus", [1, 2, 4, 64])
def test_every_table_is_found_and_its_sum_is_right(cpus: int) -> None:
    built = tables.build(cpus, VIRTIO)
    assert len(built.data) <= layout.ACPI_SIZE
    assert sum(built.data[:20]) & 0xFF == sum(built.data[:36]) & 0xFF == 0
    found = {each[:4]: each for each in walk(built)}
    assert sorted(found) == [b"APIC", b"DSDT", b"FACP", b"FACS", b"XSDT"]
    assert all(sum(each) & 0xFF == 0 for name, each in found.items() if name != b"FACS")
    assert [kind for kind, _ in entries(found[b"APIC"])].count(0) == cpus


def entries(madt: bytes) -> Iterator[tuple[int, bytes]]:
    position = 44
    while position < len(madt):
        kind, size_bytes = madt[position], madt[position + 1]
        yield kind, madt[position + 2 : position + size_bytes]
        position += size_bytes


def test_processors_have_their_numbers_as_apic_ids() -> None:
    madt = at_signature(tables.build(3), b"APIC")
    processors = [body for kind, body in entries(madt) if kind == 0]
    assert processors == [bytes((n, n, 1, 0, 0, 0)) for n in range(3)]


def test_lines_lead_to_the_pins_of_their_numbers_as_kvm_wires_them() -> None:
    madt = at_signature(tables.build(1), b"APIC")
    overrides = [struct.unpack("<BBIH", body) for kind, body in entries(madt) if kind == 2]
    assert overrides == [(0, 9, 9, 0b1101)]


def at_signature(built: tables.Tables, signature: bytes) -> bytes:
    return next(each for each in walk(built) if each.startswith(signature))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (2, "0a02"), (255, "0aff"), (256, "0b0001"), (1 << 16, "0c00000100"),
     ((1 << 64) - 1, "0e" + "ff" * 8)],
)  # fmt: skip
def test_integers_take_their_shortest_form(value: int, encoded: str) -> None:
    assert aml.integer(value).hex() == encoded


@pytest.mark.parametrize("size", [0, 60, 61, 62, 63, 64, 4090, 4091, 4092, 4093, 70_000])
def test_a_length_counts_itself(size: int) -> None:
    term = aml.scope("\\_SB", bytes(size))
    lead = term[1] >> 6
    length = (
        term[1] & 0x3F
        if lead == 0
        else term[1] & 0xF | int.from_bytes(term[2 : 2 + lead], "little") << 4
    )
    assert length == len(term) - 1


@pytest.mark.parametrize("cpus", [1, 4, 64])
def test_the_reference_compiler_agrees(cpus: int, tmp_path: Path) -> None:
    iasl = installed("iasl", "acpica-tools")
    for table in walk(tables.build(cpus, VIRTIO)):
        name = table[:4].decode().lower()
        (tmp_path / f"{name}.dat").write_bytes(table)
        taken_apart = compile_with(iasl, tmp_path, "-d", f"{name}.dat")
        assert "Warning" not in taken_apart
        assert "Error" not in taken_apart
        assert "0 Errors, 0 Warnings" in compile_with(
            iasl, tmp_path, "-oa", "-p", "again", f"{name}.dsl"
        )
        assert (tmp_path / "again.aml").read_bytes()[36:] == table[36:]


def test_the_reference_interpreter_finds_the_devices(tmp_path: Path) -> None:
    acpiexec = installed("acpiexec", "acpica-tools")
    (tmp_path / "dsdt.dat").write_bytes(at_signature(tables.build(1, VIRTIO), b"DSDT"))
    said = compile_with(acpiexec, tmp_path, "-b", "evaluate \\_S5; namespace", "dsdt.dat")
    for device in ("COM1 Device", "RTC_ Device", "VR00 Device", "VR01 Device"):
        assert device in said
    assert "[Integer] = 0000000000000005" in said
    assert "AE_" not in said


def compile_with(program: str, where: Path, *args: str) -> str:
    done = subprocess.run(
        [program, *args], cwd=where, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
