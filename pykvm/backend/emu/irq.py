"""An emulated machine's interrupts: its chips, their lines and routes, MSI, and eventfds."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm._native import ffi, lib
from pykvm.backend.emu.calls import check
from pykvm.backend.emu.handle import Handle
from pykvm.backend.types import MsiRoute, Route
from pykvm.errors import UsageError
from pykvm.state import IrqchipState

_IRQCHIPS = {"full": lib.EMU_IRQCHIP_FULL, "split": lib.EMU_IRQCHIP_SPLIT}
_CHIPS = {
    "pic_master": (lib.EMU_CHIP_PIC_MASTER, lib.EMU_PIC_STATE_BYTES),
    "pic_slave": (lib.EMU_CHIP_PIC_SLAVE, lib.EMU_PIC_STATE_BYTES),
    "ioapic": (lib.EMU_CHIP_IOAPIC, lib.EMU_IOAPIC_STATE_BYTES),
}
_NO_FD = -1
_NEVER = (1 << 64) - 1


class InterruptControl(Handle):
    """The part of a machine that has to do with interrupts.

    Attributes:
        irqchip: "none", "full" or "split".
    """

    irqchip = "none"

    def create_irqchip(self, kind: str) -> None:
        """Add PICs, I/O APIC and local APICs ("full") or local APICs alone ("split").

        Call it before the first processor is made.
        """
        if kind not in _IRQCHIPS:
            raise UsageError(f"there is no irqchip {kind!r}; choose none, full or split")
        check(lib.emu_vm_create_irqchip(self.native, _IRQCHIPS[kind]), "an irqchip")
        self.irqchip = kind

    def create_pit(self) -> None:
        """Add the 8254 timer."""
        if self.irqchip != "full":
            raise UsageError("the PIT needs the full irqchip")
        check(lib.emu_vm_create_pit(self.native), "a PIT")

    def set_irq_line(self, line: int, level: bool) -> None:
        """Drive a line (GSI) of the irqchip; without one it leads nowhere.

        The routes say where it goes; a split irqchip has none at first.
        """
        if self.irqchip != "none":
            lib.emu_vm_set_irq_line(self.native, line, level)

    def raise_line_at(self, line: int, ns: int | None) -> None:
        """Raise one line by itself when `now_ns` tells so much; None: not any more."""
        lib.emu_vm_raise_line_at(self.native, line, _NEVER if ns is None else ns)

    def signal_msi(self, address: int, data: int) -> bool:
        """Send a message-signalled interrupt; whether a local APIC took it."""
        return int(lib.emu_vm_signal_msi(self.native, address, data)) > 0

    def set_routes(self, routes: Sequence[Route]) -> None:
        """Replace all routes of lines."""
        raw = ffi.new("struct emu_route[]", [_route(each) for each in routes])
        check(lib.emu_vm_set_routes(self.native, raw, len(raw)), "routes")

    def add_irqfd(self, fd: int, gsi: int, resample_fd: int | None = None) -> None:
        """Let a write to an eventfd raise a line, without a call and by any process.

        Args:
            resample_fd: an eventfd that is signalled at the end of each interrupt; the line
                is level-triggered then and drops at that moment.
        """
        resample = _NO_FD if resample_fd is None else resample_fd
        check(lib.emu_vm_add_irqfd(self.native, fd, gsi, resample), "an irqfd")

    def remove_irqfd(self, fd: int, gsi: int) -> None:
        """Part an eventfd from its line."""
        check(lib.emu_vm_remove_irqfd(self.native, fd, gsi), "an irqfd")

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
        check(lib.emu_vm_get_chip(self.native, chip, raw, size_bytes), "a chip's state")
        return bytes(ffi.buffer(raw))

    def _set_chip(self, name: str, chip: int, size_bytes: int, state: bytes) -> None:
        if len(state) != size_bytes:
            raise UsageError(f"{name} has {size_bytes} bytes of state, not {len(state)}")
        check(lib.emu_vm_set_chip(self.native, chip, state, size_bytes), "a chip's state")


def _route(route: Route) -> dict[str, int]:
    if isinstance(route, MsiRoute):
        where = {"chip": lib.EMU_ROUTE_MESSAGE, "address": route.address, "data": route.data}
        return {"gsi": route.gsi, **where}
    if route.chip not in _CHIPS:
        raise UsageError(f"there is no chip {route.chip!r}; choose one of {', '.join(_CHIPS)}")
    return {"gsi": route.gsi, "chip": _CHIPS[route.chip][0], "pin": route.pin}
