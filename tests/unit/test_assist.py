"""Assist: instructions that KVM refuses are executed in the emulator, and the guest goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pykvm import VM, assemble, host
from pykvm.backend.kvm import as_kvm
from pykvm.exits import Hypercall, InternalError, MmioRead, MmioWrite, PortIn, PortOut
from pykvm.guest import load_guest
from pykvm.hints import hints
from pykvm.probe import probe
from pykvm.result import Outcome, Result

GUESTS = Path(__file__).parents[2] / "guests"

pytestmark = [
    pytest.mark.pykvm_backends("kvm"),
    pytest.mark.usefixtures("pykvm_backend"),
]


@pytest.fixture(autouse=True)
def _refused(pykvm_backend: str) -> None:
    if probe("cpl0-sse", pykvm_backend).ok:
        pytest.skip("this host's KVM refuses no instruction at CPL 0")


@pytest.fixture
def _slow() -> None:
    if host.Host.read().kind != 3:
        pytest.skip("KVM executes CPL 0 on the processor here")


def machine(source: str, **options: object) -> VM:
    vm = VM(backend="auto", **options)  # type: ignore[arg-type]
    vm.load(assemble(source))
    return vm


def test_a_guest_that_kvm_refuses_runs_with_auto() -> None:
    guest = load_guest(GUESTS / "simd.S")
    with guest.machine() as vm:
        result = vm.run(60)
    assert vm.backend.name == "kvm"
    assert result.output.decode() == guest.expect.output
    assert result.status == 0
    assert "InternalError" not in result.exits
    assert 1 <= result.assist_entries < 100
    assert result.assist_instructions > 1000


def test_without_assist_the_refusal_ends_the_run() -> None:
    with load_guest(GUESTS / "simd.S").machine(assist=False) as vm:
        result = vm.run(60)
    assert (result.outcome, result.assist_entries) == (Outcome.DIED, 0)
    assert isinstance(result.exit, InternalError)
    assert result.exit.suberror == InternalError.EMULATION


def test_the_state_goes_there_and_back() -> None:
    """Flags, vector registers and a code change made in KVM, all across moves."""
    source = """
        mov rbx, 0x1122334455667788
        movq xmm7, rbx
        std
        mov ecx, 2000
    next:
        popcnt rax, rbx
        mov edx, 3000 # long enough for the processor to go back to KVM
    wait:
        dec edx
        jnz wait
        dec ecx
        jnz next
        movq r8, xmm7
        pushfq
        pop r9
        hlt
    """
    with machine(source) as vm:
        result = vm.run(20)
        registers = vm.registers
        assert result.outcome is Outcome.HALT
        assert registers.r8 == registers.rbx == 0x1122334455667788
        assert registers.rax == registers.rbx.bit_count()
        assert registers.r9 & 0x400


def test_exits_in_the_emulator_are_exits_of_the_machine() -> None:
    source = "mov ebx, 7\npopcnt ecx, ebx\nmov edx, 0x99\nin al, dx\nmov edi, 0xd0000000\n"
    source += "mov esi, [rdi]\nout 0x98, al\nhlt"
    with machine(source) as vm:
        seen = []
        for exit in vm.exits(timeout=60):
            seen.append(exit)
            match exit:
                case PortIn():
                    assert vm.registers.ecx == 3
                    assert as_kvm(vm.vcpu).get_registers().rbx == 7
                    vm.answer(0x55)
                    vm.registers.rbx = 0x1234  # the answer still comes
                case MmioRead():
                    assert vm.registers.al == 0x55
                    vm.answer(0xAABBCCDD)
                case PortOut():
                    assert exit.data == b"\x55"
                    break
        assert [type(each) for each in seen] == [PortIn, MmioRead, PortOut]
        assert vm.vcpu.complete() >= 0
        assert (vm.registers.rbx, vm.registers.esi) == (0x1234, 0xAABBCCDD)
        assert vm.vcpu.assisted[0] == 1


def test_code_changed_from_outside_is_seen() -> None:
    source = "popcnt ecx, ecx\nnext: in al, 0x99\npatch: mov ebx, 1\nhlt\n"
    with machine(source) as vm:
        patch = vm.image.symbols["patch"]
        for exit in vm.exits(timeout=60):
            if isinstance(exit, PortIn):
                vm.memory.write(patch + 1, b"\x02")
                vm.answer(0)
        assert vm.registers.ebx == 2


def test_a_loop_in_the_emulator_is_bounded_in_time_and_stoppable() -> None:
    source = "next: popcnt eax, ebx\njmp next"
    with machine(source) as vm:
        assert vm.run(0.2).outcome is Outcome.TIMEOUT
        timer = threading.Timer(0.1, vm.stop)
        timer.start()
        assert vm.run(60).outcome is Outcome.INTERRUPTED
        timer.join()
        assert vm.run(0.05).outcome is Outcome.TIMEOUT  # the stop was for one run
        assert vm.result.assist_instructions > 100_000


@contextmanager
def emulating(vm: VM) -> Iterator[list[Result]]:
    """A thread runs the machine, which has moved into the emulator, to its end; its result then."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(vm.run(60)))
    thread.start()
    while not vm.vcpu.assisted[0]:
        time.sleep(0.001)
    yield results
    thread.join()


def test_memory_that_is_taken_away_is_gone_in_the_emulator_too() -> None:
    with machine("mov ebx, 0x20000000\nnext: popcnt eax, ebx\nmov [rbx], eax\njmp next") as vm:
        region = vm.memory.add(0x2000_0000, 0x1000)
        vm.vm.map(region)
        with emulating(vm) as results:
            vm.vm.unmap(region)
            vm.memory.remove(region)
    assert [result.outcome for result in results] == [Outcome.DIED]
    assert isinstance(results[0].exit, MmioWrite)


@pytest.mark.usefixtures("_slow")
def test_a_log_that_begins_while_the_emulator_runs_misses_nothing() -> None:
    with machine("next: inc eax\nmov [0x20000], eax\njmp next") as vm:
        (region,) = vm.memory.regions
        with emulating(vm):
            vm.vm.set_dirty_logging(region, True)
            before = vm.memory.read(0x2_0000, 4)
            while vm.memory.read(0x2_0000, 4) == before:
                time.sleep(0.001)
            assert vm.vm.dirty_log(region) == [0x2_0000]
            vm.stop()


def test_interrupts_of_kvms_chips_arrive() -> None:
    """The 8254 ticks and the guest sleeps while it uses what KVM refuses."""
    source = (GUESTS / "timer_ticks.S").read_text()
    guest = load_guest(GUESTS / "timer_ticks.S")
    changed = source.replace("sti\n", "popcnt r15, r15\n sti\n")  # STI's shadow ends with HLT
    assert changed != source
    image = assemble(changed, name=str(guest.path), include_dir=GUESTS)
    with VM(backend="auto", **guest.options()) as vm:
        vm.load(image)
        result = vm.run(60)
        assert (result.output.decode(), result.status) == (guest.expect.output, 0)
        assert result.assist_entries > 1


def test_several_processors_are_helped_with_single_instructions() -> None:
    with machine("popcnt eax, ebx\nmov al, 9\nout 0xf8, al", cpus=2) as vm:
        result = vm.run(60)
    assert (result.status, result.assist_instructions) == (9, 1)


def test_a_debugger_sees_the_refusal() -> None:
    with machine("popcnt eax, ebx\nhlt") as vm:
        as_kvm(vm.vcpu).set_guest_debug(single_step=True)
        assert isinstance(vm.run(60).exit, InternalError)
        as_kvm(vm.vcpu).set_guest_debug()
        assert vm.run(60).outcome is Outcome.HALT


# Where KVM runs CPL 0 in an emulator of its own, the guest need not be refused anything.


@pytest.mark.usefixtures("_slow")
@pytest.mark.parametrize("irqchip", ["none", "full"])
def test_a_long_computation_at_cpl_0_moves(irqchip: str) -> None:
    source = "mov ecx, 3000000\nnext: inc rbx\ndec ecx\njnz next\nmov al, 3\nout 0xf8, al"
    with machine(source, irqchip=irqchip) as vm:
        result = vm.run(20)
        assert (result.status, vm.registers.rbx) == (3, 3_000_000)
    assert result.exits == {"PortOut": 1}
    assert result.assist_entries == 1
    assert result.assist_instructions > 1_000_000


@pytest.mark.usefixtures("_slow")
def test_a_call_that_kvm_never_comes_back_from_becomes_an_exit() -> None:
    with machine("mov eax, 5\nmov ebx, 6\nvmcall\nhlt") as vm:
        for exit in vm.exits(timeout=20):
            if isinstance(exit, Hypercall):
                assert (exit.number, exit.args[0]) == (5, 6)
                vm.answer(7)
        assert vm.result.outcome is Outcome.HALT
        assert vm.registers.rax == 7


@pytest.mark.usefixtures("_slow")
def test_code_at_cpl_3_stays_on_the_processor() -> None:
    source = "mov ecx, 1000000000\nnext: dec ecx\njnz next\nmov al, 3\nout 0xf8, al"
    with VM(backend="auto") as vm:
        vm.load(assemble(source, mode="user"))
        result = vm.run(20)
    assert (result.status, result.assist_entries) == (3, 0)


@pytest.mark.usefixtures("_slow")
def test_a_guest_that_exits_all_the_time_stays() -> None:
    source = "mov ecx, 20000\nnext: in al, 0x99\ndec ecx\njnz next\nhlt"
    with machine(source, float_unclaimed=True) as vm:
        result = vm.run(20)
    assert (result.exits["PortIn"], result.assist_entries) == (20_000, 0)


@pytest.mark.usefixtures("_slow")
def test_a_sleeping_guest_stays() -> None:
    with machine("sti\nhlt\nhlt", irqchip="full") as vm:
        assert vm.run(0.3).outcome is Outcome.TIMEOUT
        assert vm.result.assist_entries == 0


def test_what_the_emulator_does_not_know_either_is_the_plain_error() -> None:
    """AVX-512 where CPUID has it: #UD would be a lie."""
    source = (
        ".byte 0x62, 0xf3, 0x7d, 0x48, 0x25, 0xc0, 0xff # vpternlogd zmm0, zmm0, zmm0, 0xff\nhlt"
    )
    with machine(source) as vm:
        leaf = next(each for each in as_kvm(vm.vcpu).get_cpuid() if each.function == 7)
        if not leaf.ebx & 1 << 16:
            pytest.skip("this processor has no AVX-512")
        result = vm.run(60)
        assert isinstance(result.exit, InternalError)
        assert (result.outcome, result.assist_entries) == (Outcome.DIED, 0)
        assert "AVX-512" in hints(vm, result)[0]


def test_bound_has_the_same_first_byte() -> None:
    source = "lea esi, [limits]\nmov eax, 5\nbound eax, [esi]\nmov al, 3\nout 0xf8, al\n"
    source += "limits: .long 1, 9"
    with VM(backend="auto") as vm:
        vm.load(assemble(source, mode="protected"))
        assert vm.run(60).status == 3
