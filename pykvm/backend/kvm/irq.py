"""A VM's interrupts: in-kernel chips, their lines and routes, MSI, and eventfds that raise them."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm._native import ffi, lib
from pykvm.backend.kvm.handle import Handle
from pykvm.backend.types import MsiRoute, Route
from pykvm.errors import UsageError
from pykvm.state import IrqchipState

_LOW32 = 0xFFFF_FFFF
_PIC_STATE_SIZE = 16  # bytes of struct kvm_pic_state
_IOAPIC_STATE_SIZE = 216  # bytes of struct kvm_ioapic_state
_STATES = {
    "pic_master": (lib.KVM_IRQCHIP_PIC_MASTER, _PIC_STATE_SIZE),
    "pic_slave": (lib.KVM_IRQCHIP_PIC_SLAVE, _PIC_STATE_SIZE),
    "ioapic": (lib.KVM_IRQCHIP_IOAPIC, _IOAPIC_STATE_SIZE),
}


class InterruptControl(Handle):
    """The part of a VM that has to do with interrupts.

    Attributes:
        irqchip: "none", "full" or "split".
    """

    irqchip = "none"

    def create_irqchip(self, kind: str) -> None:
        """Put PIC, I/O APIC and local APICs ("full") or local APICs alone ("split") in KVM.

        Call it before the first vCPU is made. Source: api.rst §4.24, §7.5.
        """
        if kind == "full":
            self.system.require("KVM_CAP_IRQCHIP")
            self.call("KVM_CREATE_IRQCHIP", 0)
        elif kind == "split":
            self.enable("KVM_CAP_SPLIT_IRQCHIP", lib.KVM_IOAPIC_NUM_PINS)
        else:
            raise UsageError(f"there is no irqchip {kind!r}; choose none, full or split")
        self.irqchip = kind

    def create_pit(self) -> None:
        """Add the in-kernel 8254, and channel 2's gate at port 61h. Source: api.rst §4.71."""
        if self.irqchip != "full":
            raise UsageError("the in-kernel PIT needs the full irqchip")
        self.system.require("KVM_CAP_PIT2")
        config = {"flags": lib.KVM_PIT_SPEAKER_DUMMY}
        self.call("KVM_CREATE_PIT2", ffi.new("struct kvm_pit_config *", config))

    def set_irq_line(self, line: int, level: bool) -> None:
        """Drive a line (GSI) of the irqchip; without one it leads nowhere. Source: api.rst §4.25.

        The routes say where it goes; a split irqchip has none at first.
        """
        if self.irqchip == "none":
            return
        request = ffi.new("struct kvm_irq_level *", {"irq": line, "level": level})
        self.call("KVM_IRQ_LINE", request)

    def raise_line_at(self, line: int, ns: int | None) -> None:
        """Nothing here repeats by a clock.

        Raises:
            UsageError: always; a thread of the owner's raises lines.
        """
        raise UsageError("only a clock of instructions, on backend emu, raises lines by itself")

    def signal_msi(self, address: int, data: int) -> bool:
        """Send a message-signalled interrupt.

        Returns:
            Whether a local APIC took it; False where the guest blocks it.

        Source: api.rst §4.71.
        """
        self.system.require("KVM_CAP_SIGNAL_MSI")
        raw = ffi.new("struct kvm_msi *", {"data": data})
        raw.address_lo, raw.address_hi = address & _LOW32, address >> 32
        return self.call("KVM_SIGNAL_MSI", raw) > 0

    def set_routes(self, routes: Sequence[Route]) -> None:
        """Replace all routes of lines; `default_routes()` are those of a new machine.

        Raises:
            MissingCapability: KVM_CAP_IRQ_ROUTING.

        Source: api.rst §4.52.
        """
        self.system.require("KVM_CAP_IRQ_ROUTING")
        raw = ffi.new("struct kvm_irq_routing *", {"nr": len(routes), "entries": len(routes)})
        for position, route in enumerate(routes):
            entry = raw.entries[position]
            entry.gsi = route.gsi
            if isinstance(route, MsiRoute):
                entry.type = lib.KVM_IRQ_ROUTING_MSI
                entry.u.msi.address_lo = route.address & _LOW32
                entry.u.msi.address_hi = route.address >> 32
                entry.u.msi.data = route.data
            else:
                entry.type = lib.KVM_IRQ_ROUTING_IRQCHIP
                entry.u.irqchip.irqchip = _chip(route.chip)
                entry.u.irqchip.pin = route.pin
        self.call("KVM_SET_GSI_ROUTING", raw)

    def add_irqfd(self, fd: int, gsi: int, resample_fd: int | None = None) -> None:
        """Let a write to an eventfd raise a line, without a call and without this process.

        Args:
            resample_fd: an eventfd that is signalled at the end of each interrupt; the line
                is level-triggered then and drops at that moment.

        Raises:
            MissingCapability: KVM_CAP_IRQFD or KVM_CAP_IRQFD_RESAMPLE.

        Source: api.rst §4.75.
        """
        self.system.require("KVM_CAP_IRQFD")
        raw = ffi.new("struct kvm_irqfd *", {"fd": fd, "gsi": gsi})
        if resample_fd is not None:
            self.system.require("KVM_CAP_IRQFD_RESAMPLE")
            raw.flags, raw.resamplefd = lib.KVM_IRQFD_FLAG_RESAMPLE, resample_fd
        self.call("KVM_IRQFD", raw)

    def remove_irqfd(self, fd: int, gsi: int) -> None:
        """Part an eventfd from its line."""
        raw = {"fd": fd, "gsi": gsi, "flags": lib.KVM_IRQFD_FLAG_DEASSIGN}
        self.call("KVM_IRQFD", ffi.new("struct kvm_irqfd *", raw))

    def get_irqchip(self) -> IrqchipState:
        """State of the PICs and the I/O APIC, of a full irqchip. Source: api.rst §4.26."""
        states = {}
        for name, (chip, size_bytes) in _STATES.items():
            raw = ffi.new("struct kvm_irqchip *", {"chip_id": chip})
            self.call("KVM_GET_IRQCHIP", raw)
            states[name] = bytes(ffi.buffer(raw.chip.dummy, size_bytes))
        return IrqchipState(**states)

    def set_irqchip(self, state: IrqchipState) -> None:
        """Set the state of the PICs and the I/O APIC. Source: api.rst §4.27."""
        for name, (chip, size_bytes) in _STATES.items():
            data = getattr(state, name)
            if len(data) != size_bytes:
                raise UsageError(f"{name} has {size_bytes} bytes of state, not {len(data)}")
            raw = ffi.new("struct kvm_irqchip *", {"chip_id": chip})
            ffi.memmove(raw.chip.dummy, data, size_bytes)
            self.call("KVM_SET_IRQCHIP", raw)

    def get_pit(self) -> bytes:
        """State of the in-kernel 8254, in KVM's layout. Source: api.rst §4.72."""
        self.system.require("KVM_CAP_PIT_STATE2")
        raw = ffi.new("struct kvm_pit_state2 *")
        self.call("KVM_GET_PIT2", raw)
        return bytes(ffi.buffer(raw))

    def set_pit(self, state: bytes) -> None:
        """Set the state of the in-kernel 8254. Source: api.rst §4.73."""
        self.system.require("KVM_CAP_PIT_STATE2")
        raw = ffi.new("struct kvm_pit_state2 *")
        if len(state) != ffi.sizeof(raw[0]):
            raise UsageError(f"a PIT has {ffi.sizeof(raw[0])} bytes of state, not {len(state)}")
        ffi.memmove(raw, state, len(state))
        self.call("KVM_SET_PIT2", raw)


def _chip(name: str) -> int:
    if name not in _STATES:
        raise UsageError(f"there is no chip {name!r}; choose one of {', '.join(_STATES)}")
    return int(_STATES[name][0])
