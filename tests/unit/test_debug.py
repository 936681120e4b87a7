"""Guest debugging: single steps, software and hardware breakpoints."""

from __future__ import annotations

import pytest

import pykvm
from pykvm import host
from pykvm.backend.types import HardwareBreakpoint
from pykvm.breakpoints import Breakpoints
from pykvm.errors import MemoryAccessError, UsageError
from pykvm.exits import Debug, Halt
from pykvm.layout import LOAD_BASE
from pykvm.machine import Machine

TIMEOUT_S = 60  # never reached: a hang ends there
DB_VECTOR, BP_VECTOR = 1, 3
DR6_B0, DR6_BS = 1 << 0, 1 << 14
DATA = 0x2_0000


def machine(backend: str, source: str, mode: str = "long") -> Machine:
    """A machine with a guest loaded."""
    vm = pykvm.VM(backend=backend, memory="1M", float_unclaimed=True)
    vm.load(pykvm.assemble(source, mode=mode))
    return vm


def debug_exit(vm: Machine) -> Debug:
    """Run to the next exit, which is a Debug exit."""
    exit = vm.run(TIMEOUT_S).exit
    assert isinstance(exit, Debug), vm.result.reason
    return exit


def skip_on_kvm_pvm(backend: str) -> None:
    """For what host kind 3 cannot do."""
    if backend == "kvm" and host.Host.read().module == "kvm_pvm":
        pytest.skip(
            "kvm_pvm leaves #DB and #BP at CPL 3 to the guest, and cannot emulate INT3 at CPL 0"
        )


@pytest.mark.parametrize("mode", ["real", "protected", "long", "user"])
def test_single_steps_stop_after_each_instruction(backend: str, mode: str) -> None:
    if mode == "user":
        skip_on_kvm_pvm(backend)
    with machine(backend, "nop\nmov al, 1\nnop\n", mode) as vm:
        start = vm.registers.rip
        vm.vcpu.set_guest_debug(single_step=True)
        seen = [debug_exit(vm) for _ in range(3)]
        assert [exit.rip - start for exit in seen] == [1, 3, 4]
        assert all(exit.exception == DB_VECTOR and exit.dr6 & DR6_BS for exit in seen)
        assert vm.result.outcome is pykvm.Outcome.DEBUG


def test_without_debugging_the_guest_runs_on(backend: str) -> None:
    with machine(backend, "nop\nnop\nhlt") as vm:
        vm.vcpu.set_guest_debug(single_step=True)
        debug_exit(vm)
        vm.vcpu.set_guest_debug()
        assert vm.run(TIMEOUT_S).exit == Halt()


@pytest.mark.parametrize("mode", ["long", "user"])
def test_software_breakpoints_stop_before_the_instruction(backend: str, mode: str) -> None:
    skip_on_kvm_pvm(backend)
    with machine(backend, "nop\nmov al, 7\nmov bl, 8\nnop", mode) as vm:
        points = Breakpoints(vm.memory)
        points.insert(LOAD_BASE + 1)
        vm.vcpu.set_guest_debug(software=True)
        exit = debug_exit(vm)
        assert (exit.exception, exit.rip) == (BP_VECTOR, LOAD_BASE + 1)
        points.remove(LOAD_BASE + 1)
        vm.vcpu.set_guest_debug(single_step=True)
        assert debug_exit(vm).rip == LOAD_BASE + 3
        assert vm.registers.al == 7


def test_breakpoints_put_every_byte_back(backend: str) -> None:
    with machine(backend, "mov al, 7\nmov bl, 8\nhlt") as vm:
        code = vm.memory.read(LOAD_BASE, 5)
        points = Breakpoints(vm.memory)
        points.insert(LOAD_BASE)
        points.insert(LOAD_BASE)
        points.insert(LOAD_BASE + 2)
        assert vm.memory.read(LOAD_BASE, 5) == b"\xcc" + code[1:2] + b"\xcc" + code[3:]
        assert list(points) == [LOAD_BASE, LOAD_BASE + 2]
        points.remove(0x1234)
        points.clear()
        assert len(points) == 0
        assert vm.memory.read(LOAD_BASE, 5) == code
        with pytest.raises(MemoryAccessError):
            points.insert(1 << 40)


@pytest.mark.parametrize("mode", ["long", "user"])
def test_hardware_breakpoints_stop_before_the_instruction(backend: str, mode: str) -> None:
    if mode == "user":
        skip_on_kvm_pvm(backend)
    with machine(backend, "nop\nnop\nmov al, 7\nnop", mode) as vm:
        points = [HardwareBreakpoint(LOAD_BASE + 1), HardwareBreakpoint(LOAD_BASE + 2)]
        vm.vcpu.set_guest_debug(hardware=points)
        first = debug_exit(vm)
        assert (first.exception, first.rip) == (DB_VECTOR, LOAD_BASE + 1)
        assert first.dr6 & DR6_B0
        vm.vcpu.set_guest_debug(hardware=points[1:])
        assert debug_exit(vm).rip == LOAD_BASE + 2


def test_a_breakpoint_is_passed_by_a_step_without_it(backend: str) -> None:
    with machine(backend, "nop\nback: inc eax\njmp back") as vm:
        points = [HardwareBreakpoint(LOAD_BASE + 1)]
        for turn in range(3):
            vm.vcpu.set_guest_debug(hardware=points)
            assert debug_exit(vm).rip == LOAD_BASE + 1
            assert vm.registers.rax == turn
            vm.vcpu.set_guest_debug(single_step=True)
            debug_exit(vm)


def test_hardware_watchpoints_stop_after_the_access(backend: str) -> None:
    skip_on_kvm_pvm(backend)
    source = f"mov al, [{DATA}]\nmov byte ptr [{DATA}], 1\nnop"
    with machine(backend, source, "user") as vm:
        vm.vcpu.set_guest_debug(hardware=[HardwareBreakpoint(DATA, "write", 1)])
        assert debug_exit(vm).dr6 & DR6_B0
        assert vm.memory.read_int(DATA, 1) == 1


def test_impossible_breakpoints_are_refused(backend: str) -> None:
    for arguments in [(0, "jump", 1), (0, "write", 3), (1, "write", 4), (0, "execute", 4)]:
        with pytest.raises(UsageError):
            HardwareBreakpoint(*arguments)
    with machine(backend, "hlt") as vm, pytest.raises(UsageError, match="4 hardware breakpoints"):
        vm.vcpu.set_guest_debug(hardware=[HardwareBreakpoint(n) for n in range(5)])
