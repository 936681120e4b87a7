"""One KVM virtual machine: its parts put together, processors and native devices."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.backend.kvm import cpuid
from pykvm.backend.kvm.assist import AssistedVcpu, AssistMemory
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
from pykvm.memory import GuestMemory, Region


class KvmVm(Natives, DirtyTracking, InterruptControl, IoEvents, MsrExits, ClockAccess):
    """A VM file descriptor and what hangs on it."""

    what = "machine"

    def __init__(
        self, system: System, regions: Sequence[Region] = (), assist: bool = False
    ) -> None:
        self._slots = dict(enumerate(regions))
        super().__init__(system, _create(system, regions))
        self.open_natives()
        self._vcpus = []
        self._assist = AssistMemory() if assist else None
        self._follow_memory()

    def create_vcpu(self, index: int, cpu: str, count: int = 1) -> KvmVcpu:
        """Add a processor; the machine's interrupt chips must exist before.

        Args:
            index: its number and APIC id.
            cpu: its model, see `pykvm.cpumodel`.
            count: how many the machine has, for the topology that CPUID tells.
        """
        leaves = cpuid.prepared(self.system, cpu, index, count)
        parts = (self.system, self.open_fd(), self.natives, index, leaves)
        vcpu = (
            KvmVcpu(*parts)
            if self._assist is None
            else AssistedVcpu(*parts, self._assist, count, self.irqchip != "none")
        )
        self._vcpus.append(vcpu)
        if self._rings is not None:
            self._rings.add(vcpu.fd)
        self._follow_memory()
        return vcpu

    def move(self, memory: GuestMemory, region: Region, gpa: int) -> None:
        """Let host and guest see a mapped region of `memory` at another address."""
        super().move(memory, region, gpa)
        self._follow_memory()

    def _note_logging(self, slot: int, on: bool) -> None:
        super()._note_logging(slot, on)
        self._follow_memory()

    def _follow_memory(self) -> None:
        """Tell the emulators of the regions. What they write is in no dirty log: where there
        is one, they do not help.
        """
        if self._assist is None:
            return
        fits = self._assist.set(self._slots.values())
        for vcpu in self._vcpus:
            if isinstance(vcpu, AssistedVcpu):
                vcpu.allow_assist(fits and not self._logged and self._rings is None)

    def now_ns(self) -> int:
        """The host's monotonic clock."""
        return time.monotonic_ns()

    def detach(self) -> None:
        """KVM minds the memory itself, but an emulator that helps does not."""
        for vcpu in self._vcpus if self._assist is not None else ():
            vcpu.close()

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
