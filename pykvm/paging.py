"""Guest page tables, walked from outside: from a linear to a guest-physical address.

Source: Intel SDM vol. 3A §4.3 (32-bit), §4.4 (PAE), §4.5 (4-level and 5-level).
"""

from __future__ import annotations

from pykvm.errors import MemoryAccessError
from pykvm.memory import GuestMemory
from pykvm.registers import CR0_PG, CR4_PAE, EFER_LMA, SpecialRegisters

CR4_PSE, CR4_LA57 = 1 << 4, 1 << 12
_PRESENT, _LARGE = 1 << 0, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000


def translate(memory: GuestMemory, special: SpecialRegisters, linear: int) -> int | None:
    """The guest-physical address behind a linear one; None where nothing is mapped.

    Only presence is looked at: no permissions, no accessed or dirty bits.
    """
    if not special.cr0 & CR0_PG:
        return linear & 0xFFFF_FFFF
    levels: tuple[int, ...]
    if special.efer & EFER_LMA:
        levels, entry_bytes, table = (39, 30, 21, 12), 8, special.cr3 & _ADDRESS
        if special.cr4 & CR4_LA57:
            levels = (48, *levels)
    elif special.cr4 & CR4_PAE:
        levels, entry_bytes, table = (30, 21, 12), 8, special.cr3 & 0xFFFF_FFE0
    else:
        levels, entry_bytes, table = (22, 12), 4, special.cr3 & 0xFFFF_F000
    try:
        return _walk(memory, special, linear, levels, entry_bytes, table)
    except MemoryAccessError:
        return None


def _walk(
    memory: GuestMemory, special: SpecialRegisters, linear: int,
    levels: tuple[int, ...], entry_bytes: int, table: int,
) -> int | None:  # fmt: skip
    index_mask = 0x3FF if entry_bytes == 4 else 0x1FF
    for shift in levels:
        index = linear >> shift & (3 if len(levels) == 3 and shift == 30 else index_mask)
        entry = memory.read_int(table + index * entry_bytes, entry_bytes)
        if not entry & _PRESENT:
            return None
        large = entry & _LARGE and shift in (30, 22, 21) and not (len(levels) == 3 and shift == 30)
        if large and (entry_bytes == 8 or special.cr4 & CR4_PSE):
            page = (1 << shift) - 1
            return entry & _ADDRESS & ~page | linear & page
        table = entry & _ADDRESS
    return table | linear & 0xFFF


def read_linear(
    memory: GuestMemory, special: SpecialRegisters, linear: int, size_bytes: int
) -> bytes:
    """Up to `size_bytes` bytes of guest code or data at a linear address; fewer where unmapped."""
    data = bytearray()
    while len(data) < size_bytes:
        address = linear + len(data) & 0xFFFF_FFFF_FFFF_FFFF
        gpa = translate(memory, special, address)
        length = min(size_bytes - len(data), 0x1000 - (address & 0xFFF))
        if gpa is None:
            break
        try:
            data += memory.read(gpa, length)
        except MemoryAccessError:
            break
    return bytes(data)
