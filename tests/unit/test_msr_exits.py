"""MSR accesses that come out as exits and are answered from Python."""

from __future__ import annotations

import pytest

import pykvm
from pykvm.backend.protocol import Vm
from pykvm.backend.types import MsrExitReason, MsrTrap
from pykvm.errors import UsageError
from pykvm.exits import Halt, MsrRead, MsrWrite, Shutdown
from pykvm.machine import Machine

TIMEOUT_S = 60  # never reached: a hang ends there
UNKNOWN_MSR = 0x1234_5678
KERNEL_GS_BASE = 0xC000_0102  # of 64 bits on both makers' processors
USUAL = MsrExitReason.UNKNOWN | MsrExitReason.INVALID

READ = "mov ecx, {0}\nrdmsr\nhlt"
WRITE = "mov ecx, {0}\nmov eax, 0x11\nmov edx, 0x22\nwrmsr\nhlt"


def machine(backend: str, source: str) -> tuple[Machine, Vm]:
    """A machine with a guest, and what its backend is asked for."""
    vm = pykvm.VM(backend=backend, memory="1M")
    vm.load(pykvm.assemble(source))
    return vm, vm.vm


def test_a_read_of_an_unknown_msr_is_answered(backend: str) -> None:
    vm, control = machine(backend, READ.format(UNKNOWN_MSR))
    with vm:
        control.enable_msr_exits(USUAL)
        exits = vm.exits(TIMEOUT_S)
        assert next(exits) == MsrRead(UNKNOWN_MSR)
        vm.answer(0x1111_2222_3333_4444)
        assert next(exits) == Halt()
        assert (vm.registers.rax, vm.registers.rdx) == (0x3333_4444, 0x1111_2222)


def test_a_write_of_an_unknown_msr_is_accepted(backend: str) -> None:
    vm, control = machine(backend, WRITE.format(UNKNOWN_MSR))
    with vm:
        control.enable_msr_exits(USUAL)
        exits = vm.exits(TIMEOUT_S)
        assert next(exits) == MsrWrite(UNKNOWN_MSR, 0x22_0000_0011)
        vm.answer(0)
        assert next(exits) == Halt()


@pytest.mark.parametrize("source", [READ, WRITE])
def test_a_fault_is_a_gp_in_the_guest(backend: str, source: str) -> None:
    vm, control = machine(backend, source.format(UNKNOWN_MSR))
    with vm:
        control.enable_msr_exits(USUAL)
        exits = vm.exits(TIMEOUT_S)
        assert isinstance(next(exits), MsrRead | MsrWrite)
        vm.answer(0, fault=True)
        assert next(exits) == Shutdown()  # there is no IDT


def test_an_unanswered_access_faults(backend: str) -> None:
    vm, control = machine(backend, READ.format(UNKNOWN_MSR))
    with vm:
        control.enable_msr_exits(USUAL)
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.SHUTDOWN
        assert vm.result.exits == {"MsrRead": 1, "Shutdown": 1}


def test_a_trapped_msr_exits_though_the_backend_knows_it(backend: str) -> None:
    vm, control = machine(backend, READ.format(KERNEL_GS_BASE))
    with vm:
        control.enable_msr_exits(MsrExitReason.FILTER)
        control.trap_msrs([MsrTrap(range(KERNEL_GS_BASE, KERNEL_GS_BASE + 1))])
        exits = vm.exits(TIMEOUT_S)
        assert next(exits) == MsrRead(KERNEL_GS_BASE)
        vm.answer(5)
        assert next(exits) == Halt()
        assert vm.registers.rax == 5


def test_a_trap_on_writes_lets_reads_through(backend: str) -> None:
    vm, control = machine(backend, f"mov ecx, {KERNEL_GS_BASE}\nrdmsr\nwrmsr\nhlt")
    with vm:
        control.enable_msr_exits(MsrExitReason.FILTER)
        control.trap_msrs([MsrTrap(range(KERNEL_GS_BASE, KERNEL_GS_BASE + 1), reads=False)])
        vm.vcpu.set_msrs({KERNEL_GS_BASE: 0x9_0000_0008})
        exits = vm.exits(TIMEOUT_S)
        assert next(exits) == MsrWrite(KERNEL_GS_BASE, 0x9_0000_0008)
        exits.close()


def test_traps_are_replaced(backend: str) -> None:
    vm, control = machine(backend, READ.format(KERNEL_GS_BASE))
    with vm:
        control.enable_msr_exits(MsrExitReason.FILTER)
        control.trap_msrs([MsrTrap(range(KERNEL_GS_BASE, KERNEL_GS_BASE + 1))])
        control.trap_msrs([])
        assert next(vm.exits(TIMEOUT_S)) == Halt()


def test_impossible_traps_are_refused(backend: str) -> None:
    vm, control = machine(backend, "hlt")
    with vm:
        for traps in [
            [MsrTrap(range(0))],
            [MsrTrap(range(0, 10, 2))],
            [MsrTrap(range(0x10_0000))],
            [MsrTrap(range(1))] * 17,
        ]:
            with pytest.raises(UsageError):
                control.trap_msrs(traps)
