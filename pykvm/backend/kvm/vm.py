"""One KVM virtual machine: its parts put together, processors and native devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.backend.kvm import cpuid
from pykvm.backend.kvm.calls import failure_of
from pykvm.backend.kvm.clock import ClockAccess
from pykvm.backend.kvm.dirty import DirtyTracking
from pykvm.backend.kvm.ioevents import IoEvents
from pykvm.backend.kvm.irq import InterruptControl
from pykvm.backend.kvm.msr_exits import MsrExits
from pykvm.backend.kvm.system import System
from pykvm.backend.kvm.vcpu import KvmVcpu
from pykvm.errors import ClosedError, LayoutError


class KvmVm(DirtyTracking, InterruptControl, IoEvents, MsrExits, ClockAccess):
    """A VM file descriptor and what hangs on it."""

    what = "machine"

    def __init__(self, system: System) -> None:
        super().__init__(system, _create(system))
        self.natives: Any = lib.pykvm_natives_create()
        self._slots = {}
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

    def add_console(self, port: int, ident: int) -> Callable[[], bytes]:
        """Collect bytes written to `port` in C; returns what takes them out."""
        index = self._add_native(lib.PYKVM_NATIVE_CONSOLE, True, port, 1, ident)
        buffer = ffi.new("uint8_t[]", lib.PYKVM_CONSOLE_SIZE_BYTES)

        def take() -> bytes:
            if not self.natives:
                raise ClosedError("machine")
            used = lib.pykvm_natives_take(self.natives, index, buffer, len(buffer))
            return bytes(ffi.buffer(buffer, used))

        return take

    def add_scratch(self, gpa: int, size_bytes: int) -> None:
        """Answer [gpa, gpa + size_bytes) in C."""
        self._add_native(lib.PYKVM_NATIVE_SCRATCH, False, gpa, size_bytes, 0)

    def _add_native(self, kind: int, is_port: bool, base: int, size_bytes: int, ident: int) -> int:
        index = lib.pykvm_natives_add(self.natives, kind, is_port, base, size_bytes, ident)
        if index < 0:
            raise LayoutError("no room for another native device")
        return int(index)

    def close(self) -> None:
        """Give everything back to the system."""
        for vcpu in self._vcpus:
            vcpu.close()
        self._vcpus.clear()
        if self._rings is not None:
            self._rings.close()
        if self.natives:
            lib.pykvm_natives_destroy(self.natives)
            self.natives = None
            os.close(self._take_fd())


def _create(system: System) -> int:
    """A new VM, told where to keep the pages that real mode needs on older Intel processors."""
    failed = ffi.new("struct pykvm_failure *")
    fd: int = lib.pykvm_vm_create(
        system.fd, layout.KVM_TSS_BASE, layout.KVM_IDENTITY_MAP_BASE, failed
    )
    if fd < 0:
        raise failure_of(failed)
    return fd
