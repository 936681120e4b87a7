"""The tables of a machine: RSDP, RSDT, XSDT, FADT, FACS, MADT and DSDT, in one piece of memory.

The machine has ACPI's fixed hardware (PM1 event and control block, PM timer) and a reset
register, is always in ACPI mode, and has no PCI bus, no display and no keyboard controller.

Source: ACPI 6.5 §5.2; sections are cited as §.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pykvm import layout
from pykvm.acpi import aml

OEM_ID, OEM_TABLE_ID, CREATOR = b"PYKVM ", b"PYKVMACP", b"PYKV"
SLEEP_TYPE_S5 = 5  # what a guest writes to switch the machine off: the value is free
RESET_VALUE = 6

_HEADER = struct.Struct("<4sIBB6s8sI4sI")  # §5.2.6
_RSDP = struct.Struct("<8sB6sBIIQB3x")  # §5.2.5.3
_FACS_SIZE = 64  # §5.2.10
_FADT_SIZE = 276  # §5.2.9
_FADT_REVISION, _FADT_MINOR = 6, 5
_MADT_REVISION, _DSDT_REVISION, _ROOT_REVISION = 5, 2, 1

# §5.2.9, "Fixed Feature Flags" and "IA-PC Boot Architecture Flags".
_WBINVD, _PROC_C1, _POWER_BUTTON, _SLEEP_BUTTON = 1 << 0, 1 << 2, 1 << 4, 1 << 5
_TMR_VAL_EXT, _RESET_REG_SUP = 1 << 8, 1 << 10
_NO_VGA = 1 << 2
_CENTURY = 0x32  # its index in the clock's memory
_LATENCY_NONE = 0xFFFF  # of C2 and C3: more than 100 and 1000 microseconds mean there are none

# §5.2.12.
_PCAT_COMPAT, _LAPIC_ENABLED = 1 << 0, 1 << 0
_ALL_PROCESSORS = 0xFF
_ACTIVE_HIGH_LEVEL = 1 | 3 << 2
_NMI_PIN = 1


@dataclass(frozen=True)
class Tables:
    """Bytes for guest memory from layout.ACPI_BASE on; the RSDP comes first."""

    data: bytes
    rsdp: int = layout.ACPI_BASE


def build(cpus: int, devices: Sequence[bytes] = (), *, has_power: bool = True) -> Tables:
    """The tables of a machine.

    Args:
        cpus: how many processors; their APIC ids are their numbers.
        devices: AML of further devices, for \\_SB.
        has_power: whether the fixed hardware is there. Without it there is no FADT, and so none of
            what that leads to: the tables tell of processors and interrupts only.
    """
    block = _Block(layout.ACPI_BASE + _RSDP.size)
    found = []
    if has_power:
        facs = block.add(facs_table(), align=64)
        dsdt = block.add(table(b"DSDT", _DSDT_REVISION, dsdt_code(devices)))
        found.append(block.add(table(b"FACP", _FADT_REVISION, fadt_fields(facs, dsdt))))
    found.append(block.add(table(b"APIC", _MADT_REVISION, madt_entries(cpus))))
    rsdt, xsdt = (
        block.add(table(name, _ROOT_REVISION, struct.pack(f"<{len(found)}{size}", *found)))
        for name, size in ((b"RSDT", "I"), (b"XSDT", "Q"))
    )
    return Tables(rsdp(rsdt, xsdt) + bytes(block.data))


class _Block:
    """Tables in a row."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()

    def add(self, data: bytes, align: int = 16) -> int:
        """Append one; returns its address."""
        self.data += bytes(-(self.base + len(self.data)) % align)
        address = self.base + len(self.data)
        self.data += data
        return address


def table(signature: bytes, revision: int, body: bytes) -> bytes:
    """A system description table: header with checksum, then the body."""
    header = _HEADER.pack(
        signature, _HEADER.size + len(body), revision, 0, OEM_ID, OEM_TABLE_ID, 1, CREATOR, 1
    )
    return with_checksum(header + body, 9)


def with_checksum(data: bytes, offset: int) -> bytes:
    """All bytes together are 0 modulo 256."""
    checksum = -sum(data) & 0xFF
    return data[:offset] + bytes((checksum,)) + data[offset + 1 :]


def rsdp(rsdt: int, xsdt: int) -> bytes:
    """The root: revision 2, with an RSDT for kernels that know ACPI 1.0 only; one checksum for
    that one's part, one for all.
    """
    raw = _RSDP.pack(b"RSD PTR ", 0, OEM_ID, 2, rsdt, _RSDP.size, xsdt, 0)
    return with_checksum(with_checksum(raw[:20], 8) + raw[20:], 32)


def facs_table() -> bytes:
    """Nothing is locked and there is no waking vector; version 2."""
    return struct.pack("<4sI24xB", b"FACS", _FACS_SIZE, 2).ljust(_FACS_SIZE, b"\0")


def fadt_fields(facs: int, dsdt: int) -> bytes:
    """The fixed hardware, by port numbers and again as generic addresses. Table 5.9."""
    flags = _WBINVD | _PROC_C1 | _POWER_BUTTON | _SLEEP_BUTTON | _TMR_VAL_EXT | _RESET_REG_SUP
    event, control, timer = layout.PM1_EVENT_PORT, layout.PM1_CONTROL_PORT, layout.PM_TIMER_PORT
    legacy = struct.pack(
        "<II2xH8x8I8B4H5BHxI",
        facs, dsdt, layout.ACPI_IRQ, event, 0, control, 0, 0, timer, 0, 0,
        4, 2, 0, 4, 0, 0, 0, 0,
        _LATENCY_NONE, _LATENCY_NONE, 0, 0,
        0, 0, 0, 0, _CENTURY, _NO_VGA, flags,
    )  # fmt: skip
    return (
        legacy
        + _port(layout.RESET_PORT, 1)
        + struct.pack("<BHB", RESET_VALUE, 0, _FADT_MINOR)
        + struct.pack("<QQ", 0, dsdt)
        + _port(event, 4)
        + bytes(12)
        + _port(control, 2)
        + bytes(24)
        + _port(timer, 4)
    ).ljust(_FADT_SIZE - _HEADER.size, b"\0")


def _port(port: int, size_bytes: int) -> bytes:
    """§5.2.3.2: a generic address in I/O space, accessed as a whole."""
    return struct.pack("<BBBBQ", 1, 8 * size_bytes, 0, size_bytes.bit_length(), port)


def madt_entries(cpus: int) -> bytes:
    """Local APICs, the I/O APIC, where ISA's lines lead, and the NMI. §5.2.12.

    They lead to the pins of their numbers, the timer's too: so a new machine is wired in KVM.
    """
    entries = [struct.pack("<II", layout.LAPIC_BASE, _PCAT_COMPAT)]
    entries += [struct.pack("<BBBBI", 0, 8, cpu, cpu, _LAPIC_ENABLED) for cpu in range(cpus)]
    entries += [
        struct.pack("<BBBBII", 1, 12, 0, 0, layout.IOAPIC_BASE, 0),
        _override(layout.ACPI_IRQ, layout.ACPI_IRQ, _ACTIVE_HIGH_LEVEL),
        struct.pack("<BBBHB", 4, 6, _ALL_PROCESSORS, 0, _NMI_PIN),
    ]
    return b"".join(entries)


def _override(irq: int, gsi: int, flags: int) -> bytes:
    return struct.pack("<BBBBIH", 2, 10, 0, irq, gsi, flags)


def dsdt_code(devices: Sequence[bytes] = ()) -> bytes:
    """The namespace: how to switch off, the serial port, the clock, and what else there is."""
    s5 = aml.package(*(aml.integer(each) for each in (SLEEP_TYPE_S5, 0, 0, 0)))
    serial = aml.device(
        "COM1",
        aml.name("_HID", aml.eisa_id("PNP0501")),
        aml.name("_UID", aml.integer(1)),
        aml.name(
            "_CRS", aml.resources(aml.io_ports(layout.COM1_PORT, 8), aml.irq(layout.COM1_IRQ))
        ),
    )
    clock = aml.device(
        "RTC",
        aml.name("_HID", aml.eisa_id("PNP0B00")),
        aml.name(
            "_CRS", aml.resources(aml.io_ports(layout.CMOS_PORT, 2), aml.irq(layout.CMOS_IRQ))
        ),
    )
    return aml.name("\\_S5", s5) + aml.scope("\\_SB", serial, clock, *devices)


def virtio_mmio(number: int, base: int, size_bytes: int, gsi: int) -> bytes:
    """A virtio-mmio device for `build`. Source: VIRTIO 1.2 §4.2.1; the id is Linux's."""
    return aml.device(
        f"VR{number:02X}",
        aml.name("_HID", aml.string("LNRO0005")),
        aml.name("_UID", aml.integer(number)),
        aml.name(
            "_CRS",
            aml.resources(
                aml.memory32_fixed(base, size_bytes), aml.extended_interrupt(gsi, flags=0)
            ),
        ),
    )
