"""Processor and chip state that nobody sane would set, from a seed; and all that sets state."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import pykvm
from pykvm.backend.protocol import Vcpu
from pykvm.registers import GENERAL, SEGMENTS, Registers, Segment, SpecialRegisters, Table
from pykvm.state import Clock, DebugRegisters, Events, IrqchipState, MpState

Setter = Callable[[pykvm.VM, random.Random], None]

_EDGES = (0, 1, 0x7F, 0x80, 0xFFFF, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
          (1 << 47) - 1, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
_FLAG_BITS = [*range(12), 14, *range(16, 22)]
_CR0_BITS = (0, 1, 2, 3, 4, 5, 16, 18, 29, 30, 31)
_SEGMENT_BITS = {"limit": 32, "selector": 16, "type": 4, "dpl": 2}


def number(dice: random.Random, bits: int = 64) -> int:
    """Of so many bits, often at an edge."""
    if dice.random() < 0.5:
        return (dice.choice(_EDGES) + dice.randint(-2, 2)) & (1 << bits) - 1
    return dice.getrandbits(bits) >> dice.randrange(bits)


def damage(dice: random.Random, blob: bytes) -> bytes:
    """The same with bits flipped, bytes changed or all of it random; now and then another size."""
    data = bytearray(blob)
    match dice.randrange(8):
        case 0:
            return dice.randbytes(len(data))
        case 1:
            return bytes(data[: dice.randint(0, len(data))])
        case 2:
            return bytes(data) + dice.randbytes(dice.randint(1, 64))
    for _ in range(dice.choice((1, 4, 32))):
        at = dice.randrange(len(data) or 1)
        data[at : at + 1] = bytes([dice.choice((0, 0xFF, dice.randrange(256)))])
    return bytes(data)


def _with_bits(value: int, dice: random.Random, bits: Sequence[int]) -> int:
    for bit in dice.sample(bits, dice.choice((0, 1, 2, len(bits) // 2))):
        value ^= 1 << bit
    return value


def registers(dice: random.Random, places: Sequence[int]) -> Registers:
    """Pointers to those places, mostly."""
    values = {
        name: dice.choice(places) + dice.randint(-16, 16) & (1 << 64) - 1
        if dice.random() < 0.6
        else number(dice)
        for name in GENERAL
    }
    return Registers(**values | {"rflags": _with_bits(2, dice, _FLAG_BITS)})


def special(dice: random.Random, now: SpecialRegisters, places: Sequence[int]) -> SpecialRegisters:
    """What is there with some of it odd, and tables at those places."""
    parts: dict[str, object] = {}
    for name in dice.sample(SEGMENTS, dice.randint(0, 3)):
        parts[name] = _segment(dice, getattr(now, name), places)
    for name in dice.sample(("gdt", "idt"), dice.randint(0, 2)):
        parts[name] = Table(dice.choice(places), dice.choice((0, 7, 0x7F, 0xFFF, 0xFFFF)))
    if dice.random() < 0.5:
        parts["cr3"] = dice.choice(places) & ~0xFFF | dice.choice((0, 0, 0x18, 0xFE0))
    if dice.random() < 0.4:
        parts["cr0"] = _with_bits(now.cr0, dice, _CR0_BITS)
    if dice.random() < 0.4:
        parts["cr4"] = _with_bits(now.cr4, dice, range(23))
    if dice.random() < 0.3:
        parts["efer"] = _with_bits(now.efer, dice, (0, 8, 10, 11, 13))
    if dice.random() < 0.1:
        parts[dice.choice(("cr2", "cr8", "apic_base", "cr0", "cr4", "efer"))] = number(dice)
    return replace(now, **parts)  # type: ignore[arg-type]


def _segment(dice: random.Random, now: Segment, places: Sequence[int]) -> Segment:
    values = {
        each.name: number(dice, _SEGMENT_BITS.get(each.name, 1))
        for each in fields(Segment)
        if dice.random() < 0.3
    }
    if dice.random() < 0.5:
        values["base"] = dice.choice((*places, number(dice)))
    return replace(now, **values)


def events(dice: random.Random) -> Events:
    """Any combination, possible or not."""
    values = {each.name: dice.random() < 0.3 for each in fields(Events) if each.type == "bool"}
    return Events(
        **values,
        exception_vector=number(dice, dice.choice((5, 8))),
        exception_error_code=dice.choice((None, number(dice, 32))),
        interrupt_vector=number(dice, 8),
        interrupt_shadow=number(dice, dice.choice((2, 8))),
    )


def _vcpu(vm: pykvm.VM, dice: random.Random) -> Vcpu:
    return dice.choice(vm.vcpus)


def _set_general(vm: pykvm.VM, dice: random.Random) -> None:
    _vcpu(vm, dice).set_registers(registers(dice, (0x1000, 0x1_0000)))


def _set_special(vm: pykvm.VM, dice: random.Random) -> None:
    vcpu = _vcpu(vm, dice)
    vcpu.set_special(special(dice, vcpu.get_special(), (0x1000, 0x1_0000)))


def _set_xsave(vm: pykvm.VM, dice: random.Random) -> None:
    vcpu = _vcpu(vm, dice)
    vcpu.set_xsave(damage(dice, vcpu.get_xsave()))


def _set_xcrs(vm: pykvm.VM, dice: random.Random) -> None:
    _vcpu(vm, dice).set_xcrs({dice.choice((0, 0, 0, 1)): dice.choice((1, 3, 7, number(dice)))})


def _set_lapic(vm: pykvm.VM, dice: random.Random) -> None:
    vcpu = _vcpu(vm, dice)
    vcpu.set_lapic(damage(dice, vcpu.get_lapic()))


def _set_msrs(vm: pykvm.VM, dice: random.Random) -> None:
    vcpu = _vcpu(vm, dice)
    index = dice.choice(vcpu.msr_indices()) if dice.random() < 0.9 else number(dice, 32)
    vcpu.set_msrs({index: number(dice)})


def _set_events(vm: pykvm.VM, dice: random.Random) -> None:
    _vcpu(vm, dice).set_events(events(dice))


def _set_debug(vm: pykvm.VM, dice: random.Random) -> None:
    first, second, third, fourth, dr6, dr7 = (number(dice) for _ in range(6))
    _vcpu(vm, dice).set_debug_registers(DebugRegisters((first, second, third, fourth), dr6, dr7))


def _set_mp_state(vm: pykvm.VM, dice: random.Random) -> None:
    _vcpu(vm, dice).set_mp_state(dice.choice(tuple(MpState)))


def _set_irqchip(vm: pykvm.VM, dice: random.Random) -> None:
    chips = vm.vm.get_irqchip()
    name = dice.choice([each.name for each in fields(IrqchipState)])
    vm.vm.set_irqchip(replace(chips, **{name: damage(dice, getattr(chips, name))}))


def _set_pit(vm: pykvm.VM, dice: random.Random) -> None:
    vm.vm.set_pit(damage(dice, vm.vm.get_pit()))


def _set_clock(vm: pykvm.VM, dice: random.Random) -> None:
    vm.vm.set_clock(Clock(number(dice), dice.choice((None, number(dice)))))


SETTERS: dict[str, Setter] = {
    "registers": _set_general, "special": _set_special, "xsave": _set_xsave, "xcrs": _set_xcrs,
    "lapic": _set_lapic, "msrs": _set_msrs, "events": _set_events, "debug": _set_debug,
    "mp_state": _set_mp_state, "irqchip": _set_irqchip, "pit": _set_pit, "clock": _set_clock,
}  # fmt: skip
