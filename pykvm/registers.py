"""General, segment and control registers as declared tables, and access to them by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol

from pykvm.errors import RegisterError

GENERAL = [
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rsp",
    "rbp",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rip",
    "rflags",
]
SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")
TABLES = ("gdt", "idt")
CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")

# Control register bits, Intel SDM vol. 3A §2.5; EFER §2.2.1.
CR0_PE = 1 << 0
CR0_MP = 1 << 1
CR0_ET = 1 << 4
CR0_NE = 1 << 5
CR0_WP = 1 << 16
CR0_PG = 1 << 31
CR4_PAE = 1 << 5
CR4_OSFXSR = 1 << 9
CR4_OSXMMEXCPT = 1 << 10
EFER_SCE = 1 << 0
EFER_LME = 1 << 8
EFER_LMA = 1 << 10
APIC_BASE_BSP = 1 << 8  # IA32_APIC_BASE, §10.4.4
APIC_BASE_ENABLE = 1 << 11
RFLAGS_FIXED = 1 << 1
RFLAGS_IF = 1 << 9
RFLAGS_IOPL3 = 3 << 12
RFLAGS_RF = 1 << 16


@dataclass(slots=True)
class Registers:
    """General registers, instruction pointer and flags; 64-bit unsigned each."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rsp: int = 0
    rbp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    rflags: int = RFLAGS_FIXED


@dataclass(slots=True)
class Segment:
    """A segment register with its hidden part. Source: Intel SDM vol. 3A §3.4.3, §3.4.5.

    Attributes:
        base, limit: in bytes; the limit is expanded (0xFFFFFFFF for a flat segment).
        type: the descriptor's four type bits; s: 1 for code and data.
        db: default size 32 bits; l: 64-bit code; g: limit counts pages.
    """

    base: int = 0
    limit: int = 0xFFFF
    selector: int = 0
    type: int = 3
    present: int = 1
    dpl: int = 0
    db: int = 0
    s: int = 1
    l: int = 0  # noqa: E741  the descriptor bit's name in the manual
    g: int = 0
    avl: int = 0
    unusable: int = 0


@dataclass(slots=True)
class Table:
    """GDTR or IDTR: linear base and limit in bytes minus one."""

    base: int = 0
    limit: int = 0


@dataclass(slots=True)
class SpecialRegisters:
    """Segment, table and control registers."""

    cs: Segment = field(default_factory=Segment)
    ds: Segment = field(default_factory=Segment)
    es: Segment = field(default_factory=Segment)
    fs: Segment = field(default_factory=Segment)
    gs: Segment = field(default_factory=Segment)
    ss: Segment = field(default_factory=Segment)
    tr: Segment = field(default_factory=Segment)
    ldt: Segment = field(default_factory=Segment)
    gdt: Table = field(default_factory=Table)
    idt: Table = field(default_factory=Table)
    cr0: int = CR0_ET
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    cr8: int = 0
    efer: int = 0
    apic_base: int = 0

    @property
    def bits(self) -> int:
        """Operand size of the code segment: 16, 32 or 64."""
        if self.efer & EFER_LMA and self.cs.l:
            return 64
        return 32 if self.cs.db else 16


def _aliases() -> dict[str, tuple[str, int, int]]:
    """Names of parts: "al" -> ("rax", shift 0, 8 bits)."""
    names: dict[str, tuple[str, int, int]] = {
        "eflags": ("rflags", 0, 32),
        "eip": ("rip", 0, 32),
        "ip": ("rip", 0, 16),
    }
    for letter in "abcd":
        full = f"r{letter}x"
        names[f"e{letter}x"], names[f"{letter}x"] = (full, 0, 32), (full, 0, 16)
        names[f"{letter}l"], names[f"{letter}h"] = (full, 0, 8), (full, 8, 8)
    for short in ("si", "di", "sp", "bp"):
        full = f"r{short}"
        names[f"e{short}"], names[short], names[f"{short}l"] = (
            (full, 0, 32),
            (full, 0, 16),
            (full, 0, 8),
        )
    for number in range(8, 16):
        full = f"r{number}"
        for suffix, bits in (("d", 32), ("w", 16), ("b", 8)):
            names[full + suffix] = (full, 0, bits)
    return names


ALIASES = _aliases()


class RegisterHolder(Protocol):
    """The part of a vCPU that `RegisterFile` reads and writes."""

    def get_registers(self) -> Registers:
        """All general registers."""
        ...

    def set_registers(self, registers: Registers) -> None:
        """Set all general registers."""
        ...

    def get_special(self) -> SpecialRegisters:
        """Segment, table and control registers."""
        ...

    def set_special(self, special: SpecialRegisters) -> None:
        """Set segment, table and control registers."""
        ...


class RegisterFile:
    """A vCPU's registers by name: `registers.rax`, `registers["al"]`, `registers.cr3`.

    Segments give their selector ("cs"); `special()` has the hidden parts. Writing a part
    of a register keeps the rest (32-bit parts included: nothing is zero-extended).
    Every access asks the vCPU, so values are those of now.

    Raises:
        RegisterError: no such register, or a value that does not fit.
    """

    __slots__ = ("_holder",)
    _holder: RegisterHolder

    def __init__(self, holder: RegisterHolder) -> None:
        object.__setattr__(self, "_holder", holder)

    def __getitem__(self, name: str) -> int:
        full, shift, bits = _resolve(name)
        if full in GENERAL:
            value: int = getattr(self._holder.get_registers(), full)
        else:
            special = getattr(self._holder.get_special(), full)
            value = special.selector if isinstance(special, Segment) else special
        return value >> shift & (1 << bits) - 1

    def __setitem__(self, name: str, value: int) -> None:
        full, shift, bits = _resolve(name)
        mask = (1 << bits) - 1
        if not isinstance(value, int) or not -(1 << bits - 1) <= value <= mask:
            raise RegisterError(name, f"{value!r} does not fit in {bits} bits")
        if full in GENERAL:
            registers = self._holder.get_registers()
            old = getattr(registers, full)
            setattr(registers, full, old & ~(mask << shift) | (value & mask) << shift)
            self._holder.set_registers(registers)
            return
        special = self._holder.get_special()
        if full in SEGMENTS:
            getattr(special, full).selector = value & mask
        else:
            setattr(special, full, value & mask)
        self._holder.set_special(special)

    def __getattr__(self, name: str) -> int:
        return self[name]

    def __setattr__(self, name: str, value: int) -> None:
        self[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter((*GENERAL, *SEGMENTS, *CONTROL))

    def general(self) -> Registers:
        """All general registers, one copy."""
        return self._holder.get_registers()

    def special(self) -> SpecialRegisters:
        """All segment and control registers with their hidden parts, one copy."""
        return self._holder.get_special()

    def as_dict(self) -> dict[str, int]:
        """Every register that `__iter__` names, read together."""
        general, special = self._holder.get_registers(), self._holder.get_special()
        values = {each.name: getattr(general, each.name) for each in fields(general)}
        values |= {name: getattr(special, name).selector for name in SEGMENTS}
        values |= {name: getattr(special, name) for name in CONTROL}
        return values


def _resolve(name: str) -> tuple[str, int, int]:
    if name in ALIASES:
        return ALIASES[name]
    if name in GENERAL or name in CONTROL:
        return name, 0, 64
    if name in SEGMENTS:
        return name, 0, 16
    raise RegisterError(
        name, "there is no such register; names are those of the manual, in lower case"
    )
