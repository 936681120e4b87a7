"""A vCPU's state beyond its registers: FPU, XSAVE, events, MP state, debug registers, LAPIC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend.kvm.handle import Handle
from pykvm.errors import UsageError
from pykvm.state import DebugRegisters, Events, Fpu, MpState

_XSAVE_MIN_SIZE = 4096
# The XSAVE header and its first bits, Intel SDM vol. 1 §13.4.2.
_XSTATE_BV = 512
_XSTATE_X87, _XSTATE_SSE = 1 << 0, 1 << 1
_MP_STATES: dict[MpState, int] = {
    state: getattr(lib, f"KVM_MP_STATE_{state.name}") for state in MpState
}
_MP_NAMES = {number: state for state, number in _MP_STATES.items()}


class StateAccess(Handle):
    """The part of a vCPU that reads and writes such state."""

    def get_fpu(self) -> Fpu:
        """x87 and SSE state.

        It goes by way of XSAVE: KVM_GET_FPU leaves MXCSR out, and what KVM_SET_FPU sets is
        lost where the XSAVE header says that the guest has not used it yet.
        """
        return Fpu.from_fxsave(self.get_xsave())

    def set_fpu(self, fpu: Fpu) -> None:
        """Set x87 and SSE state."""
        legacy, rest = fpu.to_fxsave(), self.get_xsave()[_XSTATE_BV:]
        used = int.from_bytes(rest[:8], "little") | _XSTATE_X87 | _XSTATE_SSE
        self.set_xsave(legacy + used.to_bytes(8, "little") + rest[8:])

    @property
    def xsave_size_bytes(self) -> int:
        """Length of what `get_xsave` gives on this host."""
        return max(self.system.capability("KVM_CAP_XSAVE2"), _XSAVE_MIN_SIZE)

    def get_xsave(self) -> bytes:
        """All state of XSAVE, in the standard form of the area. Source: api.rst §4.42, §4.134."""
        self.system.require("KVM_CAP_XSAVE")
        raw = ffi.new("uint8_t[]", self.xsave_size_bytes)
        has_any_size = self.system.capability("KVM_CAP_XSAVE2")
        self.call("KVM_GET_XSAVE2" if has_any_size else "KVM_GET_XSAVE", raw)
        return bytes(ffi.buffer(raw))

    def set_xsave(self, area: bytes) -> None:
        """Set all state of XSAVE.

        Raises:
            UsageError: not of `xsave_size_bytes`.

        Source: api.rst §4.43.
        """
        self.system.require("KVM_CAP_XSAVE")
        if len(area) != self.xsave_size_bytes:
            raise UsageError(
                f"this host's XSAVE area has {self.xsave_size_bytes} bytes, not {len(area)}"
            )
        self.call("KVM_SET_XSAVE", ffi.from_buffer("uint8_t[]", area))

    def get_xcrs(self) -> dict[int, int]:
        """Extended control registers by number; XCR0 is the one there is. Source: api.rst §4.44."""
        self.system.require("KVM_CAP_XCRS")
        raw = ffi.new("struct kvm_xcrs *")
        self.call("KVM_GET_XCRS", raw)
        return {each.xcr: each.value for each in raw.xcrs[0 : raw.nr_xcrs]}

    def set_xcrs(self, values: Mapping[int, int]) -> None:
        """Set extended control registers. Source: api.rst §4.45."""
        self.system.require("KVM_CAP_XCRS")
        raw = ffi.new("struct kvm_xcrs *", {"nr_xcrs": len(values)})
        for position, (number, value) in enumerate(values.items()):
            raw.xcrs[position].xcr, raw.xcrs[position].value = number, value
        self.call("KVM_SET_XCRS", raw)

    def get_events(self) -> Events:
        """Exceptions, interrupts and NMIs on their way. Source: api.rst §4.31."""
        self.system.require("KVM_CAP_VCPU_EVENTS")
        raw = ffi.new("struct kvm_vcpu_events *")
        self.call("KVM_GET_VCPU_EVENTS", raw)
        exception, interrupt, nmi = raw.exception, raw.interrupt, raw.nmi
        return Events(
            exception_injected=bool(exception.injected),
            exception_pending=bool(exception.pending),
            exception_vector=exception.nr,
            exception_error_code=exception.error_code if exception.has_error_code else None,
            interrupt_injected=bool(interrupt.injected),
            interrupt_vector=interrupt.nr,
            interrupt_soft=bool(interrupt.soft),
            interrupt_shadow=interrupt.shadow,
            nmi_injected=bool(nmi.injected),
            nmi_pending=bool(nmi.pending),
            nmi_masked=bool(nmi.masked),
        )

    def set_events(self, events: Events) -> None:
        """Set exceptions, interrupts and NMIs on their way. Source: api.rst §4.32."""
        self.system.require("KVM_CAP_VCPU_EVENTS")
        raw = ffi.new("struct kvm_vcpu_events *")
        raw.flags = lib.KVM_VCPUEVENT_VALID_NMI_PENDING | lib.KVM_VCPUEVENT_VALID_SHADOW
        _set(
            raw.exception,
            injected=events.exception_injected,
            pending=events.exception_pending,
            nr=events.exception_vector,
            has_error_code=events.exception_error_code is not None,
            error_code=events.exception_error_code or 0,
        )
        _set(
            raw.interrupt,
            injected=events.interrupt_injected,
            nr=events.interrupt_vector,
            soft=events.interrupt_soft,
            shadow=events.interrupt_shadow,
        )
        _set(
            raw.nmi,
            injected=events.nmi_injected,
            pending=events.nmi_pending,
            masked=events.nmi_masked,
        )
        self.call("KVM_SET_VCPU_EVENTS", raw)

    def get_mp_state(self) -> MpState:
        """Whether the processor runs, waits to be started, or halts. Source: api.rst §4.38."""
        raw = ffi.new("struct kvm_mp_state *")
        self.call("KVM_GET_MP_STATE", raw)
        return _MP_NAMES[raw.mp_state]

    def set_mp_state(self, state: MpState) -> None:
        """Let the processor run, wait or halt; needs an irqchip. Source: api.rst §4.39."""
        self.call(
            "KVM_SET_MP_STATE", ffi.new("struct kvm_mp_state *", {"mp_state": _MP_STATES[state]})
        )

    def get_debug_registers(self) -> DebugRegisters:
        """The guest's own debug registers. Source: api.rst §4.33."""
        self.system.require("KVM_CAP_DEBUGREGS")
        raw = ffi.new("struct kvm_debugregs *")
        self.call("KVM_GET_DEBUGREGS", raw)
        return DebugRegisters((*raw.db,), raw.dr6, raw.dr7)

    def set_debug_registers(self, registers: DebugRegisters) -> None:
        """Set the guest's own debug registers. Source: api.rst §4.34."""
        self.system.require("KVM_CAP_DEBUGREGS")
        values = {"db": registers.addresses, "dr6": registers.dr6, "dr7": registers.dr7}
        self.call("KVM_SET_DEBUGREGS", ffi.new("struct kvm_debugregs *", values))

    def get_lapic(self) -> bytes:
        """The local APIC's register page, with an in-kernel irqchip. Source: api.rst §4.57."""
        raw = ffi.new("struct kvm_lapic_state *")
        self.call("KVM_GET_LAPIC", raw)
        return bytes(ffi.buffer(raw.regs))

    def set_lapic(self, page: bytes) -> None:
        """Set the local APIC's register page.

        Raises:
            UsageError: not of the size that `get_lapic` gives.

        Source: api.rst §4.58.
        """
        raw = ffi.new("struct kvm_lapic_state *")
        if len(page) != len(raw.regs):
            raise UsageError(f"a local APIC's state has {len(raw.regs)} bytes, not {len(page)}")
        ffi.memmove(raw.regs, page, len(page))
        self.call("KVM_SET_LAPIC", raw)

    def get_tsc_khz(self) -> int:
        """Frequency of the guest's time stamp counter. Source: api.rst §4.56."""
        self.system.require("KVM_CAP_GET_TSC_KHZ")
        return self.call("KVM_GET_TSC_KHZ", 0)

    def set_tsc_khz(self, khz: int) -> None:
        """Scale the guest's time stamp counter.

        Raises:
            MissingCapability: the processor cannot scale (KVM_CAP_TSC_CONTROL).

        Source: api.rst §4.55.
        """
        self.system.require("KVM_CAP_TSC_CONTROL")
        self.call("KVM_SET_TSC_KHZ", khz)


def _set(raw: Any, **values: int) -> None:
    for name, value in values.items():
        setattr(raw, name, value)
