"""The KVM backend: every system call is made through the definitions of <linux/kvm.h>."""

from __future__ import annotations

from pykvm.backend.kvm.system import System
from pykvm.backend.kvm.vm import KvmVm

__all__ = ["KvmBackend", "KvmVm", "System"]


class KvmBackend:
    """Machines on /dev/kvm."""

    name = "kvm"

    def __init__(self) -> None:
        self.system = System.shared()

    def create_vm(self) -> KvmVm:
        """A new, empty virtual machine."""
        return KvmVm(self.system)
