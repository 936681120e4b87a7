"""A processor's state beyond its registers: what is set is read back, and the guest sees it."""

from __future__ import annotations

import dataclasses

import pytest

import pykvm
from pykvm import layout
from pykvm.backend.kvm import as_kvm
from pykvm.errors import ClosedError, MissingCapability, PykvmError, RegisterError, UsageError
from pykvm.registers import EFER_LMA, EFER_LME, Registers, Table
from pykvm.state import Clock, DebugRegisters, Events, Fpu, MpState

TIMEOUT_S = 60  # never reached: a hang ends there
XSAVE_XMM0 = 160  # offset in the legacy region, Intel SDM vol. 1 §13.4.1
LAPIC_ID, LAPIC_SPURIOUS = 0x20, 0xF0
SYSENTER_EIP, FS_BASE, UNKNOWN_MSR = 0x176, 0xC000_0100, 0x1234_5678


def test_the_fpu_is_kept(backend: str) -> None:
    fpu = Fpu(
        st=tuple(0x3FFF_8000_0000_0000_0000 + n for n in range(8)),
        fcw=0x27F,
        fsw=0x3800,
        ftw=0xFF,
        last_opcode=0x123,
        last_ip=0x1000,
        last_dp=0x2000,
        xmm=tuple(1 << 8 * n for n in range(16)),
        mxcsr=0x1FA0,
    )
    with pykvm.VM(backend=backend, memory="1M") as vm:
        assert vm.vcpu.get_fpu() == Fpu()
        vm.vcpu.set_fpu(fpu)
        assert vm.vcpu.get_fpu() == fpu


def test_the_guest_sees_the_fpu(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.load(pykvm.assemble("movaps [0x20000], xmm3\nmovaps xmm4, [0x20000]\nhlt"))
        xmm = [0] * 16
        xmm[3] = 0x1122_3344_5566_7788_99AA_BBCC_DDEE_FF00
        vm.vcpu.set_fpu(Fpu(xmm=tuple(xmm)))
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
        assert vm.memory.read_int(0x2_0000, 16) == xmm[3]
        assert vm.vcpu.get_fpu().xmm[4] == xmm[3]


def test_xsave_and_the_fpu_are_one_state(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.vcpu.set_fpu(Fpu(xmm=(0x1234, *[0] * 15)))
        area = vm.vcpu.get_xsave()
        assert len(area) == vm.vcpu.xsave_size_bytes
        assert area[XSAVE_XMM0 : XSAVE_XMM0 + 2] == b"\x34\x12"
        vm.vcpu.set_fpu(Fpu())
        vm.vcpu.set_xsave(area)
        assert vm.vcpu.get_fpu().xmm[0] == 0x1234
        with pytest.raises(UsageError, match="bytes"):
            vm.vcpu.set_xsave(area[:-1])


def test_xcr0_is_kept_and_checked(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        assert vm.vcpu.get_xcrs() == {0: 1}
        vm.vcpu.set_xcrs({0: 3})
        assert vm.vcpu.get_xcrs() == {0: 3}
        with pytest.raises(PykvmError):
            vm.vcpu.set_xcrs({0: 2})  # SSE without x87


def test_events_are_kept(backend: str) -> None:
    events = Events(nmi_masked=True, interrupt_shadow=2, exception_vector=14)
    with pykvm.VM(backend=backend, memory="1M") as vm:
        assert not vm.vcpu.get_events().nmi_masked
        vm.vcpu.set_events(events)
        got = vm.vcpu.get_events()
        assert got.nmi_masked
        assert got.interrupt_shadow in (2, 3)  # AMD-V knows one kind of shadow: both bits are set
        vm.vcpu.set_events(dataclasses.replace(events, nmi_masked=False, interrupt_shadow=0))
        assert not vm.vcpu.get_events().nmi_masked


def test_an_injected_exception_reaches_the_guests_handler(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.load(pykvm.assemble("nop\nhlt\n", mode="real"))
        handler = 0x9000
        vm.memory.write_int(6 * 4, handler, 4)  # the vector of #UD in the IVT
        vm.memory.write(handler, b"\xf4")
        vm.vcpu.set_events(Events(exception_injected=True, exception_vector=6))
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
        assert vm.registers.rip == handler + 1


def test_the_mp_state_is_kept_with_an_irqchip(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M", irqchip="full", cpus=2) as vm:
        first, second = (each for each in vm.vcpus)
        assert first.get_mp_state() is MpState.RUNNABLE
        assert second.get_mp_state() is MpState.UNINITIALIZED
        second.set_mp_state(MpState.HALTED)
        assert second.get_mp_state() is MpState.HALTED


def test_debug_registers_are_kept(backend: str) -> None:
    registers = DebugRegisters((0x1000, 0x2000, 0x3000, 0x4000), dr6=0xFFFF_0FF1, dr7=0x401)
    with pykvm.VM(backend=backend, memory="1M") as vm:
        assert vm.vcpu.get_debug_registers() == DebugRegisters()
        vm.vcpu.set_debug_registers(registers)
        assert vm.vcpu.get_debug_registers() == registers


def test_the_local_apic_is_kept(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M", irqchip="full", cpus=2) as vm:
        second = vm.vcpus[1]
        page = bytearray(second.get_lapic())
        assert page[LAPIC_ID + 3] == 1
        page[LAPIC_SPURIOUS : LAPIC_SPURIOUS + 4] = (0x1FF).to_bytes(4, "little")
        second.set_lapic(bytes(page))
        assert second.get_lapic()[LAPIC_SPURIOUS : LAPIC_SPURIOUS + 4] == b"\xff\x01\0\0"
        with pytest.raises(UsageError):
            second.set_lapic(b"")


def test_a_local_apic_needs_an_irqchip(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm, pytest.raises(PykvmError):
        vm.vcpu.get_lapic()


def test_the_tsc_has_a_frequency_and_scales_where_it_can(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        khz = vm.vcpu.get_tsc_khz()
        assert khz > 100_000
        if backend == "emu" or as_kvm(vm.vcpu).system.capability("KVM_CAP_TSC_CONTROL"):
            vm.vcpu.set_tsc_khz(khz // 2)
            assert vm.vcpu.get_tsc_khz() == khz // 2
        else:
            with pytest.raises(MissingCapability, match="KVM_CAP_TSC_CONTROL"):
                vm.vcpu.set_tsc_khz(khz // 2)


def test_the_clock_can_be_set(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.vm.set_clock(Clock(ns=10**15))
        clock = vm.vm.get_clock()
        assert 10**15 <= clock.ns < 10**15 + 60 * 10**9
        vm.vm.set_clock(Clock(ns=5))
        assert vm.vm.get_clock().ns < clock.ns


def test_chips_are_kept(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M", irqchip="full", pit=True) as vm:
        chips, pit = vm.vm.get_irqchip(), vm.vm.get_pit()
        imr = 2  # offset of the mask register in a PIC's state
        masked = chips.pic_master[:imr] + b"\xfe" + chips.pic_master[imr + 1 :]
        vm.vm.set_irqchip(dataclasses.replace(chips, pic_master=masked))
        assert vm.vm.get_irqchip().pic_master == masked
        vm.vm.set_pit(pit)
        assert len(vm.vm.get_pit()) == len(pit)
        with pytest.raises(UsageError):
            vm.vm.set_pit(pit[1:])
        with pytest.raises(UsageError, match="ioapic"):
            vm.vm.set_irqchip(dataclasses.replace(chips, ioapic=b""))


def test_msrs_behind_an_unknown_one_are_still_read(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.vcpu.set_msrs({SYSENTER_EIP: 0x7777})
        got = vm.vcpu.get_msrs([UNKNOWN_MSR, SYSENTER_EIP, UNKNOWN_MSR])
        assert got == {SYSENTER_EIP: 0x7777}


def test_many_msrs_are_read_at_once(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        assert vm.vcpu.get_msrs([SYSENTER_EIP] * 600) == {SYSENTER_EIP: 0}


def test_a_refused_msr_is_named(backend: str) -> None:
    with (
        pykvm.VM(backend=backend, memory="1M") as vm,
        pytest.raises(PykvmError, match="0x12345678"),
    ):
        vm.vcpu.set_msrs({SYSENTER_EIP: 1, UNKNOWN_MSR: 1})


def test_state_of_a_closed_machine_is_one_clear_error(backend: str) -> None:
    vm = pykvm.VM(backend=backend, memory="1M")
    processor, machine = vm.vcpu, vm.vm
    vm.close()
    for access in (processor.get_fpu, processor.get_registers, machine.get_clock, processor.nmi):
        with pytest.raises(ClosedError):
            access()


def test_every_register_is_kept(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.load(pykvm.assemble("hlt"))
        special = vm.vcpu.get_special()
        special.fs = dataclasses.replace(special.fs, base=0x1234_5678_9ABC, avl=1)
        special.gdt, special.idt = Table(0x1111, 0x22), Table(0x3333, 0x44)
        special.cr2, special.cr8 = 0x7777, 5
        vm.vcpu.set_special(special)
        kept = vm.vcpu.get_special()
        if special.ldt.unusable:
            kept.ldt.present = special.ldt.present  # AMD-V tells of one bit for the two
        assert kept == special
        general = Registers(*range(1, 17), rip=0x8888, rflags=0x202)
        vm.vcpu.set_registers(general)
        assert vm.vcpu.get_registers() == general


@pytest.mark.parametrize("value", [1 << 64, -1, "high"])
def test_a_register_that_does_not_fit_is_named(backend: str, value: int) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        with pytest.raises(RegisterError, match="rbx"):
            vm.vcpu.set_registers(Registers(rbx=value))
        special = vm.vcpu.get_special()
        special.cs.selector = 0x1_0000
        with pytest.raises(RegisterError, match=r"cs\.selector.*16 bits"):
            vm.vcpu.set_special(special)


def test_special_registers_leave_a_pending_interrupt_alone(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.vcpu.interrupt(0x20)
        assert vm.vcpu.get_events().interrupt_injected
        vm.vcpu.set_special(vm.vcpu.get_special())
        assert vm.vcpu.get_events().interrupt_injected


def test_shared_registers_are_those_of_the_last_exit_and_of_later_changes(backend: str) -> None:
    source = "mov rax, 1\nout 0x80, al\nmov rbx, cr0\nmov rax, 2\nout 0x80, al\nhlt"
    with pykvm.VM(backend=backend, memory="1M", float_unclaimed=True) as vm:
        vm.load(pykvm.assemble(source))
        exits = vm.exits(TIMEOUT_S)
        next(exits)
        assert vm.registers.rax == 1
        shared = vm.vcpu.get_registers(), vm.vcpu.get_special()
        vm.vcpu.share_registers(False)
        assert (vm.vcpu.get_registers(), vm.vcpu.get_special()) == shared
        vm.vcpu.share_registers(True)
        vm.registers.rcx = 0x55
        vm.registers.cr0 |= 1 << 16
        assert vm.registers.rcx == 0x55
        next(exits)
        assert (vm.registers.rax, vm.registers.rcx) == (2, 0x55)
        assert vm.registers.rbx == vm.registers.cr0
        assert vm.registers.rbx >> 16 & 1
        vm.vcpu.set_msrs({FS_BASE: 0x1_2345})
        assert vm.vcpu.get_special().fs.base == 0x1_2345
        exits.close()


def test_shared_registers_of_a_closed_machine_are_an_error(backend: str) -> None:
    vm = pykvm.VM(backend=backend, memory="1M")
    vm.load(pykvm.assemble("out 0x80, al"))
    next(vm.exits(TIMEOUT_S))
    vcpu = vm.vcpu
    vm.close()
    with pytest.raises(ClosedError):
        vcpu.get_registers()


def test_registers_of_a_loaded_guest_are_there_before_it_runs(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.load(pykvm.assemble("mov [0x20000], rbx\nhlt"))
        assert vm.vcpu.get_registers().rip == 0x1_0000
        assert vm.vcpu.get_special().cr3 == layout.PML4_BASE
        vm.registers.rbx = 77
        vm.vcpu.set_msrs({FS_BASE: 0x1234})
        assert (vm.registers.rbx, vm.registers.rip) == (77, 0x1_0000)
        assert vm.vcpu.get_special().fs.base == 0x1234
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
        assert vm.memory.read_int(0x2_0000, 8) == 77
        assert vm.vcpu.get_special().fs.base == 0x1234


def test_a_call_before_the_first_run_finds_the_registers_set(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.load(pykvm.assemble("hlt"))
        vm.vcpu.get_mp_state()
        assert vm.vcpu.get_registers().rip == 0x1_0000
        assert vm.vcpu.get_special().efer == EFER_LME | EFER_LMA
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
