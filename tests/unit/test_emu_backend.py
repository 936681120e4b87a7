"""The backend `emu` itself: what it says of mistakes, and state that moves to KVM and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pykvm import VM, assemble, host
from pykvm.backend.emu import EmuVcpu, EmuVm
from pykvm.backend.kvm import KvmVcpu, as_kvm
from pykvm.errors import ClosedError, LayoutError, MissingCapability, RegisterError, UsageError
from pykvm.exits import PortIn
from pykvm.loader.image import Image, Mode
from pykvm.result import Outcome
from pykvm.state import Clock, DebugRegisters, Events, Fpu, MpState

FPU = Fpu(
    st=(0x4000_C90F_DAA2_2168_C235, *(0,) * 7), fcw=0x27F, fsw=0x3800, ftw=0x80,
    xmm=tuple(0x1111_2222_3333_4444_5555_6666_7777_8888 + i for i in range(16)), mxcsr=0x1FA0,
)  # fmt: skip


@pytest.fixture
def vm() -> Iterator[VM]:
    with VM(backend="emu") as vm:
        yield vm


def vcpu_of(vm: VM) -> EmuVcpu:
    assert isinstance(vm.vcpu, EmuVcpu)
    return vm.vcpu


def test_state_can_be_set_and_read(vm: VM) -> None:
    vcpu = vcpu_of(vm)
    vcpu.set_fpu(FPU)
    assert vcpu.get_fpu() == FPU
    vcpu.set_xcrs({0: 7})
    assert vcpu.get_xcrs() == {0: 7}
    debug = DebugRegisters((1, 2, 3, 4), 0xFFFF_0FF1, 0x455)
    vcpu.set_debug_registers(debug)
    assert vcpu.get_debug_registers() == debug
    events = Events(interrupt_shadow=2, nmi_pending=True, nmi_masked=True)
    vcpu.set_events(events)
    assert vcpu.get_events() == events
    fault = Events(exception_injected=True, exception_vector=14, exception_error_code=2)
    vcpu.set_events(fault)
    assert vcpu.get_events() == fault
    vcpu.set_msrs({0xC000_0082: 0xFFFF_8000_0000_0000, 0x174: 8})
    assert vcpu.get_msrs([0x174, 0xC000_0082]) == {0x174: 8, 0xC000_0082: 0xFFFF_8000_0000_0000}


def test_an_xsave_area_has_the_upper_halves_and_what_is_unused(vm: VM) -> None:
    vcpu = vcpu_of(vm)
    area = bytearray(FPU.to_fxsave().ljust(4096, b"\0"))
    area[512] = 7
    area[576:832] = bytes(range(256))
    vcpu.set_xsave(bytes(area))
    assert vcpu.get_xsave() == bytes(area)
    area[512] = 2  # x87 and AVX as at reset
    vcpu.set_xsave(bytes(area))
    assert vcpu.get_fpu().st == (0,) * 8
    assert vcpu.get_fpu().xmm == FPU.xmm
    assert vcpu.get_xsave()[576:832] == bytes(256)


def move(source: EmuVcpu | KvmVcpu, target: EmuVcpu | KvmVcpu) -> None:
    """All state but memory and MSRs that are not the guest's."""
    target.set_special(source.get_special())
    target.set_registers(source.get_registers())
    target.set_xcrs(source.get_xcrs())
    area = source.get_xsave()[: target.xsave_size_bytes]
    target.set_xsave(area.ljust(target.xsave_size_bytes, b"\0"))
    target.set_msrs(source.get_msrs([0x174, 0x175, 0x176, 0xC000_0081, 0xC000_0082, 0xC000_0102]))
    target.set_debug_registers(source.get_debug_registers())
    target.set_events(source.get_events())


def test_a_guest_moves_from_kvm_to_the_emulator_and_back() -> None:
    """CPL 3 code on the processor, in the emulator, and on the processor again."""
    if host.problem():
        pytest.skip(str(host.problem()))
    source = """
        mov rbx, 0x1122334455667788
        movq xmm5, rbx
        fldpi
        in al, 0x99
        paddq xmm5, xmm5
        fld st(0)
        in al, 0x99
        paddq xmm5, xmm5
        faddp
        in al, 0x99
    """
    image = assemble(source, mode="user")
    with VM(backend="kvm") as on_kvm, VM(backend="emu") as on_emu, VM(backend="kvm") as again:
        machines = (on_kvm, on_emu, again)
        for machine in machines:
            machine.load(image)
        for number, machine in enumerate(machines):
            exit = next(machine.exits(timeout=60))
            assert isinstance(exit, PortIn)
            if number == 2:
                break
            machine.vcpu.complete()
            here, there = (
                each.vcpu if isinstance(each.vcpu, EmuVcpu) else as_kvm(each.vcpu)
                for each in machines[number : number + 2]
            )
            move(here, there)
            assert there.get_fpu() == here.get_fpu()
        fpu = as_kvm(again.vcpu).get_fpu()
        assert fpu.xmm[5] == 4 * 0x1122334455667788 & (1 << 64) - 1
        assert fpu.st[0] == 0x4001_C90F_DAA2_2168_C235  # 2 pi


def test_an_answer_still_comes_where_registers_change_meanwhile(vm: VM) -> None:
    vm.load(assemble("in al, 0x99\nhlt"))
    for exit in vm.exits(timeout=60):
        if isinstance(exit, PortIn):
            vm.registers.rbx = 5
            vm.answer(0x42)
    assert (vm.registers.rbx, vm.registers.al) == (5, 0x42)
    assert vm.result.exits == {"PortIn": 1, "Halt": 1}


def test_state_may_be_set_while_processors_come_and_go() -> None:
    """Whoever sets it waits for those that run, and must not wait for those that want to."""
    enough = threading.Event()
    nops = Image("<nops>", Mode.LONG, 0x1_0000, ((0x1_0000, b"\x90" * 62 + b"\xeb\xc0"),))
    with VM(memory="1M", backend="emu", cpus=2, irqchip="full") as vm:
        vm.load(nops)

        def move_on() -> None:
            while not enough.is_set():
                registers = vm.vcpu.get_registers()
                registers.rip = 0x1_0000 + (registers.rip + 1) % 60
                vm.vcpu.set_registers(registers)

        thread = threading.Thread(target=move_on)
        thread.start()
        outcomes = {vm.run(0.001).outcome for _ in range(100)}
        enough.set()
        thread.join()
    assert outcomes == {Outcome.TIMEOUT}


def test_code_written_from_outside_is_seen(vm: VM) -> None:
    image = assemble("next: mov al, 1\nin al, 0x99\nadd bl, al\njmp next")
    vm.load(image)
    for number, exit in enumerate(vm.exits(timeout=60)):
        assert isinstance(exit, PortIn)
        assert vm.registers.al == 1 + (number > 0)
        if number == 2:
            break
        vm.answer(0)
        vm.memory[image.entry + 1] = 2


def test_mistakes_are_pykvms_own(vm: VM) -> None:
    vcpu = vcpu_of(vm)
    special = vcpu.get_special()
    special.efer = 0x500
    with pytest.raises(RegisterError, match="LMA needs paging"):
        vcpu.set_special(special)
    registers = vcpu.get_registers()
    registers.rax = 1 << 64
    with pytest.raises(RegisterError, match="does not fit in 64 bits"):
        vcpu.set_registers(registers)
    with pytest.raises(RegisterError, match="MSR 0x1234567"):
        vcpu.set_msrs({0x1234567: 1})
    with pytest.raises(UsageError, match="no local APICs"):
        vcpu.get_lapic()
    with pytest.raises(UsageError, match="PIT needs the full irqchip"):
        vm.vm.create_pit()
    with pytest.raises(LayoutError, match="overlaps"):
        vm.vm.map(vm.memory.regions[0])
    with pytest.raises(UsageError, match="does not run on KVM"):
        as_kvm(vm.vcpu)


def test_what_it_lacks_has_a_name(vm: VM) -> None:
    assert isinstance(vm.vm, EmuVm)
    with pytest.raises(MissingCapability, match="the emulator lacks KVM_CAP_DIRTY_LOG_RING"):
        vm.vm.enable_dirty_ring(1024)
    with pytest.raises(UsageError, match="no interrupt chips"):
        vm.vm.add_irqfd(0, 4)
    with pytest.raises(UsageError, match="where there is an irqchip"):
        vm.vcpu.set_mp_state(MpState.HALTED)
    with pytest.raises(RegisterError, match="xcr0"):
        vm.vcpu.set_xcrs({0: 5})


def test_what_waits_for_a_processor_is_part_of_its_state(vm: VM) -> None:
    vcpu = vcpu_of(vm)
    vm.load(assemble("pushfq\nor dword ptr [rsp], 0x100\npopfq\nnop\nout 0x99, al\nnop"))
    vcpu.interrupt(0x33)
    events = vcpu.get_events()
    assert (events.interrupt_injected, events.interrupt_vector) == (True, 0x33)
    vcpu.set_events(events)
    assert vcpu.get_events() == events
    vcpu.set_events(Events())
    assert not vcpu.get_events().interrupt_injected
    # A single-step trap of the guest's own.
    vcpu.set_debug_registers(DebugRegisters(dr6=0xFFFF_4FF0))
    trap = Events(exception_pending=True, exception_vector=1)
    vcpu.set_events(trap)
    assert vcpu.get_events().exception_vector == 1
    assert vm.run(60).outcome is Outcome.SHUTDOWN  # there is no IDT


def test_the_clock_moves_alone() -> None:
    with VM(backend="emu", clock="instructions", irqchip="full") as vm:
        tsc = vm.vcpu.get_msrs([0x10])
        vm.vm.set_clock(Clock(10**12))
        assert vm.vm.now_ns() == 10**12
        assert vm.vcpu.get_msrs([0x10]) == tsc
        vm.vcpu.set_tsc_khz(2_000_000)
        assert vm.vcpu.get_tsc_khz() == 2_000_000
        assert vm.vcpu.get_msrs([0x10]) == tsc


def test_it_is_closed_for_whoever_still_holds_it() -> None:
    vm = VM(backend="emu")
    vcpu = vcpu_of(vm)
    vm.load(assemble("next: jmp next"))

    def run() -> None:
        with pytest.raises(ClosedError):
            vm.run(60)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    vm.close()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(ClosedError):
        vcpu.exit(vcpu.enter())
    with pytest.raises(ClosedError):
        vcpu.get_registers()
    vcpu.stop()


def test_chips_have_kvms_states() -> None:
    with VM(backend="emu", irqchip="full", pit=True) as vm:
        assert vm.vcpu.get_mp_state() is MpState.RUNNABLE
        vcpu = vcpu_of(vm)
        vcpu.set_lapic(vcpu.get_lapic())
        vm.vm.set_irqchip(vm.vm.get_irqchip())
        vm.vm.set_pit(vm.vm.get_pit())
