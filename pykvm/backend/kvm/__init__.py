"""The KVM backend: every system call is made through the definitions of <linux/kvm.h>.

What only KVM has is reached through `as_kvm`:

    as_kvm(vm.vm).enable("KVM_CAP_…")
    as_kvm(vm.vcpu).run_page
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from pykvm.backend.kvm import trial
from pykvm.backend.kvm.system import System
from pykvm.backend.kvm.vcpu import KvmVcpu
from pykvm.backend.kvm.vm import KvmVm
from pykvm.backend.protocol import Vcpu, Vm
from pykvm.errors import UsageError
from pykvm.memory import Region

__all__ = ["KvmBackend", "KvmVcpu", "KvmVm", "System", "as_kvm"]


class KvmBackend:
    """Machines on /dev/kvm.

    Attributes:
        why: the reason that it was chosen, in words.
        assist: let the emulator execute what KVM refuses.
    """

    name = "kvm"

    def __init__(self, why: str = "asked for", assist: bool = False) -> None:
        self.system = System.shared()
        self.why = why
        self.assist = assist

    def try_out(self) -> None:
        """Make a machine and let it run; done once, if that goes well.

        Raises:
            KvmError: this KVM runs none, or none any more.
        """
        trial.run(self.system)

    def create_vm(
        self, clock: str = "wall", regions: Sequence[Region] = (), cpu: str | None = None
    ) -> KvmVm:
        """A new virtual machine that sees these regions of memory.

        Args:
            cpu: the model of its first vCPU, where that is made at once: no chips can follow.

        Raises:
            UsageError: another clock than "wall".
        """
        if clock != "wall":
            raise UsageError(
                f"KVM runs guests in real time; the clock {clock!r} needs backend 'emu'"
            )
        return KvmVm(self.system, regions, self.assist, cpu)


@overload
def as_kvm(part: Vm) -> KvmVm: ...


@overload
def as_kvm(part: Vcpu) -> KvmVcpu: ...


def as_kvm(part: Vm | Vcpu) -> KvmVm | KvmVcpu:
    """A machine's `vm` or `vcpu` as what it is on KVM.

    Raises:
        UsageError: the machine does not run on KVM.
    """
    if not isinstance(part, KvmVm | KvmVcpu):
        raise UsageError("this machine does not run on KVM; make it with backend='kvm'")
    return part
