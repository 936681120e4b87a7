"""The processor state and tables that a guest finds when it starts, mode by mode.

Source: Intel SDM vol. 3A §3.4.5 (descriptors), §4.5 (4-level paging), §7.7 (64-bit TSS),
§9.1 (state after reset).
"""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache

from pykvm import layout
from pykvm.backend.protocol import Vcpu
from pykvm.loader.image import Mode
from pykvm.memory import GuestMemory
from pykvm.registers import (
    APIC_BASE_BSP,
    APIC_BASE_ENABLE,
    CR0_ET,
    CR0_MP,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR4_OSFXSR,
    CR4_OSXMMEXCPT,
    CR4_PAE,
    EFER_LMA,
    EFER_LME,
    RFLAGS_FIXED,
    RFLAGS_IOPL3,
    Segment,
    SpecialRegisters,
    Table,
)

_CODE, _DATA, _BUSY_TSS = 11, 3, 11  # types: execute-read, read-write, 64-bit TSS (busy)
_PTE_P, _PTE_RW, _PTE_US, _PDE_PS = 1 << 0, 1 << 1, 1 << 2, 1 << 7
TSS_FIXED_SIZE = 104
TSS_SIZE = TSS_FIXED_SIZE + 0x1_0000 // 8  # with a bit per port


def _flat(selector: int, kind: int, dpl: int, *, db: int = 0, long: int = 0) -> Segment:
    return Segment(
        base=0, limit=0xFFFF_FFFF, selector=selector | dpl, type=kind, dpl=dpl, db=db, l=long, g=1
    )


CODE16 = Segment(limit=0xFFFF, selector=layout.CODE16_SELECTOR, type=_CODE)
DATA16 = Segment(limit=0xFFFF, selector=layout.DATA16_SELECTOR, type=_DATA)
CODE32 = _flat(layout.CODE32_SELECTOR, _CODE, 0, db=1)
CODE64 = _flat(layout.CODE64_SELECTOR, _CODE, 0, long=1)
DATA = _flat(layout.DATA_SELECTOR, _DATA, 0, db=1)
USER_CODE32 = _flat(layout.USER_CODE32_SELECTOR, _CODE, 3, db=1)
USER_DATA = _flat(layout.USER_DATA_SELECTOR, _DATA, 3, db=1)
USER_CODE64 = _flat(layout.USER_CODE64_SELECTOR, _CODE, 3, long=1)
TSS = Segment(
    base=layout.TSS_BASE, limit=TSS_SIZE - 1, selector=layout.TSS_SELECTOR, type=_BUSY_TSS, s=0
)
LDT = Segment(type=2, s=0, limit=0, unusable=1)
GDT_SEGMENTS = (CODE16, DATA16, CODE32, CODE64, DATA, USER_CODE32, USER_DATA, USER_CODE64)
GDT_SIZE = 0x60


def descriptor(segment: Segment) -> int:
    """A segment as the eight bytes of its descriptor."""
    limit = segment.limit >> 12 if segment.g else segment.limit
    access = segment.type | segment.s << 4 | segment.dpl << 5 | segment.present << 7
    flags = segment.avl | segment.l << 1 | segment.db << 2 | segment.g << 3
    return (
        limit & 0xFFFF
        | (segment.base & 0xFF_FFFF) << 16
        | access << 40
        | (limit >> 16 & 0xF) << 48
        | flags << 52
        | (segment.base >> 24 & 0xFF) << 56
    )


def gdt(*others: Segment) -> bytes:
    """The descriptor table at layout.GDT_BASE.

    Args:
        others: segments that take the places of the usual ones with these selectors.
    """
    entries = [0] * (GDT_SIZE // 8)
    for segment in (*GDT_SEGMENTS, *others):
        entries[segment.selector >> 3] = descriptor(segment)
    slot = layout.TSS_SELECTOR >> 3
    entries[slot : slot + 2] = [descriptor(TSS), TSS.base >> 32]
    return struct.pack(f"<{len(entries)}Q", *entries)


def tss() -> bytes:
    """The 64-bit TSS at layout.TSS_BASE: RSP0 for entries from CPL 3, and behind this fixed part
    a bitmap of zeros that allows every port below 0xfff8, where a processor would read on.

    The bitmap is there because hosts without VT-x and AMD-V do not keep IOPL.
    Source: Intel SDM vol. 1 §19.5.2.
    """
    fixed = struct.pack("<IQ", 0, layout.KERNEL_STACK_TOP).ljust(TSS_FIXED_SIZE - 2, b"\0")
    return fixed + struct.pack("<H", TSS_FIXED_SIZE)


def page_tables() -> bytes:
    """PML4, PDPT and four page directories: 4 GiB identity-mapped, user-accessible."""
    table = _PTE_P | _PTE_RW | _PTE_US
    pml4 = struct.pack("<512Q", layout.PDPT_BASE | table, *[0] * 511)
    directories = [layout.PD_BASE + i * layout.PAGE_SIZE | table for i in range(layout.PD_COUNT)]
    pdpt = struct.pack("<512Q", *directories, *[0] * (512 - layout.PD_COUNT))
    pages = [i * layout.LARGE_PAGE_SIZE | table | _PDE_PS for i in range(512 * layout.PD_COUNT)]
    return pml4 + pdpt + struct.pack(f"<{len(pages)}Q", *pages)


def _descriptors(state: SpecialRegisters | None = None) -> bytes:
    """Both tables, as they lie on one page."""
    others = (state.cs, state.ds) if state else ()
    return gdt(*others).ljust(layout.TSS_BASE - layout.GDT_BASE, b"\0") + tss()


def flat32(code_selector: int, data_selector: int) -> SpecialRegisters:
    """The state of protected mode with selectors that a boot protocol asks for."""
    data = replace(DATA, selector=data_selector)
    return replace(
        _PROTECTED, cs=replace(CODE32, selector=code_selector),
        ds=data, es=data, fs=data, gs=data, ss=data,
    )  # fmt: skip


def real(code_selector: int, data_selector: int) -> SpecialRegisters:
    """The state of real mode with segments other than 0."""
    data = Segment(base=data_selector << 4, selector=data_selector)
    code = replace(_REAL.cs, base=code_selector << 4, selector=code_selector)
    return replace(_REAL, cs=code, ds=data, es=data, fs=data, gs=data, ss=data)


_DESCRIPTORS = _descriptors()
_BITMAP_BASE = layout.TSS_BASE + TSS_FIXED_SIZE
_PAGE_TABLES = page_tables()


# Whole states, so that nothing is left of what a machine ran before.
_RESET_APIC_BASE = layout.LAPIC_BASE | APIC_BASE_BSP | APIC_BASE_ENABLE
_COMMON = SpecialRegisters(
    ldt=LDT,
    tr=TSS,
    gdt=Table(layout.GDT_BASE, GDT_SIZE - 1),
    cr0=CR0_ET,
    cr4=CR4_OSFXSR | CR4_OSXMMEXCPT,
    apic_base=_RESET_APIC_BASE,
)
_REAL = replace(_COMMON, cs=Segment(type=_CODE), gdt=Table(), idt=Table(0, 0x3FF))
_PROTECTED = replace(
    _COMMON, cs=CODE32, ds=DATA, es=DATA, fs=DATA, gs=DATA, ss=DATA,
    cr0=CR0_PE | CR0_MP | CR0_ET | CR0_NE,
)  # fmt: skip
_LONG = replace(
    _PROTECTED,
    cs=CODE64,
    cr0=_PROTECTED.cr0 | CR0_PG,
    cr3=layout.PML4_BASE,
    cr4=_PROTECTED.cr4 | CR4_PAE,
    efer=EFER_LME | EFER_LMA,
)
_USER = replace(
    _LONG, cs=USER_CODE64, ds=USER_DATA, es=USER_DATA, fs=USER_DATA, gs=USER_DATA, ss=USER_DATA
)
RESET = SpecialRegisters(  # Intel SDM vol. 3A table 9-1
    cs=Segment(base=0xFFFF_0000, selector=0xF000, type=_CODE),
    ldt=Segment(type=2, s=0),
    tr=Segment(type=_BUSY_TSS, s=0),
    gdt=Table(0, 0xFFFF),
    idt=Table(0, 0xFFFF),
    cr0=0x6000_0010,  # caches off
    apic_base=_RESET_APIC_BASE,
)
LINUX32 = flat32(0x10, 0x18)  # boot.rst of Linux, "32-bit Boot Protocol": __BOOT_CS, __BOOT_DS
MULTIBOOT = flat32(0x08, 0x10)  # as GRUB and QEMU do it: kernels load DS with 0x10
_MODES = {
    Mode.REAL: (_REAL, layout.REAL_LOAD_BASE),
    Mode.PROTECTED: (_PROTECTED, layout.KERNEL_STACK_TOP),
    Mode.LONG: (_LONG, layout.KERNEL_STACK_TOP),
    Mode.USER: (_USER, layout.USER_STACK_TOP),
}


_RANGES = {each.name: each for each in layout.GPA_MAP}
_TABLES = {
    Mode.REAL: (),
    Mode.PROTECTED: ("GDT", "TSS"),
    Mode.LONG: ("GDT", "TSS", "PML4", "PDPT", "PD"),
    Mode.USER: ("GDT", "TSS", "PML4", "PDPT", "PD"),
}


@cache
def built_ranges(mode: Mode) -> tuple[layout.Range, ...]:
    """What pykvm writes into memory for every image of a mode."""
    return tuple(_RANGES[name] for name in (*_TABLES[mode], "COMMAND_LINE", "VIRTIO_TABLE"))


def enter(
    memory: GuestMemory, vcpu: Vcpu, mode: Mode, entry: int, *,
    state: SpecialRegisters | None = None, is_new: bool = False,
) -> None:  # fmt: skip
    """Put tables into memory and registers into the first vCPU, so that it starts at `entry`.

    Real mode gets no tables; protected mode the GDT and TSS; long mode page tables too.
    Flags are clear but for IOPL 3 at CPL 3, so that IN and OUT work there.

    Args:
        state: segment and control registers other than the mode's own, a constant; the descriptor
            table then has its segments.
        is_new: nothing was ever written to the tables' place.
    """
    if mode is not Mode.REAL:
        memory.write(layout.GDT_BASE, _DESCRIPTORS if state is None else _descriptors(state))
        if not is_new:
            memory.clear(_BITMAP_BASE, TSS_SIZE - TSS_FIXED_SIZE)
    if mode in (Mode.LONG, Mode.USER):
        memory.write(layout.PML4_BASE, _PAGE_TABLES)
    special, stack_top = _MODES[mode]
    special = state or special
    flags = RFLAGS_FIXED | (RFLAGS_IOPL3 if mode is Mode.USER else 0)
    vcpu.reset(special, entry - special.cs.base, stack_top, flags)
