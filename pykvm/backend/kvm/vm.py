"""One KVM virtual machine: its parts put together, processors and native devices."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.backend.kvm import cpuid
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
from pykvm.memory import Region


class KvmVm(Natives, DirtyTracking, InterruptControl, IoEvents, MsrExits, ClockAccess):
    """A VM file descriptor and what hangs on it."""

    what = "machine"

    def __init__(self, system: System, regions: Sequence[Region] = ()) -> None:
        self._slots = dict(enumerate(regions))
        super().__init__(system, _create(system, regions))
        self.open_natives()
        self._vcpus = []

    def create_vcpu(self, index: int, cpu: str, count: int = 1) -> KvmVcpu:
        """Add a processor; the machine's interrupt chips must exist before.

        Args:
            index: its number and APIC id.
            cpu: its model, see `pykvm.cpumodel`.
            count: how many the machine has, for the topology that CPUID tells.
        """
        leaves = cpuid.prepared(self.system, cpu, index, count)
        vcpu = KvmVcpu(self.system, self.open_fd(), self.natives, index, leaves)
        self._vcpus.append(vcpu)
        if self._rings is not None:
            self._rings.add(vcpu.fd)
        return vcpu

    def detach(self) -> None:
        """KVM minds the memory itself: what a guest finds unmapped is an exit."""

    def close(self) -> None:
        """Give everything back to the system."""
        for vcpu in self._vcpus:
            vcpu.close()
        self._vcpus.clear()
        if self._rings is not None:
            self._rings.close()
        if not self.closed:
            self.close_natives()
            os.close(self._take_fd())


def _create(system: System, regions: Sequence[Region]) -> int:
    """A new VM, told where to keep the pages that real mode needs on older Intel processors.

    Its first slots are filled at once: what comes after a long system call starts cold.
    """
    failed = ffi.new("struct pykvm_failure *")
    slots = ffi.new(
        "struct kvm_userspace_memory_region[]",
        [
            (slot, slot_flags(system, region), region.gpa, region.size_bytes, region.hva)
            for slot, region in enumerate(regions)
        ],
    )
    fd: int = lib.pykvm_vm_create(
        system.fd, layout.KVM_TSS_BASE, layout.KVM_IDENTITY_MAP_BASE, slots, len(slots), failed
    )
    if fd < 0:
        raise failure_of(failed)
    return fd
