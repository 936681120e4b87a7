"""All of a machine's state as plain values: read from one machine, put into another."""

from __future__ import annotations

from dataclasses import dataclass

from pykvm import Machine
from pykvm.backend.protocol import Vcpu
from pykvm.errors import PykvmError
from pykvm.registers import Registers, SpecialRegisters
from pykvm.state import Clock, DebugRegisters, Events, IrqchipState, MpState

TSC, TSC_DEADLINE = 0x10, 0x6E0


@dataclass(frozen=True, slots=True)
class VcpuState:
    """One processor's."""

    registers: Registers
    special: SpecialRegisters
    xcrs: dict[int, int]
    xsave: bytes
    debug: DebugRegisters
    events: Events
    mp: MpState
    msrs: dict[int, int]
    lapic: bytes | None


@dataclass(frozen=True, slots=True)
class State:
    """A whole machine's, but for devices in Python."""

    memory: tuple[bytes, ...]
    clock: Clock
    vcpus: tuple[VcpuState, ...]
    irqchip: IrqchipState | None
    pit: bytes | None


def read(vm: Machine, irqchip: str, pit: bool) -> State:
    """Everything, between two instructions."""
    for vcpu in vm.vcpus:
        vcpu.complete()
    return State(
        memory=tuple(bytes(region.view) for region in vm.memory.regions),
        clock=Clock(vm.vm.get_clock().ns),
        vcpus=tuple(_read_vcpu(vcpu, irqchip != "none") for vcpu in vm.vcpus),
        irqchip=vm.vm.get_irqchip() if irqchip == "full" else None,
        pit=vm.vm.get_pit() if pit else None,
    )


def write(vm: Machine, state: State) -> None:
    """Go on from there."""
    for vcpu in vm.vcpus:
        vcpu.abandon()
    for region, data in zip(vm.memory.regions, state.memory, strict=True):
        vm.memory.write(region.gpa, data)
    vm.vm.set_clock(state.clock)
    if state.irqchip is not None:
        vm.vm.set_irqchip(state.irqchip)
    if state.pit is not None:
        vm.vm.set_pit(state.pit)
    for vcpu, each in zip(vm.vcpus, state.vcpus, strict=True):
        _write_vcpu(vcpu, each)


def _read_vcpu(vcpu: Vcpu, has_lapic: bool) -> VcpuState:
    return VcpuState(
        registers=vcpu.get_registers(),
        special=vcpu.get_special(),
        xcrs=vcpu.get_xcrs(),
        xsave=vcpu.get_xsave(),
        debug=vcpu.get_debug_registers(),
        events=vcpu.get_events(),
        mp=vcpu.get_mp_state(),
        msrs=vcpu.get_msrs(list(vcpu.msr_indices())),
        lapic=vcpu.get_lapic() if has_lapic else None,
    )


def _write_vcpu(vcpu: Vcpu, state: VcpuState) -> None:
    """The time stamp counter comes before the local APIC, whose timer may wait for it; the
    deadline after.
    """
    vcpu.set_special(state.special)
    vcpu.set_registers(state.registers)
    vcpu.set_xcrs(state.xcrs)
    vcpu.set_xsave(state.xsave)
    for index, value in state.msrs.items():
        if index != TSC_DEADLINE:
            _set_msr(vcpu, index, value)
    if state.lapic is not None:
        vcpu.set_lapic(state.lapic)
    if TSC_DEADLINE in state.msrs:
        _set_msr(vcpu, TSC_DEADLINE, state.msrs[TSC_DEADLINE])
    vcpu.set_debug_registers(state.debug)
    vcpu.set_mp_state(state.mp)
    vcpu.set_events(state.events)


def _set_msr(vcpu: Vcpu, index: int, value: int) -> None:
    """Some that tell of the host have one value for ever, and KVM lets nobody set them."""
    try:
        vcpu.set_msrs({index: value})
    except PykvmError:
        if vcpu.get_msrs([index]).get(index) != value:
            raise
