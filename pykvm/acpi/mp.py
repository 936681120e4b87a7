"""The MP table, which tells kernels older than ACPI of processors and interrupt lines.

Source: Intel MultiProcessor Specification 1.4; sections are cited as §.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pykvm import layout
from pykvm.acpi.tables import OEM_ID, with_checksum

_POINTER = struct.Struct("<4sIBBB5B")  # §4.1
_HEADER = struct.Struct("<4sHBB8s12sIHHIHBx")  # §4.2
_REVISION = 4  # 1.4
_PROCESSOR, _BUS, _IO_APIC, _IO_INTERRUPT, _LOCAL_INTERRUPT = range(5)  # §4.3
_ENABLED, _BOOT_PROCESSOR = 1, 2
_LAPIC_VERSION, _IO_APIC_VERSION = 0x14, 0x11
_SIGNATURE, _FEATURES = 0x600, 1 << 0 | 1 << 9  # of a P6 with FPU and APIC; CPUID tells all
_ISA, _IO_APIC_ID, _ALL_LAPICS = 0, 0, 0xFF
_INT, _NMI, _EXTINT = 0, 1, 3
_ACTIVE_HIGH_LEVEL = 1 | 3 << 2  # §4.3.4; else the bus's own: rising edges
_ISA_LINES = 16
_CASCADE = 2  # the second 8259's


def table(cpus: int) -> bytes:
    """The floating pointer for layout.MP_TABLE_BASE, and the table right behind it.

    Args:
        cpus: how many processors; their APIC ids are their numbers.
    """
    entries = list(_entries(cpus))
    body = b"".join(entries)
    header = _HEADER.pack(
        b"PCMP", _HEADER.size + len(body), _REVISION, 0, OEM_ID.ljust(8), b"MACHINE".ljust(12),
        0, 0, len(entries), layout.LAPIC_BASE, 0, 0,
    )  # fmt: skip
    where = layout.MP_TABLE_BASE + _POINTER.size
    pointer = _POINTER.pack(b"_MP_", where, 1, _REVISION, 0, *[0] * 5)
    return with_checksum(pointer, 10) + with_checksum(header + body, 7)


def _entries(cpus: int) -> Iterator[bytes]:
    for cpu in range(cpus):
        flags = _ENABLED | (_BOOT_PROCESSOR if cpu == 0 else 0)
        yield struct.pack(
            "<BBBBII8x", _PROCESSOR, cpu, _LAPIC_VERSION, flags, _SIGNATURE, _FEATURES
        )
    yield struct.pack("<BB6s", _BUS, _ISA, b"ISA".ljust(6))
    yield struct.pack(
        "<BBBBI", _IO_APIC, _IO_APIC_ID, _IO_APIC_VERSION, _ENABLED, layout.IOAPIC_BASE
    )
    for line in range(_ISA_LINES):
        if line != _CASCADE:
            flags = _ACTIVE_HIGH_LEVEL if line == layout.ACPI_IRQ else 0
            yield _interrupt(_IO_INTERRUPT, _INT, flags, line, _IO_APIC_ID, line)
    yield _interrupt(_LOCAL_INTERRUPT, _EXTINT, 0, 0, 0, 0)
    yield _interrupt(_LOCAL_INTERRUPT, _NMI, 0, 0, _ALL_LAPICS, 1)


def _interrupt(kind: int, type_: int, flags: int, line: int, apic: int, pin: int) -> bytes:
    """§4.3.4, §4.3.5: from a line of the bus to a pin of an APIC."""
    return struct.pack("<BBHBBBB", kind, type_, flags, _ISA, line, apic, pin)
