"""One KVM virtual machine: its parts put together, processors and native devices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.backend.kvm import cpuid
from pykvm.backend.kvm.assist import AssistedVcpu
from pykvm.backend.kvm.calls import failure_of
from pykvm.backend.kvm.clock import ClockAccess
from pykvm.backend.kvm.dirty import DirtyTracking
from pykvm.backend.kvm.ioevents import IoEvents
from pykvm.backend.kvm.irq import InterruptControl
from pykvm.backend.kvm.msr_exits import MsrExits
from pykvm.backend.kvm.slots import slot_flags
from pykvm.backend.kvm.system import System
from pykvm.backend.kvm.vcpu import KvmVcpu
from pykvm.backend.natives import Natives
from pykvm.errors import ClosedError
from pykvm.memory import Region

CLOSE_POLL_S = 0.0002


class KvmVm(Natives, DirtyTracking, InterruptControl, IoEvents, MsrExits, ClockAccess):
    """A VM file descriptor and what hangs on it.

    Args:
        regions: the memory that it sees at once.
        assist: let the emulator execute what KVM refuses.
        cpu: the model of its first vCPU, where that is made at once: no chips can follow.

    Attributes:
        vcpus: those that there are, in order.
    """

    what = "machine"

    def __init__(
        self,
        system: System,
        regions: Sequence[Region] = (),
        assist: bool = False,
        cpu: str | None = None,
    ) -> None:
        self._native = native = ffi.new("struct pykvm_vm *")
        super().__init__(system, ffi.addressof(native, "file"))
        leaves = None if cpu is None else cpuid.prepared(system, cpu, 0, 1)
        first = regions[: lib.PYKVM_SLOTS_KEPT]
        self._slots = dict(enumerate(first))
        for region in first:
            flags = slot_flags(system, region)
            lib.pykvm_slot_plan(native, flags, region.gpa, region.size_bytes, region.hva)
        self._assist = assist
        self.vcpus: list[KvmVcpu] = []
        self.open_natives()
        try:
            self._create(leaves)
        except BaseException:
            self.close_natives()
            raise
        for region in first:
            self._follow(region)
        for region in regions[len(first) :]:
            self.map(region)

    def _create(self, leaves: Any) -> None:
        """Create it with memory in its slots, and where CPUID leaves are given its first vCPU.

        That is one crossing, since what comes after a long system call starts cold. KVM is
        told where to keep the pages that real mode needs on older Intel processors.
        """
        first = None if leaves is None else self._new_vcpu(0, 1)
        made = lib.pykvm_vm_create(
            self._native,
            self.system.fd,
            layout.KVM_TSS_BASE,
            layout.KVM_IDENTITY_MAP_BASE,
            ffi.NULL if first is None else first.native,
            self.system.run_size_bytes,
            ffi.NULL if first is None else leaves,
            self.natives,
        )
        if not made:
            raise failure_of(self._native.failed)
        if first is not None:
            self._take_in(first)

    def create_vcpu(self, index: int, cpu: str, count: int = 1) -> KvmVcpu:
        """Add a processor; the machine's interrupt chips must exist before.

        Args:
            index: its number and APIC id.
            cpu: its model, see `pykvm.cpumodel`.
            count: how many the machine has, for the topology that CPUID tells.
        """
        leaves = cpuid.prepared(self.system, cpu, index, count, self.irqchip != "none")
        vcpu = self._new_vcpu(index, count)
        self.check_open()
        parts = (vcpu.native, index, self.system.run_size_bytes, leaves, self.natives)
        if not lib.pykvm_vcpu_create(self._native, *parts):
            self.check_open()
            raise failure_of(self._native.failed)
        self._take_in(vcpu)
        if self._rings is not None:
            self._rings.add(vcpu)
        self._allow_assist()
        return vcpu

    def _new_vcpu(self, index: int, count: int) -> KvmVcpu:
        if not self._assist:
            return KvmVcpu(self.system, index)
        # Locked instructions of an emulator are not atomic to the other processors.
        one_only = count > 1
        return AssistedVcpu(self.system, index, self._native, self.irqchip != "none", one_only)

    def _take_in(self, vcpu: KvmVcpu) -> None:
        self.vcpus.append(vcpu)
        if self.closed:  # meanwhile, by another thread
            vcpu.close()
            raise ClosedError(self.what)

    def map(self, region: Region, *, log_dirty: bool = False) -> None:
        """Let the guest see a region, see `MemorySlots.map`."""
        super().map(region, log_dirty=log_dirty)
        self._follow(region)

    def unmap(self, region: Region) -> None:
        """Take a region away, see `MemorySlots.unmap`."""
        super().unmap(region)
        region.listen_no_more()
        region.is_mapped = False

    def _follow(self, region: Region) -> None:
        """The guest sees it; let the emulators know when it is written from outside."""
        region.is_mapped = True
        if self._assist:
            region.listen("pykvm_note_write", self._native)

    def note_write(self, gpa: int, size_bytes: int) -> None:
        """Memory was written from outside: what emulators know of code is void."""
        lib.pykvm_note_write(self._native, gpa, size_bytes)

    def _set(self, slot: int, region: Region, size_bytes: int, log_dirty: bool) -> None:
        super()._set(slot, region, size_bytes, log_dirty)
        for vcpu in self.vcpus:
            if isinstance(vcpu, AssistedVcpu):
                vcpu.follow_layout()

    def _note_logging(self, slot: int, on: bool) -> None:
        super()._note_logging(slot, on)
        self._allow_assist()

    def _allow_assist(self) -> None:
        """What the emulators write is in no dirty log: where there is one, they do not help."""
        for vcpu in self.vcpus:
            if isinstance(vcpu, AssistedVcpu):
                vcpu.allow_assist(not self._logged and self._rings is None)

    def now_ns(self) -> int:
        """The host's monotonic clock."""
        return time.monotonic_ns()

    def detach(self) -> None:
        """Stop the vCPUs for good: the memory they use is about to be unmapped."""
        for vcpu in tuple(self.vcpus):
            vcpu.close()
        for region in self._slots.values():
            region.is_mapped = False
            region.listen_no_more()

    def close(self) -> None:
        """Give everything back to the system."""
        was_closed, self.closed = self.closed, True
        self.detach()
        self.vcpus.clear()
        if self._rings is not None:
            self._rings.close()
        self._slots.clear()
        if not was_closed:
            while not lib.pykvm_file_close(self.file):  # a call is on its way
                time.sleep(CLOSE_POLL_S)
            self.close_natives()
