"""An emulated machine's memory: which regions the guest sees, and which pages it has written."""

from __future__ import annotations

from collections.abc import Iterable

from pykvm._native import ffi, lib
from pykvm.backend.common import bitmap_for, bitmap_of, pages_in
from pykvm.backend.emu.calls import check, check_map
from pykvm.backend.emu.handle import Handle
from pykvm.errors import LayoutError, MissingCapability, UsageError
from pykvm.memory import GuestMemory, Region


class MemoryAccess(Handle):
    """The part of a machine that maps memory and logs writes to it."""

    _regions: list[Region]
    _protects_manually = False

    def map(self, region: Region, *, log_dirty: bool = False) -> None:
        """Let the guest see a region.

        Args:
            log_dirty: note which of its pages are written, from the start.
        """
        flags = lib.EMU_MAP_READONLY if region.readonly else 0
        hva = ffi.cast("void *", region.hva)
        result = lib.emu_vm_map(self.native, region.gpa, region.size_bytes, hva, flags)
        check_map(result, region.gpa, region.size_bytes)
        region.listen("emu_vm_note_write", self.native)
        region.is_mapped = True
        self._regions.append(region)
        if log_dirty:
            self.set_dirty_logging(region, True)

    def unmap(self, region: Region) -> None:
        """Take a region away; the guest's accesses there exit as MMIO from then on."""
        self._check_mapped(region)
        check_map(lib.emu_vm_unmap(self.native, region.gpa), region.gpa, region.size_bytes)
        region.listen_no_more()
        region.is_mapped = False
        self._regions.remove(region)

    def move(self, memory: GuestMemory, region: Region, gpa: int) -> None:
        """Let host and guest see a mapped region of `memory` at another address.

        Its dirty log goes on, with the pages that were written before the move.
        """
        self._check_mapped(region)
        old_gpa = region.gpa
        memory.move(region, gpa)
        result = lib.emu_vm_move(self.native, old_gpa, gpa)
        if result:
            memory.move(region, old_gpa)
        check_map(result, gpa, region.size_bytes)

    def note_write(self, gpa: int, size_bytes: int) -> None:
        """Memory was written from outside: code decoded from it is void."""
        lib.emu_vm_note_write(self.native, gpa, size_bytes)

    def set_dirty_logging(self, region: Region, on: bool) -> None:
        """Start or stop noting which pages of a mapped region are written."""
        self._check_mapped(region)
        check(lib.emu_vm_set_dirty_log(self.native, region.gpa, on), "a dirty log")

    def dirty_log(self, region: Region) -> list[int]:
        """Pages of a region written since the last call, as ascending addresses.

        Only the guest's own writes count, not those made through `GuestMemory`.
        """
        self._check_mapped(region)
        bitmap = bitmap_for(region)
        clear = not self._protects_manually
        check(lib.emu_vm_get_dirty_log(self.native, region.gpa, bitmap, clear), "a dirty log")
        return pages_in(region, bitmap)

    def protect_dirty_manually(self) -> None:
        """From now on `dirty_log` only tells, and `clear_dirty_log` starts pages anew."""
        self._protects_manually = True

    def clear_dirty_log(self, region: Region, gpas: Iterable[int]) -> None:
        """Watch these pages of a region again, after `protect_dirty_manually`.

        Raises:
            UsageError: a page is outside the region, or pages start anew by themselves.
        """
        if not self._protects_manually:
            raise UsageError("dirty_log() clears by itself; call protect_dirty_manually() before")
        self._check_mapped(region)
        bitmap = bitmap_of(region, gpas)
        check(lib.emu_vm_clear_dirty_log(self.native, region.gpa, bitmap), "a dirty log")

    def enable_dirty_ring(self, entries: int) -> None:
        """There are none here: the log tells the same.

        Raises:
            MissingCapability: always.
        """
        raise MissingCapability("KVM_CAP_DIRTY_LOG_RING", "the emulator", "use the dirty log")

    def _check_mapped(self, region: Region) -> None:
        if not any(each is region for each in self._regions):
            raise LayoutError(f"the region at {region.gpa:#x} is not mapped into this machine")
