"""Wrong types and impossible values at the owner's interface are errors of pykvm's own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

import pykvm
from pykvm.backend.types import HardwareBreakpoint, MsiRoute, MsrTrap, PinRoute
from pykvm.bus import Bus
from pykvm.devices.scratch import Scratch
from pykvm.errors import ClosedError, PykvmError, UsageError
from pykvm.loader.image import Image, Mode
from pykvm.registers import Registers
from pykvm.state import Clock, DebugRegisters, Events, Fpu
from pykvm.virtio.balloon import Balloon
from pykvm.virtio.console import Console, Port
from pykvm.virtio.ends import Stream
from pykvm.virtio.entropy import Entropy
from pykvm.virtio.net import Net
from pykvm.virtio.vsock import Vsock

HUGE = 1 << 70
ODD: tuple[Any, ...] = (None, "text", 1.5, HUGE, -1, b"bytes", [], object())
HALT = Image("<hlt>", Mode.LONG, 0x1_0000, ((0x1_0000, b"\xf4"),))

# Each takes one odd value. Not all of them are wrong everywhere: what is taken is no fault.
SETTERS: dict[str, Callable[[pykvm.VM, Any], object]] = {
    "read": lambda vm, odd: vm.memory.read(odd, 4),
    "read_size": lambda vm, odd: vm.memory.read(0, odd),
    "write": lambda vm, odd: vm.memory.write(odd, b"x"),
    "write_data": lambda vm, odd: vm.memory.write(0, odd),
    "clear": lambda vm, odd: vm.memory.clear(odd, 4096),
    "clear_size": lambda vm, odd: vm.memory.clear(0, odd),
    "view": lambda vm, odd: vm.memory.view(odd, 4),
    "read_int": lambda vm, odd: vm.memory.read_int(0, odd),
    "write_int": lambda vm, odd: vm.memory.write_int(0, odd, 4),
    "write_int_size": lambda vm, odd: vm.memory.write_int(0, 1, odd),
    "getitem": lambda vm, odd: vm.memory[odd],
    "setitem": lambda vm, odd: vm.memory.__setitem__(0, odd),
    "setslice": lambda vm, odd: vm.memory.__setitem__(slice(0, 4), odd),
    "add": lambda vm, odd: vm.memory.add(odd, 4096),
    "register": lambda vm, odd: setattr(vm.registers, "rax", odd),
    "segment": lambda vm, odd: setattr(vm.registers, "cs", odd),
    "registers": lambda vm, odd: vm.vcpu.set_registers(Registers(rbx=odd)),
    "special": lambda vm, odd: vm.vcpu.set_special(odd),
    "msrs": lambda vm, odd: vm.vcpu.set_msrs({0xC000_0081: odd}),
    "get_msrs": lambda vm, odd: vm.vcpu.get_msrs([odd]),
    "fpu": lambda vm, odd: vm.vcpu.set_fpu(Fpu(fcw=odd)),
    "fpu_st": lambda vm, odd: vm.vcpu.set_fpu(Fpu(st=(odd,) * 8)),
    "xsave": lambda vm, odd: vm.vcpu.set_xsave(odd),
    "xcrs": lambda vm, odd: vm.vcpu.set_xcrs({0: odd}),
    "events": lambda vm, odd: vm.vcpu.set_events(
        Events(exception_injected=True, exception_vector=odd)
    ),
    "debug": lambda vm, odd: vm.vcpu.set_debug_registers(DebugRegisters(dr7=odd)),
    "breakpoint": lambda vm, odd: vm.vcpu.set_guest_debug(hardware=[HardwareBreakpoint(odd)]),
    "lapic": lambda vm, odd: vm.vcpu.set_lapic(odd),
    "mp_state": lambda vm, odd: vm.vcpu.set_mp_state(odd),
    "tsc_khz": lambda vm, odd: vm.vcpu.set_tsc_khz(odd),
    "line": lambda vm, odd: vm.vm.set_irq_line(odd, True),
    "msi": lambda vm, odd: vm.vm.signal_msi(odd, 0x40),
    "msi_data": lambda vm, odd: vm.vm.signal_msi(0xFEE0_0000, odd),
    "routes": lambda vm, odd: vm.vm.set_routes([PinRoute(odd, "ioapic", 1)]),
    "msi_route": lambda vm, odd: vm.vm.set_routes([MsiRoute(3, odd, 0)]),
    "ioeventfd": lambda vm, odd: vm.vm.add_ioeventfd(odd, 0x80, 1, port=True),
    "ioeventfd_size": lambda vm, odd: vm.vm.add_ioeventfd(0, 0x80, odd, port=True),
    "irqfd": lambda vm, odd: vm.vm.add_irqfd(odd, 5),
    "coalesced": lambda vm, odd: vm.vm.add_coalesced(odd, 4),
    "traps": lambda vm, odd: vm.vm.trap_msrs([MsrTrap(odd)]),
    "irqchip": lambda vm, odd: vm.vm.set_irqchip(odd),
    "pit": lambda vm, odd: vm.vm.set_pit(odd),
    "clock": lambda vm, odd: vm.vm.set_clock(Clock(odd)),
    "map": lambda vm, odd: vm.vm.map(odd),
    "scratch": lambda vm, odd: vm.vm.add_scratch(0x7000_0000, odd),
    "run": lambda vm, odd: vm.run(-odd if odd == 1.5 else odd or -1),
    "feed": lambda vm, odd: vm.feed(odd),
    "post": lambda vm, odd: vm.post(odd),
    "delay": lambda vm, odd: vm.post(lambda: None, odd),
    "load": lambda vm, odd: vm.load(odd),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTERS)
def test_an_odd_value_is_taken_or_refused_as_pykvms_own_error(name: str, backend: str) -> None:
    refused = 0
    with pykvm.VM(memory="1M", backend=backend, irqchip="full", pit=True) as vm:
        vm.load(HALT)
        for odd in ODD:
            try:
                SETTERS[name](vm, odd)
            except PykvmError:
                refused += 1
        assert vm.memory.read(0x1_0000, 1)
    assert refused


@pytest.mark.parametrize(
    "name", ["memory", "backend", "cpus", "cpu", "irqchip", "backing", "devices", "append", "clock"]
)
def test_a_machine_is_not_made_of_odd_values(name: str) -> None:
    for odd in (None, 1.5, HUGE, -1, b"bytes", object(), [object()]):
        with pytest.raises(PykvmError):
            pykvm.VM(**{name: odd}).close()


MAKERS: dict[str, Callable[[Any], object]] = {
    "exit_port": lambda odd: pykvm.VM(exit_port=odd),
    "balloon": Balloon,
    "console": lambda odd: Console([odd]),
    "console_ports": Console,
    "console_size": lambda odd: Console(size=odd),
    "entropy": Entropy,
    "mac": Net,
    "pairs": lambda odd: Net(pairs=odd),
    "port": Port,
    "port_name": lambda odd: Port(name=odd),
    "scratch": Scratch,
    "stream": Stream,
    "vsock": lambda odd: Vsock(cid=odd),
    "claim": lambda odd: Bus("port", 1 << 16).claim(odd, 1, Scratch(1)),
    "claim_size": lambda odd: Bus("port", 1 << 16).claim(0, odd, Scratch(1)),
    "claim_device": lambda odd: Bus("port", 1 << 16).claim(0, 1, odd),
}  # fmt: skip
FINE = [  # of ODD
    ("console_ports", None), ("console_ports", []), ("console_size", None),
    ("exit_port", None), ("port", None), ("port_name", "text"), ("stream", None),
]  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_devices_and_claims_are_not_made_of_odd_values(name: str) -> None:
    for odd in ODD:
        if any(name == each and odd == value for each, value in FINE):
            continue
        with pytest.raises(PykvmError):
            MAKERS[name](odd)


@pytest.mark.parametrize("ns", [1 << 63, (1 << 64) - 1, HUGE, -1])
def test_a_time_beyond_all_clocks_is_refused(ns: int, backend: str) -> None:
    with pykvm.VM(memory="1M", backend=backend, irqchip="full", pit=True) as vm:
        with pytest.raises(UsageError):
            vm.vm.set_clock(Clock(ns))
        with pytest.raises(UsageError):
            vm.vm.set_clock(Clock(1, realtime_ns=-ns if ns > 0 else -HUGE))
        vm.vm.set_clock(Clock(1 << 61))
        assert vm.vm.get_clock().ns >= 1 << 61


def test_a_note_of_any_size_takes_no_longer_than_what_is_known_of_code() -> None:
    with pykvm.VM(memory="1M", backend="emu") as vm:
        vm.load(pykvm.assemble("mov al, [rip + 0]\nout 0x80, al\nmov al, 1\nhlt"))
        vm.ports.float_unclaimed = True
        vm.run(60)
        vm.memory.view(0x1_0008, 2)[:] = b"\xb0\x07"  # nobody is told of this
        begun = time.process_time()
        for size_bytes in (1 << 60, (1 << 64) - 1):
            vm.vm.note_write(0, size_bytes)
            vm.registers.rip = 0x1_0000
            vm.run(60)
        assert time.process_time() - begun < 20  # it never ended
        with pytest.raises(UsageError):
            vm.vm.note_write(0, 1 << 64)


def use(vm: pykvm.VM, answers: Connection) -> None:
    """Of a machine that the parent made."""
    for action in (lambda: vm.run(1), lambda: vm.registers.rax, lambda: vm.load(HALT)):
        try:
            action()
        except PykvmError as error:
            answers.send(str(error))
    vm.close()
    with pykvm.VM(memory="1M", backend=vm.backend.name) as own:
        own.load(HALT)
        answers.send(own.run(60).outcome)


def test_a_machine_in_a_forked_child_says_where_it_was_made(backend: str) -> None:
    ours, theirs = multiprocessing.Pipe()
    with pykvm.VM(memory="1M", backend=backend) as vm:
        vm.load(HALT)
        child = multiprocessing.get_context("fork").Process(target=use, args=(vm, theirs))
        child.start()
        theirs.close()
        told = [ours.recv() for _ in range(4)]
        child.join()
        assert (
            told[:3]
            == [
                f"this machine was made in another process, {os.getpid()}: make one in this process"
            ]
            * 3
        )
        assert told[3] is pykvm.Outcome.HALT
        assert child.exitcode == 0
        assert vm.run(60).outcome is pykvm.Outcome.HALT
    with pytest.raises(ClosedError):
        vm.run(1)
