"""Guest writes that need no exit: eventfds that they signal, and zones that collect them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.backend.common import check_ioeventfd
from pykvm.backend.kvm.handle import Handle
from pykvm.exits import MmioWrite, PortOut

if TYPE_CHECKING:
    from pykvm.backend.kvm.vcpu import KvmVcpu


class IoEvents(Handle):
    """The part of a VM that has to do with such writes."""

    vcpus: list[KvmVcpu]

    def add_ioeventfd(
        self,
        fd: int,
        address: int,
        size: int = 0,
        *,
        port: bool = False,
        datamatch: int | None = None,
    ) -> None:
        """Signal an eventfd at each guest write to an address; the vCPU does not exit.

        Args:
            address: a guest-physical address, or a port.
            size: of the write in bytes: 1, 2, 4 or 8; 0 for any.
            datamatch: only writes of this value count; others exit as usual.

        Raises:
            MissingCapability: KVM_CAP_IOEVENTFD, or KVM_CAP_IOEVENTFD_ANY_LENGTH for size 0.

        Source: api.rst §4.59.
        """
        self.system.require("KVM_CAP_IOEVENTFD")
        if size == 0:
            self.system.require("KVM_CAP_IOEVENTFD_ANY_LENGTH")
        self.call("KVM_IOEVENTFD", _ioeventfd(fd, address, size, port, datamatch, 0))

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
        flags = lib.KVM_IOEVENTFD_FLAG_DEASSIGN
        self.call("KVM_IOEVENTFD", _ioeventfd(fd, address, size, port, datamatch, flags))

    def add_coalesced(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Collect the guest's writes to a range in KVM until its ring is full or somebody asks.

        The vCPU does not exit for them: `take_coalesced` gives them, best before each
        exit is dealt with, since they came before it.

        Raises:
            MissingCapability: KVM_CAP_COALESCED_MMIO, or KVM_CAP_COALESCED_PIO for ports.

        Source: api.rst §4.116.
        """
        self.system.require("KVM_CAP_COALESCED_PIO" if port else "KVM_CAP_COALESCED_MMIO")
        self.call("KVM_REGISTER_COALESCED_MMIO", _zone(address, size_bytes, port))

    def remove_coalesced(self, address: int, size_bytes: int, *, port: bool = False) -> None:
        """Let writes to a range exit again; what was collected can still be taken."""
        self.call("KVM_UNREGISTER_COALESCED_MMIO", _zone(address, size_bytes, port))

    def take_coalesced(self) -> list[PortOut | MmioWrite]:
        """The writes collected since the last call, oldest first, from any vCPU."""
        self.check_open()
        if not self.vcpus:
            return []
        native = self.vcpus[0].native
        ring = _ring_in(native.run, self.system.require("KVM_CAP_COALESCED_MMIO"))
        size = _ring_entries()
        writes = ffi.new("struct kvm_coalesced_mmio[]", size)
        return [_write(each) for each in writes[0 : lib.pykvm_coalesced_take(ring, size, writes)]]


def _ring_in(run_page: Any, page_offset: int) -> Any:
    """The machine's ring, which every vCPU's mapping shows behind its run page."""
    start = ffi.cast("uint8_t *", run_page) + page_offset * layout.PAGE_SIZE
    return ffi.cast("struct kvm_coalesced_mmio_ring *", start)


def _ring_entries() -> int:
    header_size: int = ffi.sizeof("struct kvm_coalesced_mmio_ring")
    entry_size: int = ffi.sizeof("struct kvm_coalesced_mmio")
    return (layout.PAGE_SIZE - header_size) // entry_size


def _ioeventfd(
    fd: int, address: int, size: int, port: bool, datamatch: int | None, flags: int
) -> Any:
    check_ioeventfd(size, datamatch)
    raw = ffi.new("struct kvm_ioeventfd *", {"fd": fd, "addr": address, "len": size})
    raw.flags = flags | (lib.KVM_IOEVENTFD_FLAG_PIO if port else 0)
    if datamatch is not None:
        raw.flags |= lib.KVM_IOEVENTFD_FLAG_DATAMATCH
        raw.datamatch = datamatch
    return raw


def _zone(address: int, size_bytes: int, port: bool) -> Any:
    zone = {"addr": address, "size": size_bytes, "pio": port}
    return ffi.new("struct kvm_coalesced_mmio_zone *", zone)


def _write(raw: Any) -> PortOut | MmioWrite:
    data = bytes(raw.data)[: raw.len]
    if raw.pio:
        return PortOut(raw.phys_addr, raw.len, data)
    return MmioWrite(raw.phys_addr, raw.len, data)
