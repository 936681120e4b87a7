"""What every loader makes of a file: bytes for guest memory, and how to enter them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pykvm import layout
from pykvm.errors import UsageError
from pykvm.registers import SpecialRegisters
from pykvm.text import excerpt


class Mode(Enum):
    """How a guest is entered; `pykvm.loader.entry` builds the state."""

    REAL = "real"  # 16-bit, segments at 0
    PROTECTED = "protected"  # 32-bit, flat, no paging
    LONG = "long"  # 64-bit at CPL 0, identity-mapped
    USER = "user"  # 64-bit at CPL 3, identity-mapped, IOPL 3

    __hash__ = object.__hash__  # Enum's own is Python, and every load looks modes up

    @property
    def bits(self) -> int:
        """Operand size of the code: 16, 32 or 64."""
        return {"real": 16, "protected": 32}.get(self.value, 64)

    @property
    def load_base(self) -> int:
        """Where a guest without an address of its own goes, and where it is entered."""
        return layout.REAL_LOAD_BASE if self is Mode.REAL else layout.LOAD_BASE

    @property
    def entry_limit(self) -> int:
        """First address that cannot be an entry: 64 KiB with CS at 0, else 4 GiB.

        Long mode's identity map ends where a 32-bit instruction pointer does.
        """
        return 1 << 16 if self is Mode.REAL else 1 << 32

    @classmethod
    def parse(cls, name: Mode | str) -> Mode:
        """The mode of that name.

        Raises:
            UsageError: there is none.
        """
        try:
            return cls(name)
        except ValueError:
            names = ", ".join(mode.value for mode in cls)
            raise UsageError(f"there is no mode {excerpt(name)}; choose one of {names}") from None


@dataclass(frozen=True)
class Image:
    """A guest, ready to be put into memory.

    Attributes:
        name: the file's path, or a name for a guest that came from memory.
        mode: how it is entered.
        entry: guest-physical address of its first instruction.
        pieces: (gpa, bytes) to write.
        zeros: (gpa, size_bytes) to clear; a length, so that a large .bss costs nothing.
        symbols: addresses by name.
        registers: values other than the mode's own, e.g. {"rax": 0x2BADB002}.
        multiboot: the version of the protocol whose information it is owed; 0 for none.
        state: segment and control registers other than the mode's own: a constant. The descriptor
            table has its segments too.
        load_base: where a multiboot 2 kernel lies that could be moved; None for others.
    """

    name: str
    mode: Mode
    entry: int
    pieces: tuple[tuple[int, bytes], ...]
    symbols: dict[str, int] = field(default_factory=dict)
    registers: dict[str, int] = field(default_factory=dict)
    multiboot: int = 0
    zeros: tuple[tuple[int, int], ...] = ()
    state: SpecialRegisters | None = None
    load_base: int | None = None

    @property
    def extents(self) -> list[tuple[int, int]]:
        """(gpa, size_bytes) of all that it writes and clears."""
        extents = list(self.zeros)
        for gpa, data in self.pieces:
            extents.append((gpa, len(data)))
        return extents

    @property
    def end(self) -> int:
        """First address behind all of it."""
        return max(gpa + size_bytes for gpa, size_bytes in self.extents)
