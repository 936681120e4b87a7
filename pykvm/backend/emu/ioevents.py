"""Guest accesses that need no exit, or get one: eventfds, collected writes, MSRs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend.common import check_ioeventfd, check_traps
from pykvm.backend.emu.calls import check
from pykvm.backend.emu.handle import Handle
from pykvm.backend.types import MsrExitReason, MsrTrap
from pykvm.exits import MmioWrite, PortOut

_MASK = (1 << 64) - 1


class IoEvents(Handle):
    """The part of a machine that has to do with such accesses."""

    def add_ioeventfd(
        self,
        fd: int,
        address: int,
        size: int = 0,
        *,
        port: bool = False,
        datamatch: int | None = None,
    ) -> None:
        """Signal an eventfd at each guest write to an address; the processor does not exit.

        Args:
            address: a guest-physical address, or a port.
            size: of the write in bytes: 1, 2, 4 or 8; 0 for any.
            datamatch: only writes of this value count; others exit as usual.
        """
        check_ioeventfd(size, datamatch)
        match = _match(datamatch)
        result = lib.emu_vm_add_ioeventfd(self.native, fd, port, address, size, match)
        check(result, "an ioeventfd")

    def remove_ioeventfd(
        self,
        fd: int,
        address: int,
        size: int = 0,
        *,
        port: bool = False,
        datamatch: int | None = None,
    ) -> None:
        """Take an eventfd away again; the arguments are those it was added with."""
        match = _match(datamatch)
        result = lib.emu_vm_remove_ioeventfd(self.native, fd, port, address, size, match)
        check(result, "an ioeventfd")

    def add_coalesced(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Collect the guest's writes to a range until there is no room or somebody asks.

        The processor does not exit for them: `take_coalesced` gives them, best before each
        exit is dealt with, since they came before it.
        """
        result = lib.emu_vm_add_coalesced(self.native, port, address, size_bytes)
        check(result, "a coalesced zone")

    def remove_coalesced(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Let writes to a range exit again; what was collected can still be taken."""
        lib.emu_vm_remove_coalesced(self.native, port, address, size_bytes)

    def take_coalesced(self) -> list[PortOut | MmioWrite]:
        """The writes collected since the last call, oldest first, from any processor."""
        writes = ffi.new("struct emu_write[]", lib.EMU_COALESCED_MAX)
        count = lib.emu_vm_take_coalesced(self.native, writes)
        return [_write(each) for each in writes[0:count]]

    def enable_msr_exits(
        self, reasons: MsrExitReason = MsrExitReason.UNKNOWN | MsrExitReason.INVALID
    ) -> None:
        """Let accesses of these kinds exit, where the guest would otherwise take #GP."""
        lib.emu_vm_set_msr_exits(self.native, reasons)

    def trap_msrs(self, traps: Sequence[MsrTrap]) -> None:
        """Let accesses to these MSRs exit; replaces the traps set before.

        The x2APIC's MSRs (0x800 to 0x8FF) cannot be trapped. The exits come where
        `enable_msr_exits` includes FILTER; otherwise the guest takes #GP.

        Raises:
            UsageError: too many traps, or one of too many MSRs.
        """
        check_traps(traps)
        raw = ffi.new(
            "struct emu_msr_trap[]",
            [(each.indices.start, len(each.indices), each.reads, each.writes) for each in traps],
        )
        lib.emu_vm_set_msr_traps(self.native, raw, len(raw))


def _match(datamatch: int | None) -> Any:
    return ffi.NULL if datamatch is None else ffi.new("uint64_t *", datamatch & _MASK)


def _write(raw: Any) -> PortOut | MmioWrite:
    kind = PortOut if raw.is_port else MmioWrite
    return kind(raw.address, raw.size, int(raw.value).to_bytes(8, "little")[: raw.size])
