"""The guest-physical and port address map: the only place where an address is chosen.

`GPA_MAP` and `PORT_MAP` are what docs/architecture.md prints and what the assembler's
prelude defines as constants, so that guests, devices and documentation cannot disagree.

Low memory, 1 MiB at least, is the same for every machine. RAM ends at `RAM_HOLE_BASE`;
what does not fit below goes on at 4 GiB, as on a PC.
"""

from __future__ import annotations

from typing import NamedTuple

PAGE_SIZE = 0x1000
LARGE_PAGE_SIZE = 0x20_0000
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

MIN_RAM_SIZE = MIB
MAX_RAM_SIZE = 1 << 40
MAX_GPA = 1 << 52  # Intel SDM vol. 3A §4.1.4: MAXPHYADDR is 52 at most


class Range(NamedTuple):
    """A named piece of an address space: [base, base + size_bytes)."""

    name: str
    base: int
    size_bytes: int
    meaning: str


# Guest-physical addresses.
BIOS_DATA_BASE = 0x400
PML4_BASE = 0x1000
PDPT_BASE = 0x2000
PD_BASE = 0x3000
PD_COUNT = 4
REAL_LOAD_BASE = 0x7C00
LOAD_BASE = 0x1_0000
USER_STACK_TOP = 0x7_0000
KERNEL_STACK_TOP = 0x8_0000
COMMAND_LINE_BASE = 0x8_0000
COMMAND_LINE_SIZE = 0x1000
BOOT_INFO_BASE = 0x8_1000
BOOT_INFO_SIZE = 0x1000
VIRTIO_TABLE_BASE = 0x8_2000
VIRTIO_TABLE_SIZE = 0x1000
BOOT_LIST_BASE = 0x8_3000
BOOT_LIST_SIZE = 0xD000
AP_TRAMPOLINE_BASE = 0x9_0000
GDT_BASE = 0x9_1000
TSS_BASE = GDT_BASE + 0x80  # on the same page: each page of a new machine costs a fault
EBDA_BASE = 0x9_FC00
EBDA_SIZE = 0x400
ACPI_BASE = 0xE_0000
ACPI_SIZE = 0x2_0000
MP_TABLE_BASE = 0xF_0000  # among those of ACPI, where MP 1.4 §4 has it looked for
HIGH_BASE = 0x10_0000
RAM_HOLE_BASE = 0xC000_0000
SCRATCH_BASE = 0xD000_0000
SCRATCH_SIZE = 0x1000
VIRTIO_BASE = 0xD000_1000
VIRTIO_STRIDE = 0x1000
VIRTIO_COUNT = 8
NIC_BASE = 0xD010_0000
NIC_SIZE = 0x2_0000
IOAPIC_BASE = 0xFEC0_0000
LAPIC_BASE = 0xFEE0_0000
KVM_IDENTITY_MAP_BASE = 0xFEFF_C000
KVM_TSS_BASE = 0xFEFF_D000
RAM_HIGH_BASE = 0x1_0000_0000

GPA_MAP = (
    Range("IVT", 0, 0x500, "real-mode interrupt vectors and BIOS data"),
    Range("PML4", PML4_BASE, PAGE_SIZE, "identity map, long mode"),
    Range("PDPT", PDPT_BASE, PAGE_SIZE, "identity map, long mode"),
    Range("PD", PD_BASE, PD_COUNT * PAGE_SIZE, "identity map: 4 GiB in 2 MiB pages"),
    Range("REAL_LOAD", REAL_LOAD_BASE, 0x8400, "real-mode guests; their stack grows down from it"),
    Range("LOAD", LOAD_BASE, 0x5_0000, "protected and long-mode guests"),
    Range("USER_STACK", 0x6_0000, 0x1_0000, "stack at CPL 3, grows down from the end"),
    Range("KERNEL_STACK", 0x7_0000, 0x1_0000, "stack at CPL 0, grows down from the end"),
    Range("COMMAND_LINE", COMMAND_LINE_BASE, COMMAND_LINE_SIZE, "NUL-terminated command line"),
    Range("BOOT_INFO", BOOT_INFO_BASE, BOOT_INFO_SIZE, "multiboot information, memory map"),
    Range("VIRTIO_TABLE", VIRTIO_TABLE_BASE, VIRTIO_TABLE_SIZE, "which virtio devices there are"),
    Range(
        "BOOT_LIST", BOOT_LIST_BASE, BOOT_LIST_SIZE, "multiboot modules; multiboot 2 information"
    ),
    Range("AP_TRAMPOLINE", AP_TRAMPOLINE_BASE, 0x1000, "where guests start further CPUs"),
    Range("GDT", GDT_BASE, 0x80, "descriptor table that pykvm builds"),
    Range(
        "TSS",
        TSS_BASE,
        0x2F80,
        "64-bit task state segment; allows every port below 0xfff8",
    ),
    Range("EBDA", EBDA_BASE, EBDA_SIZE, "extended BIOS data; not usable RAM in the memory map"),
    Range("ACPI", ACPI_BASE, ACPI_SIZE, "tables that describe the machine to a kernel"),
    Range("HIGH", HIGH_BASE, RAM_HOLE_BASE - HIGH_BASE, "RAM above 1 MiB, as far as it goes"),
    Range("SCRATCH", SCRATCH_BASE, SCRATCH_SIZE, "the scratch device"),
    Range("VIRTIO", VIRTIO_BASE, VIRTIO_COUNT * VIRTIO_STRIDE, "virtio-mmio devices, a page each"),
    Range("NIC", NIC_BASE, NIC_SIZE, "the 82540EM network card"),
    Range("IOAPIC", IOAPIC_BASE, 0x1000, "I/O APIC"),
    Range("LAPIC", LAPIC_BASE, 0x1000, "local APIC"),
    Range("KVM_IDENTITY_MAP", KVM_IDENTITY_MAP_BASE, PAGE_SIZE, "KVM's own page table"),
    Range("KVM_TSS", KVM_TSS_BASE, 3 * PAGE_SIZE, "KVM's own task state segment"),
    Range("RAM_HIGH", RAM_HIGH_BASE, MAX_RAM_SIZE, "RAM that does not fit below the hole"),
)


def name_of(gpa: int) -> str:
    """The range of GPA_MAP that holds an address."""
    return next(each.name for each in GPA_MAP if each.base <= gpa < each.base + each.size_bytes)


# Ports.
KEYBOARD_PORT = 0x64
CMOS_PORT = 0x70
DEBUGCON_PORT = 0xE9
ISA_DEBUG_EXIT_PORT = 0xF4
EXIT_PORT = 0xF8
COM1_PORT = 0x3F8
SCRATCH_PORT = 0x500
SCRATCH_PORT_COUNT = 8
PM1_EVENT_PORT = 0x600
PM1_CONTROL_PORT = 0x604
PM_TIMER_PORT = 0x608
RESET_PORT = 0xCF9

PORT_MAP = (
    Range("PIC1", 0x20, 2, "8259, with the in-kernel interrupt chips"),
    Range("PIT", 0x40, 4, "8254, with the in-kernel timer"),
    Range("KEYBOARD", KEYBOARD_PORT, 1, "keyboard controller's command port: resets, no more"),
    Range("CMOS", CMOS_PORT, 2, "CMOS RAM and real-time clock"),
    Range("PIC2", 0xA0, 2, "8259, with the in-kernel interrupt chips"),
    Range("DEBUGCON", DEBUGCON_PORT, 1, "debug console: a byte written is output"),
    Range("ISA_DEBUG_EXIT", ISA_DEBUG_EXIT_PORT, 4, "ends the run with status 2 * value + 1"),
    Range("EXIT", EXIT_PORT, 4, "ends the run with the value as status"),
    Range("COM1", COM1_PORT, 8, "16550A serial port"),
    Range("SCRATCH", SCRATCH_PORT, SCRATCH_PORT_COUNT, "the scratch device's ports"),
    Range("PM1_EVENT", PM1_EVENT_PORT, 4, "ACPI event status and enable"),
    Range("PM1_CONTROL", PM1_CONTROL_PORT, 2, "ACPI control: switches off"),
    Range("PM_TIMER", PM_TIMER_PORT, 4, "ACPI timer, 3.579545 MHz"),
    Range("RESET", RESET_PORT, 1, "reset control"),
)

# Ports of what the backend has, by the option that brings it.
CHIP_PORTS = {
    **dict.fromkeys((0x20, 0x21, 0xA0, 0xA1), '--irqchip full (irqchip="full")'),
    **dict.fromkeys((0x40, 0x41, 0x42, 0x43, 0x61), "--pit (pit=True)"),
}

COM1_IRQ = 4
CMOS_IRQ = 8
ACPI_IRQ = 9
NIC_IRQ = 10
VIRTIO_IRQ = 16  # of the first virtio device, the next has the next: lines of the I/O APIC

# Selectors in the GDT at GDT_BASE; loader/entry.py holds the descriptors. The order is
# what SYSCALL and SYSRET need (Intel SDM vol. 2B, SYSRET): code, data / code32, data, code64.
CODE32_SELECTOR = 0x08
CODE64_SELECTOR = 0x10
DATA_SELECTOR = 0x18
USER_CODE32_SELECTOR = 0x20
USER_DATA_SELECTOR = 0x28
USER_CODE64_SELECTOR = 0x30
TSS_SELECTOR = 0x40
CODE16_SELECTOR = 0x50
DATA16_SELECTOR = 0x58


def constants() -> dict[str, int]:
    """Every address, port, line and selector of this map by name, for the assembler."""
    return {
        name: value
        for name, value in globals().items()
        if name.isupper() and isinstance(value, int) and not name.startswith("_")
    }
