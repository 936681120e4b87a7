"""One emulated virtual machine: its memory, processors and native devices."""

from __future__ import annotations

import os
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend.emu import cpuid
from pykvm.backend.emu.calls import check_map, out_of_memory
from pykvm.backend.emu.vcpu import EmuVcpu
from pykvm.backend.natives import Natives
from pykvm.errors import ClosedError, UsageError
from pykvm.memory import Region
from pykvm.state import IrqchipState

_IRQCHIPS = {"full": lib.EMU_IRQCHIP_FULL, "split": lib.EMU_IRQCHIP_SPLIT}
_CHIPS = {
    "pic_master": (lib.EMU_CHIP_PIC_MASTER, lib.EMU_PIC_STATE_BYTES),
    "pic_slave": (lib.EMU_CHIP_PIC_SLAVE, lib.EMU_PIC_STATE_BYTES),
    "ioapic": (lib.EMU_CHIP_IOAPIC, lib.EMU_IOAPIC_STATE_BYTES),
}


class EmuVm(Natives):
    """A struct emu_vm and what hangs on it.

    Args:
        clock: "wall" or "instructions".

    Attributes:
        irqchip: "none", "full" or "split".
    """

    irqchip = "none"

    def __init__(self, clock: str = "wall") -> None:
        self.open_natives()
        self._native: Any = lib.emu_vm_create(self.natives)
        if not self._native:
            raise out_of_memory("a virtual machine")
        lib.emu_vm_set_instruction_clock(self._native, clock == "instructions")
        self._vcpus: list[EmuVcpu] = []

    @property
    def native(self) -> Any:
        """The struct emu_vm.

        Raises:
            ClosedError: it has been given back.
        """
        if not self._native:
            raise ClosedError("machine")
        return self._native

    def map(self, region: Region) -> None:
        """Let the guest see a region."""
        flags = lib.EMU_MAP_READONLY if region.readonly else 0
        hva = ffi.cast("void *", region.hva)
        result = lib.emu_vm_map(self.native, region.gpa, region.size_bytes, hva, flags)
        check_map(result, region.gpa, region.size_bytes)
        region.on_write = self.note_write

    def unmap(self, region: Region) -> None:
        """Take a region away from the guest."""
        check_map(lib.emu_vm_unmap(self.native, region.gpa), region.gpa, region.size_bytes)
        region.on_write = None

    def note_write(self, gpa: int, size_bytes: int) -> None:
        """Memory was written from outside: code decoded from it is void."""
        lib.emu_vm_note_write(self._native, gpa, size_bytes)

    def create_vcpu(self, index: int, cpu: str, count: int = 1) -> EmuVcpu:
        """Add a processor of the named model to a machine that has `count` of them."""
        leaves = cpuid.prepared(cpu, index, count)
        vcpu = EmuVcpu(self.native, index)
        vcpu.set_cpuid(*leaves)
        self._vcpus.append(vcpu)
        return vcpu

    def create_irqchip(self, kind: str) -> None:
        """Add PICs, I/O APIC and local APICs ("full") or local APICs alone ("split").

        Call it before the first processor is made.
        """
        if kind not in _IRQCHIPS:
            raise UsageError(f"there is no irqchip {kind!r}; choose none, full or split")
        self._check(lib.emu_vm_create_irqchip(self.native, _IRQCHIPS[kind]), "an irqchip")
        self.irqchip = kind

    def create_pit(self) -> None:
        """Add the 8254 timer."""
        if self.irqchip != "full":
            raise UsageError("the PIT needs the full irqchip")
        self._check(lib.emu_vm_create_pit(self.native), "a PIT")

    def set_irq_line(self, line: int, level: bool) -> None:
        """Drive a line of the irqchip; without one it leads nowhere."""
        if self.irqchip != "none":
            lib.emu_vm_set_irq_line(self.native, line, level)

    def signal_msi(self, address: int, data: int) -> bool:
        """Send a message-signalled interrupt; whether a local APIC took it."""
        return int(lib.emu_vm_signal_msi(self.native, address, data)) > 0

    def get_irqchip(self) -> IrqchipState:
        """State of the PICs and the I/O APIC, of a full irqchip."""
        return IrqchipState(
            **{name: self._get_chip(chip, size) for name, (chip, size) in _CHIPS.items()}
        )

    def set_irqchip(self, state: IrqchipState) -> None:
        """Set the state of the PICs and the I/O APIC."""
        for name, (chip, size_bytes) in _CHIPS.items():
            self._set_chip(name, chip, size_bytes, getattr(state, name))

    def get_pit(self) -> bytes:
        """State of the 8254, in KVM's layout."""
        return self._get_chip(lib.EMU_CHIP_PIT, lib.EMU_PIT_STATE_BYTES)

    def set_pit(self, state: bytes) -> None:
        """Set the state of the 8254."""
        self._set_chip("a PIT", lib.EMU_CHIP_PIT, lib.EMU_PIT_STATE_BYTES, state)

    def _get_chip(self, chip: int, size_bytes: int) -> bytes:
        raw = ffi.new("uint8_t[]", size_bytes)
        self._check(lib.emu_vm_get_chip(self.native, chip, raw, size_bytes), "a chip's state")
        return bytes(ffi.buffer(raw))

    def _set_chip(self, name: str, chip: int, size_bytes: int, state: bytes) -> None:
        if len(state) != size_bytes:
            raise UsageError(f"{name} has {size_bytes} bytes of state, not {len(state)}")
        self._check(lib.emu_vm_set_chip(self.native, chip, state, size_bytes), "a chip's state")

    @staticmethod
    def _check(result: int, what: str) -> None:
        if result:
            raise UsageError(f"{what}: {os.strerror(-result)}")

    def now_ns(self) -> int:
        """Nanoseconds since the machine was made: real ones, or one for each instruction."""
        return int(lib.emu_vm_ns(self.native))

    def detach(self) -> None:
        """Stop the processors for good: the memory they use is about to be unmapped."""
        for vcpu in self._vcpus:
            vcpu.close()

    def close(self) -> None:
        """Free everything."""
        self.detach()
        self._vcpus.clear()
        if self._native:
            lib.emu_vm_destroy(self._native)
            self._native = None
            self.close_natives()
