"""The emulator backend: a whole x86-64 machine in C, on any host (docs/emulator.md)."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.backend.emu.vcpu import EmuVcpu
from pykvm.backend.emu.vm import EmuVm
from pykvm.memory import Region

__all__ = ["EmuBackend", "EmuVcpu", "EmuVm"]


class EmuBackend:
    """Machines in pykvm's own emulator.

    Attributes:
        why: the reason that it was chosen, in words.
    """

    name = "emu"

    def __init__(self, why: str = "asked for") -> None:
        self.why = why

    def create_vm(
        self, clock: str = "wall", regions: Sequence[Region] = (), cpu: str | None = None
    ) -> EmuVm:
        """A new virtual machine.

        Args:
            clock: "wall", or "instructions": time is the count of instructions.
            regions: the memory that it sees at first.
            cpu: the model of its first processor, where that is made at once.
        """
        vm = EmuVm(clock)
        try:
            for region in regions:
                vm.map(region)
            if cpu is not None:
                vm.create_vcpu(0, cpu)
        except BaseException:
            vm.close()
            raise
        return vm
