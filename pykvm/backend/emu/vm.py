"""One emulated virtual machine: its parts put together, processors, time, native devices."""

from __future__ import annotations

import time

from pykvm._native import lib
from pykvm.backend.common import passed_ns
from pykvm.backend.emu import cpuid
from pykvm.backend.emu.calls import out_of_memory
from pykvm.backend.emu.ioevents import IoEvents
from pykvm.backend.emu.irq import InterruptControl
from pykvm.backend.emu.memory import MemoryAccess
from pykvm.backend.emu.vcpu import EmuVcpu
from pykvm.backend.natives import Natives, owned
from pykvm.errors import ClosedError
from pykvm.state import Clock


class EmuVm(Natives, MemoryAccess, InterruptControl, IoEvents):
    """A struct emu_vm and what hangs on it.

    Args:
        clock: "wall" or "instructions".
    """

    def __init__(self, clock: str = "wall") -> None:
        self.open_natives()
        native = lib.emu_vm_create(self.natives)
        if not native:
            raise out_of_memory("a virtual machine")
        self._native, self._keeper = owned(native, lib.emu_vm_destroy)
        lib.emu_vm_set_instruction_clock(self._native, clock == "instructions")
        self._regions = []
        self.vcpus: list[EmuVcpu] = []

    def create_vcpu(self, index: int, cpu: str, count: int = 1) -> EmuVcpu:
        """Add a processor of the named model to a machine that has `count` of them."""
        table = cpuid.prepared(cpu, index, count)
        vcpu = EmuVcpu(self.native, index, table, self.irqchip)
        self.vcpus.append(vcpu)
        if self._native is None:  # meanwhile, by another thread
            vcpu.close()
            raise ClosedError("machine")
        return vcpu

    def now_ns(self) -> int:
        """Nanoseconds since the machine was made: real ones, or one for each instruction."""
        return int(lib.emu_vm_ns(self.native))

    def get_clock(self) -> Clock:
        """What `now_ns` tells, and the host's time at that moment."""
        return Clock(ns=self.now_ns(), realtime_ns=time.time_ns(), stable=True)

    def set_clock(self, clock: Clock) -> None:
        """Set what `now_ns` tells; with a `realtime_ns`, the time since then is added.

        What timers have left and the time stamp counters stay as they are.
        """
        lib.emu_vm_set_ns(self.native, passed_ns(clock, time.time_ns()))

    def detach(self) -> None:
        """Stop the processors for good: the memory they use is about to be unmapped."""
        for vcpu in tuple(self.vcpus):
            vcpu.close()
        if (native := self._native) is not None:
            self._native = None
            lib.emu_vm_close(native)
        for region in self._regions:
            region.is_mapped = False
            region.listen_no_more()
        self._regions.clear()

    def close(self) -> None:
        """Free everything, but for what another thread uses at this moment."""
        self.detach()
        self.vcpus.clear()
        self.close_natives()
