"""Interrupts: injected by hand, by line, by message, by eventfd; and their ends reported."""

from __future__ import annotations

import os
import select
import struct
import threading
import time

import pytest

import pykvm
from pykvm import layout
from pykvm.backend.types import MsiRoute, PinRoute, default_routes
from pykvm.errors import PykvmError, UsageError
from pykvm.exits import IoapicEoi, IrqWindow, PortOut
from pykvm.machine import Machine
from pykvm.registers import Table

TIMEOUT_S = 60  # never reached: a hang ends there
SOON_S = 0.02
VECTOR, NMI_VECTOR = 0x20, 2
HANDLER, IDT_BASE = 0x9000, 0x2_0000
MARK_PORT = 0x80  # the handlers write here, which nobody claims: an exit to look at
DELIVERY_ADDRESS = 0xFEE0_0000  # to the local APIC 0, Intel SDM vol. 3A §10.11.1
LEVEL_TRIGGERED = 1 << 15  # in an MSI's data, §10.11.2
LAPIC_SPURIOUS, LAPIC_EOI = 0xFEE0_00F0, 0xFEE0_00B0

# Real mode: interrupts allowed, then nothing but waiting.
IDLE = "sti\nwait_here: jmp wait_here\n"


def set_gate(vm: Machine, vector: int, source: str) -> None:
    """Let a vector of a new long-mode table lead to this code. Intel SDM vol. 3A §6.14.1."""
    code = pykvm.assemble(source, origin=HANDLER)
    for gpa, data in code.pieces:
        vm.memory.write(gpa, data)
    gate = struct.pack("<HHBBHI4x", HANDLER, layout.CODE64_SELECTOR, 0, 0x8E, 0, 0)
    vm.memory.write(IDT_BASE + 16 * vector, gate)
    special = vm.vcpu.get_special()
    special.idt = Table(IDT_BASE, 0xFFF)
    vm.vcpu.set_special(special)


def set_handler(vm: Machine, vector: int, source: str) -> None:
    """Let a vector of the real-mode table lead to this code."""
    code = pykvm.assemble(source, mode="real", origin=HANDLER)
    for gpa, data in code.pieces:
        vm.memory.write(gpa, data)
    vm.memory.write_int(4 * vector, HANDLER, 4)


def mark() -> PortOut:
    """The exit that a handler makes."""
    return PortOut(MARK_PORT, 1, b"\x01")


def test_an_interrupt_is_injected_when_its_window_opens(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.load(pykvm.assemble("nop\nnop\n" + IDLE, mode="real"))
        set_handler(vm, VECTOR, f"mov al, 1\nout {MARK_PORT}, al\nhlt")
        vm.vcpu.request_interrupt_window()
        exits = vm.exits(TIMEOUT_S)
        assert next(exits) == IrqWindow()
        assert vm.vcpu.ready_for_interrupt
        vm.vcpu.request_interrupt_window(False)
        vm.vcpu.interrupt(VECTOR)
        assert next(exits) == mark()
        exits.close()


def test_an_nmi_comes_with_interrupts_off(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.load(pykvm.assemble("cli\nwait_here: jmp wait_here", mode="real"))
        set_handler(vm, NMI_VECTOR, "hlt")
        vm.vcpu.nmi()
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
        assert vm.registers.rip == HANDLER + 1
        assert vm.vcpu.get_events().nmi_masked


def test_injection_with_an_irqchip_is_refused_with_a_hint(backend: str) -> None:
    with (
        pykvm.VM(backend=backend, memory="1M", irqchip="full") as vm,
        pytest.raises(PykvmError, match="drive its lines"),
    ):
        vm.vcpu.interrupt(VECTOR)


# The first PIC with its vectors from VECTOR on and every line open.
PIC_SETUP = "".join(
    f"mov al, {value}\nout {port}, al\n"
    for port, value in [(0x20, 0x11), (0x21, VECTOR), (0x21, 4), (0x21, 1), (0x21, 0)]
)
PIC_HANDLER = f"mov al, 0x20\nout 0x20, al\nmov al, 1\nout {MARK_PORT}, al\niret"


def pic_machine(backend: str, wait: str = IDLE) -> Machine:
    """A guest that programs the first PIC, tells so by an exit, and waits for line 4."""
    vm = pykvm.VM(backend=backend, memory="1M", irqchip="full", float_unclaimed=True)
    vm.load(pykvm.assemble(PIC_SETUP + f"out {MARK_PORT}, al\n" + wait, mode="real"))
    set_handler(vm, VECTOR + 4, PIC_HANDLER)
    return vm


# Long mode: the local APIC switched on.
APIC_SETUP = f"mov rbx, {LAPIC_SPURIOUS}\nmov dword ptr [rbx], 0x1ff\nout {MARK_PORT}, al\n"
APIC_HANDLER = f"""
mov rbx, {LAPIC_EOI}
mov dword ptr [rbx], 0
mov al, 1
out {MARK_PORT}, al
iretq
"""


def apic_machine(backend: str, irqchip: str = "full") -> Machine:
    """A guest that switches its local APIC on, tells so by an exit, and waits for VECTOR."""
    vm = pykvm.VM(backend=backend, memory="1M", irqchip=irqchip, float_unclaimed=True)
    vm.load(pykvm.assemble(APIC_SETUP + IDLE))
    set_gate(vm, VECTOR, APIC_HANDLER)
    return vm


def test_a_line_interrupts_through_the_pic(backend: str) -> None:
    with pic_machine(backend) as vm:
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        vm.vm.set_irq_line(4, True)
        assert next(exits) == mark()
        vm.vm.set_irq_line(4, False)
        exits.close()


def test_an_eventfd_interrupts(backend: str) -> None:
    fd = os.eventfd(0)
    with pic_machine(backend) as vm:
        vm.vm.add_irqfd(fd, 4)
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        os.eventfd_write(fd, 1)
        assert next(exits) == mark()
        vm.vm.remove_irqfd(fd, 4)
        exits.close()
    os.close(fd)


HALT = "sti\nwait_here: hlt\njmp wait_here\n"


@pytest.mark.parametrize("wait", [IDLE, HALT], ids=["runs", "halts"])
def test_an_eventfd_of_another_thread_interrupts_a_guest_that(backend: str, wait: str) -> None:
    fd = os.eventfd(0)
    with pic_machine(backend, wait) as vm:
        vm.vm.add_irqfd(fd, 4)
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        for _ in range(3):
            thread = threading.Timer(SOON_S, os.eventfd_write, (fd, 1))
            thread.start()
            assert next(exits) == mark()
            thread.join()
        exits.close()
    os.close(fd)


def test_an_eventfd_added_while_the_guest_sleeps_interrupts(backend: str) -> None:
    fd = os.eventfd(0)

    def add() -> None:
        vm.vm.add_irqfd(fd, 4)
        time.sleep(SOON_S)
        os.eventfd_write(fd, 1)

    with pic_machine(backend, HALT) as vm:
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        thread = threading.Timer(SOON_S, add)
        thread.start()
        assert next(exits) == mark()
        thread.join()
        exits.close()
    os.close(fd)


@pytest.mark.parametrize("cpus", [1, 2])
def test_eventfds_carry_requests_and_answers(backend: str, cpus: int) -> None:
    """A device in a thread: each request rings a doorbell, each answer raises a line."""
    rounds, bell, line = 200, os.eventfd(0), os.eventfd(0)

    def answer() -> None:
        for _ in range(rounds):
            os.eventfd_read(bell)
            os.eventfd_write(line, 1)

    source = f"""
        mov cx, {rounds}
        mov dx, {MARK_PORT}
        cli
    again:
        out dx, al
        sti
        hlt
        cli
        dec cx
        jnz again
        mov al, 0
        out {layout.EXIT_PORT}, al
    """
    with pykvm.VM(backend=backend, memory="1M", irqchip="full", cpus=cpus) as vm:
        vm.load(pykvm.assemble(PIC_SETUP + source, mode="real"))
        set_handler(vm, VECTOR + 4, "mov al, 0x20\nout 0x20, al\niret")
        vm.vm.add_ioeventfd(bell, MARK_PORT, 1, port=True)
        vm.vm.add_irqfd(line, 4)
        thread = threading.Thread(target=answer)
        thread.start()
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.EXIT
        thread.join()
        assert vm.result.exits.get("PortOut") == 1
    os.close(bell)
    os.close(line)


def test_the_end_of_a_level_interrupt_is_signalled(backend: str) -> None:
    fd, resample_fd = os.eventfd(0), os.eventfd(0)
    with pic_machine(backend) as vm:
        vm.vm.add_irqfd(fd, 4, resample_fd)
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        assert not select.select([resample_fd], [], [], 0)[0]
        os.eventfd_write(fd, 1)
        assert next(exits) == mark()
        assert os.eventfd_read(resample_fd) == 1
        exits.close()
    os.close(fd)
    os.close(resample_fd)


def test_a_message_interrupts(backend: str) -> None:
    with apic_machine(backend) as vm:
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        assert vm.vm.signal_msi(DELIVERY_ADDRESS, VECTOR)
        assert next(exits) == mark()
        exits.close()


def test_a_routed_line_sends_a_message(backend: str) -> None:
    fd = os.eventfd(0)
    with apic_machine(backend) as vm:
        vm.vm.set_routes((*default_routes(), MsiRoute(24, DELIVERY_ADDRESS, VECTOR)))
        vm.vm.add_irqfd(fd, 24)
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        os.eventfd_write(fd, 1)
        assert next(exits) == mark()
        exits.close()
    os.close(fd)


def test_a_split_irqchip_reports_the_end_of_level_interrupts(backend: str) -> None:
    with apic_machine(backend, "split") as vm:
        vm.vm.set_routes([MsiRoute(5, DELIVERY_ADDRESS, VECTOR | LEVEL_TRIGGERED)])
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        vm.vm.set_irq_line(5, True)
        # KVM reports it at an entry, which may come after the handler's own exit.
        assert {next(exits), next(exits)} == {IoapicEoi(VECTOR), mark()}
        exits.close()


def test_default_routes_are_what_a_machine_starts_with(backend: str) -> None:
    with pic_machine(backend) as vm:
        vm.vm.set_routes(default_routes())
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        vm.vm.set_irq_line(4, True)
        assert next(exits) == mark()
        exits.close()


def test_routes_to_an_unknown_chip_are_refused(backend: str) -> None:
    with (
        pykvm.VM(backend=backend, memory="1M", irqchip="full") as vm,
        pytest.raises(UsageError, match="ioapic"),
    ):
        vm.vm.set_routes([PinRoute(0, "apic", 0)])


def test_an_eventfd_drives_one_line_only(backend: str) -> None:
    fd = os.eventfd(0)
    with pykvm.VM(backend=backend, memory="1M", irqchip="full") as vm:
        vm.vm.add_irqfd(fd, 4)
        with pytest.raises(PykvmError, match="bound"):
            vm.vm.add_irqfd(fd, 4)
    os.close(fd)


def test_chips_come_once_and_before_processors(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M", irqchip="full", pit=True) as vm:
        with pytest.raises(PykvmError, match="has a PIT"):
            vm.vm.create_pit()
        with pytest.raises(PykvmError, match="has interrupt chips"):
            vm.vm.create_irqchip("full")
        with pytest.raises(UsageError, match="full or split"):
            vm.vm.create_irqchip("pic")
    with (
        pykvm.VM(backend=backend, memory="1M") as vm,
        pytest.raises(PykvmError, match="before the first vCPU"),
    ):
        vm.vm.create_irqchip("full")
