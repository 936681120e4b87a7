"""One KVM virtual machine: memory slots, interrupt chips, native devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.backend.kvm import cpuid
from pykvm.backend.kvm.calls import call
from pykvm.backend.kvm.handle import Handle
from pykvm.backend.kvm.system import System
from pykvm.backend.kvm.vcpu import KvmVcpu
from pykvm.errors import ClosedError, LayoutError, UsageError
from pykvm.memory import Region


class KvmVm(Handle):
    """A VM file descriptor and what hangs on it."""

    what = "machine"

    def __init__(self, system: System) -> None:
        super().__init__(system, call(system.fd, "KVM_CREATE_VM", 0))
        self.natives: Any = lib.pykvm_natives_create()
        self._console_buffer: Any = None
        self._vcpus: list[KvmVcpu] = []
        self._slots = 0
        self._lines: dict[int, bool] = {}
        self.irqchip = "none"
        self.call("KVM_SET_TSS_ADDR", layout.KVM_TSS_BASE)
        call(
            self.fd,
            "KVM_SET_IDENTITY_MAP_ADDR",
            ffi.new("uint64_t *", layout.KVM_IDENTITY_MAP_BASE),
        )

    def map(self, region: Region) -> None:
        """Give the guest a region as a memory slot. Source: api.rst §4.35."""
        slot = ffi.new(
            "struct kvm_userspace_memory_region *",
            {
                "slot": self._slots,
                "flags": lib.KVM_MEM_READONLY if region.readonly else 0,
                "guest_phys_addr": region.gpa,
                "memory_size": region.size_bytes,
                "userspace_addr": region.hva,
            },
        )
        self.call("KVM_SET_USER_MEMORY_REGION", slot)
        self._slots += 1

    def create_vcpu(self, index: int, cpu: str) -> KvmVcpu:
        """Add a processor; the machine's interrupt chips must exist before."""
        vcpu = KvmVcpu(self.system, self.fd, self.natives, index)
        self._vcpus.append(vcpu)  # before what may fail: close() gives it back
        cpuid.apply(self.system, vcpu.fd, cpu, index)
        return vcpu

    def create_irqchip(self, kind: str) -> None:
        """Put PIC, I/O APIC and local APICs ("full") or local APICs alone ("split") in KVM."""
        if kind == "full":
            self.call("KVM_CREATE_IRQCHIP", 0)
        elif kind == "split":
            self.enable("KVM_CAP_SPLIT_IRQCHIP", lib.KVM_IOAPIC_NUM_PINS)
        else:
            raise UsageError(f"there is no irqchip {kind!r}; choose none, full or split")
        self.irqchip = kind

    def create_pit(self) -> None:
        """Add the in-kernel 8254. Source: api.rst §4.71."""
        if self.irqchip != "full":
            raise UsageError("the in-kernel PIT needs the full irqchip")
        self.call("KVM_CREATE_PIT2", ffi.new("struct kvm_pit_config *"))

    def set_irq_line(self, line: int, level: bool) -> None:
        """Drive an input of the in-kernel interrupt chips. Source: api.rst §4.25."""
        if self.irqchip != "full":
            return
        request = ffi.new("struct kvm_irq_level *", {"irq": line, "level": level})
        self.call("KVM_IRQ_LINE", request)

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
        if self.natives:
            lib.pykvm_natives_destroy(self.natives)
            self.natives = None
            os.close(self._take_fd())
