"""The emulator backend: a whole x86-64 machine in C, on any host (docs/emulator.md)."""

from __future__ import annotations

from pykvm.backend.emu.vcpu import EmuVcpu
from pykvm.backend.emu.vm import EmuVm

__all__ = ["EmuBackend", "EmuVcpu", "EmuVm"]


class EmuBackend:
    """Machines in pykvm's own emulator.

    Attributes:
        why: the reason that it was chosen, in words.
    """

    name = "emu"

    def __init__(self, why: str = "asked for") -> None:
        self.why = why

    def create_vm(self, clock: str = "wall") -> EmuVm:
        """A new, empty virtual machine.

        Args:
            clock: "wall", or "instructions": time is the count of instructions.
        """
        return EmuVm(clock)
