"""Memory slots: which regions of host memory the guest sees, where, and how."""

from __future__ import annotations

from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend.kvm.handle import Handle
from pykvm.backend.kvm.system import System
from pykvm.errors import LayoutError
from pykvm.memory import GuestMemory, Region


class MemorySlots(Handle):
    """The part of a VM that maps memory. Source: api.rst §4.35."""

    _native: Any  # struct pykvm_vm
    _slots: dict[int, Region]
    _logged: frozenset[int] = frozenset()

    def map(self, region: Region, *, log_dirty: bool = False) -> None:
        """Let the guest see a region.

        Args:
            log_dirty: note which of its pages are written, from the start.

        Raises:
            LayoutError: KVM takes no more slots (KVM_CAP_NR_MEMSLOTS).
            MissingCapability: the region is read-only, and this KVM lacks KVM_CAP_READONLY_MEM.
            KvmError: it overlaps another slot.
        """
        slot = self._free_slot()
        self._set(slot, region, region.size_bytes, log_dirty)
        self._slots[slot] = region
        self._note_logging(slot, log_dirty)

    def unmap(self, region: Region) -> None:
        """Take a region away; the guest's accesses there exit as MMIO from then on."""
        slot = self.slot_of(region)
        self._set(slot, region, 0, False)
        del self._slots[slot]
        self._note_logging(slot, False)

    def move(self, memory: GuestMemory, region: Region, gpa: int) -> None:
        """Let host and guest see a mapped region of `memory` at another address.

        Raises:
            LayoutError: not a page's address, or overlapping another region.
            KvmError: KVM refuses; nothing has changed then.
        """
        slot = self.slot_of(region)
        old_gpa = region.gpa
        memory.move(region, gpa)
        try:
            self._set(slot, region, region.size_bytes, slot in self._logged)
        except BaseException:
            memory.move(region, old_gpa)
            raise

    def set_dirty_logging(self, region: Region, on: bool) -> None:
        """Start or stop noting which pages of a mapped region are written."""
        slot = self.slot_of(region)
        self._set(slot, region, region.size_bytes, on)
        self._note_logging(slot, on)

    def slot_of(self, region: Region) -> int:
        """The slot's number.

        Raises:
            LayoutError: the region is not mapped.
        """
        for slot, mapped in self._slots.items():
            if mapped is region:
                return slot
        raise LayoutError(f"the region at {region.gpa:#x} is not mapped into this machine")

    def _free_slot(self) -> int:
        slot = len(self._slots)
        if slot >= self.system.capability("KVM_CAP_NR_MEMSLOTS"):
            raise LayoutError(f"this KVM takes {slot} memory slots (KVM_CAP_NR_MEMSLOTS)")
        while slot in self._slots:  # some below were given back
            slot -= 1
        return slot

    def _set(self, slot: int, region: Region, size_bytes: int, log_dirty: bool) -> None:
        flags = slot_flags(self.system, region)
        if log_dirty:
            flags |= lib.KVM_MEM_LOG_DIRTY_PAGES
        where = region.gpa, size_bytes, region.hva
        if lib.pykvm_slot_set(self._native, slot, flags, *where) < 0:
            raise self.failure("KVM_SET_USER_MEMORY_REGION", ffi.errno)

    def _note_logging(self, slot: int, on: bool) -> None:
        if on != (slot in self._logged):
            self._logged ^= {slot}


def slot_flags(system: System, region: Region) -> int:
    """The flags of a region's slot.

    Raises:
        MissingCapability: it is read-only, and this KVM lacks KVM_CAP_READONLY_MEM.
    """
    if not region.readonly:
        return 0
    system.require("KVM_CAP_READONLY_MEM")
    return int(lib.KVM_MEM_READONLY)
