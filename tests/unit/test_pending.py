"""A machine left in the middle of an instruction: what is set next holds, on every path."""

from __future__ import annotations

import pytest
from support import whole_state

import pykvm
from pykvm.backend.types import MsrExitReason
from pykvm.errors import UsageError
from pykvm.exits import PortOut
from pykvm.machine import Machine
from pykvm.registers import GENERAL
from pykvm.result import Outcome
from pykvm.state import Events, MpState

TIMEOUT_S = 30
MMIO = 0xE000_0000
PRINTS = "mov al, 'A'\nout 0xe9, al\nhlt"
# Each leaves with an exit whose answer the instruction waits for.
READS = {
    "in": "in al, 0x60",
    "in-32": "mov dx, 0x1234\nin eax, dx",
    "mmio": f"mov eax, [{MMIO:#x}]",
    "mmio-sign": f"mov ebx, {MMIO:#x}\nmovsx rax, byte ptr [rbx]",
    "mmio-16-bytes": f"mov ebx, {MMIO:#x}\nmovups xmm0, [rbx]",
    "mmio-split": f"mov ebx, {MMIO + 0xFFC:#x}\nmov rax, [rbx]",
    "add": f"mov ebx, {MMIO:#x}\nadd eax, [rbx]",
    "add-to": f"mov ebx, {MMIO:#x}\nadd [rbx], eax",
    "pop-through": f"mov ebx, {MMIO:#x}\npush qword ptr [rbx]",
    "rep-insb": "mov edi, 0x20000\nmov ecx, 4\nmov dx, 0x60\nrep insb",
    "rep-insd-long": "mov edi, 0x20000\nmov ecx, 4000\nmov dx, 0x60\nrep insd",
    "rep-movsb": f"mov edi, 0x20000\nmov esi, {MMIO:#x}\nmov ecx, 4\nrep movsb",
    "rdmsr": "mov ecx, 0x12345678\nrdmsr",
    "wrmsr": "mov ecx, 0x12345678\nmov eax, 1\nmov edx, 2\nwrmsr",
}
WRITES = {
    "out": "out 0x60, al",
    "mmio-16-bytes": f"mov ebx, {MMIO:#x}\nmovups [rbx], xmm0",
    "rep-outsb": "mov esi, 0x20000\nmov ecx, 4\nmov dx, 0x60\nrep outsb",
}
ALL = [*((f"{name}-read", text) for name, text in READS.items()),
       *((f"{name}-write", text) for name, text in WRITES.items())]  # fmt: skip


@pytest.fixture(params=["alone", "assisted"])
def assist(request: pytest.FixtureRequest, backend: str) -> bool | None:
    """Whether the emulator helps KVM: the instruction is then the emulator's own."""
    if request.param == "alone":
        return False if backend == "kvm" else None
    if backend != "kvm":
        pytest.skip("nobody helps the emulator")
    return True


def machine(backend: str, assist: bool | None, source: str) -> Machine:
    """A machine with that guest, whose unknown MSRs are the owner's."""
    if assist:
        source = f"popcnt eax, eax\n{source}"  # KVM refuses it where it is slow at CPL 0
    vm = pykvm.VM(memory="2M", backend=backend, assist=assist, native=False)
    vm.vm.enable_msr_exits(MsrExitReason.UNKNOWN)
    vm.load(pykvm.assemble(f"{source}\nmov al, 'B'\nout 0xe9, al\nhlt"))
    return vm


def leave(vm: Machine, how: str) -> None:
    """Stop at the first exit: nobody claims it, or whoever steps the machine has had enough."""
    if how == "died":
        assert vm.run(TIMEOUT_S).outcome in (Outcome.DIED, Outcome.SHUTDOWN)  # SHUTDOWN: #GP
    else:
        next(vm.exits(TIMEOUT_S))


@pytest.mark.parametrize("how", ["died", "left"])
@pytest.mark.parametrize(("name", "source"), ALL, ids=[name for name, _ in ALL])
def test_the_next_guest_runs_from_its_first_instruction(
    backend: str, assist: bool | None, name: str, source: str, how: str
) -> None:
    with machine(backend, assist, source) as vm:
        leave(vm, how)
        vm.memory.write(0x20000, b"old!")
        vm.load(pykvm.assemble(PRINTS))
        vm.memory.write(0x20000, b"new!")
        result = vm.run(TIMEOUT_S)
        assert (result.outcome, result.output) == (Outcome.HALT, b"A")
        assert vm.memory.read(0x20000, 4) == b"new!"


def test_the_same_guest_asks_again(backend: str) -> None:
    with pykvm.VM(memory="1M", backend=backend) as vm:
        for _ in range(3):
            vm.load(pykvm.assemble("in al, 0x60\nhlt"))
            assert vm.run(TIMEOUT_S).outcome is Outcome.DIED


@pytest.mark.parametrize("source", READS.values(), ids=READS)
def test_registers_set_at_a_read_with_another_rip_hold(
    backend: str, assist: bool | None, source: str
) -> None:
    with machine(backend, assist, f"{source}\nhlt\nother: nop\nout 0xe9, al") as vm:
        image = vm.image
        assert image is not None
        vm.ports.float_unclaimed = vm.mmio.float_unclaimed = True
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        wanted = vm.registers.general()
        for number, name in enumerate(GENERAL):
            if name not in ("rip", "rflags", "rsp"):
                setattr(wanted, name, 0x1111_1111_1111 * (number + 1))
        wanted.rip = image.symbols["other"]
        vm.vcpu.set_registers(wanted)
        assert next(exits) == PortOut(0xE9, 1, bytes([wanted.rax & 0xFF]))
        vm.vcpu.complete()
        found = vm.registers.general()
        assert [getattr(found, name) for name in GENERAL if name != "rip"] == [
            getattr(wanted, name) for name in GENERAL if name != "rip"
        ]


@pytest.mark.parametrize("mode", ["long", "user"])
@pytest.mark.parametrize(
    "source", ["in al, 0x60", f"movsx rax, byte ptr [{MMIO:#x}]"], ids=["port", "mmio"]
)
def test_an_answer_comes_where_rip_stays_whatever_is_set(
    backend: str, assist: bool | None, mode: str, source: str
) -> None:
    with pykvm.VM(memory="1M", backend=backend, assist=assist) as vm:
        vm.load(pykvm.assemble(f"{source}\nout 0x61, al", mode=mode))
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        vm.registers.rbx = 7
        vm.answer(0x34)
        vm.registers.rcx = vm.registers.rbx + 2
        assert next(exits) == PortOut(0x61, 1, b"\x34")
        vm.vcpu.complete()
        assert (vm.registers.rax, vm.registers.rbx, vm.registers.rcx) == (0x34, 7, 9)


def test_a_whole_state_holds_in_a_machine_left_at_a_read(backend: str) -> None:
    with (
        pykvm.VM(memory="1M", backend=backend) as first,
        pykvm.VM(memory="1M", backend=backend) as second,
    ):
        first.load(pykvm.assemble("mov ebx, 5\nin al, 0x60\nout 0xe9, al\nhlt"))
        exits = first.exits(TIMEOUT_S)
        next(exits)
        first.answer(ord("x"))
        state = whole_state.read(first, "none", pit=False)
        second.load(pykvm.assemble("mov edi, 0x20000\nmov ecx, 9\nmov edx, 0x60\nrep insb"))
        next(second.exits(TIMEOUT_S))
        whole_state.write(second, state)
        result = second.run(TIMEOUT_S)
        assert (result.outcome, result.output) == (Outcome.HALT, b"x")
        assert second.registers.rbx == 5


def test_completing_keeps_a_stop_for_the_run(backend: str) -> None:
    with pykvm.VM(memory="1M", backend=backend) as vm:
        vm.load(pykvm.assemble("in al, 0x60\njmp ."))
        exits = vm.exits()
        next(exits)
        vm.answer(0)
        vm.stop()
        vm.vcpu.complete()
        list(exits)
        assert vm.result.outcome is Outcome.INTERRUPTED


@pytest.mark.parametrize("chips", ["full", "split"])
def test_a_sleeper_wakes_for_the_next_guest(backend: str, chips: str) -> None:
    with pykvm.VM(memory="1M", backend=backend, irqchip=chips) as vm:
        vm.load(pykvm.assemble("hlt"))
        while vm.vcpu.get_mp_state() is not MpState.HALTED:
            assert vm.run(0.05).outcome is Outcome.TIMEOUT
        vm.load(pykvm.assemble("mov al, 'A'\nout 0xe9, al\nmov eax, 0\nout 0xf8, eax"))
        result = vm.run(TIMEOUT_S)
        assert (result.outcome, result.output) == (Outcome.EXIT, b"A")


def test_what_was_on_its_way_does_not_come_to_the_next_guest(backend: str) -> None:
    with pykvm.VM(memory="1M", backend=backend) as vm:
        vm.load(pykvm.assemble("in al, 0x60"))
        leave(vm, "left")
        vm.vcpu.set_events(Events(exception_injected=True, exception_vector=3, nmi_pending=True))
        vm.load(pykvm.assemble(PRINTS))
        result = vm.run(TIMEOUT_S)
        assert (result.outcome, result.output) == (Outcome.HALT, b"A")


def test_other_processors_wait_for_the_next_guest_to_start_them(backend: str) -> None:
    boot = """
        mov dword ptr [0x8000], 0xfeeb90      # nop; 2: jmp 2b
        mov eax, 0xfee00300
        mov dword ptr [rax], 0xc4500          # INIT, all but this one
        mov dword ptr [rax], 0xc4608          # SIPI, to begin at 0x8000
        wait: jmp wait
    """
    with pykvm.VM(memory="1M", backend=backend, cpus=2) as vm:
        try:
            vm.load(pykvm.assemble(boot))
            while vm.vcpus[1].get_mp_state() is not MpState.RUNNABLE:
                assert vm.run(0.05).outcome is Outcome.TIMEOUT
        except UsageError as error:
            pytest.skip(str(error))
        vm.load(pykvm.assemble("mov al, 'A'\nout 0xe9, al\nmov eax, 0\nout 0xf8, eax"))
        assert vm.vcpus[1].get_mp_state() is MpState.UNINITIALIZED
        result = vm.run(TIMEOUT_S)
        assert (result.outcome, result.output) == (Outcome.EXIT, b"A")
        vm.load(pykvm.assemble(boot))
        while vm.vcpus[1].get_mp_state() is not MpState.RUNNABLE:
            assert vm.run(0.05).outcome is Outcome.TIMEOUT
