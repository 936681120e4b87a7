"""Whether this host's KVM runs machines: it may open and then refuse to."""

from __future__ import annotations

import errno
from functools import cache

from pykvm import cpumodel, layout
from pykvm.backend import exitkeys
from pykvm.backend.kvm.system import System
from pykvm.backend.kvm.vm import KvmVm
from pykvm.errors import KvmError
from pykvm.memory import GuestMemory
from pykvm.registers import Registers

_HLT = b"\xf4"
_TIMEOUT_NS = 10_000_000_000


@cache
def run(system: System) -> None:
    """Make a machine that executes one HLT; what fails is tried again by the next call.

    Raises:
        KvmError: a call failed.
    """
    memory = GuestMemory()
    region = memory.add(0, layout.PAGE_SIZE)
    vm = None
    try:
        memory.write(0, _HLT)
        vm = KvmVm(system, [region], cpu=cpumodel.HOST)
        _execute(vm)
    finally:
        if vm is not None:
            vm.close()
        memory.close()


def _execute(vm: KvmVm) -> None:
    vcpu = vm.vcpus[0]
    special = vcpu.get_special()
    special.cs.base = special.cs.selector = 0
    vcpu.set_special(special)
    vcpu.set_registers(Registers(rip=0))
    vcpu.begin(_TIMEOUT_NS)
    while (key := vcpu.enter()) & exitkeys.KIND_MASK == exitkeys.AGAIN:
        pass  # a signal came in between
    vcpu.exit(key)  # raises where the call failed
    if key & exitkeys.KIND_MASK == exitkeys.FAIL_ENTRY:
        raise KvmError("KVM_RUN", errno.ENOEXEC, "the processor refuses to enter a guest")
