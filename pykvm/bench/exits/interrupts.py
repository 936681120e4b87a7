"""Interrupts: sending, taking and ending them; timers; a halted processor that wakes."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from pykvm import layout
from pykvm.backend.types import MsiRoute, default_routes
from pykvm.bench.exits.guest import PROBE_TIMEOUT_S, GuestSampler
from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.row import Row, guest_row
from pykvm.bench.sampler import NS_PER_S, Impossible, Samples, reading_ns, timed
from pykvm.loader import entry
from pykvm.loader.image import Mode
from pykvm.machine import Machine
from pykvm.registers import APIC_BASE_BSP, Table
from pykvm.state import MpState

VECTOR = 0x40
IDT_BASE = 0x20_0000
CELL = 0x21_0000  # what processors and the host tell each other by
READY = CELL + 64
STACK_TOP = 0x22_0000  # of the second processor
GSI = 24  # the first line that no chip has
TIMER_US = 50  # how far ahead a timer is set
SETTLE_CYCLES = 100_000  # 30 to 60 us: the other processor is back in its HLT

# Local APIC registers, Intel SDM vol. 3A table 10-1; r8 holds their base all the time.
_SPURIOUS, _EOI, _ICR_LOW, _ICR_HIGH = 0xF0, 0xB0, 0x300, 0x310
_LVT_TIMER, _INITIAL_COUNT, _DIVIDE = 0x320, 0x380, 0x3E0
_TO_SELF, _TO_ONE = 0x4_4000 | VECTOR, 0x4000 | VECTOR  # §10.6.1: fixed, asserted
_DEADLINE_MODE = 2 << 17
_DIVIDE_BY_1 = 0xB
_MSR_DEADLINE = 0x6E0
_CPUID_1_ECX_DEADLINE = 1 << 24

_APIC = f"mov r8, {layout.LAPIC_BASE:#x}\n    mov dword ptr [r8 + {_SPURIOUS}], 0x1ff"
_SELF_IPI = f"mov dword ptr [r8 + {_ICR_LOW}], {_TO_SELF:#x}"
_END = f"mov dword ptr [r8 + {_EOI}], 0"

# It notes the time in r12, for which the loop waits.
_NOW = "rdtsc\n    shl rdx, 32\n    lea r12, [rdx + rax]"
_HANDLER = f"handler:\n    {_NOW}\n    {_END}\n    iretq"
_WAIT = "1:  test r12, r12\n    jz 1b"
_CLEAR = "xor r12d, r12d"
_TAKEN = "mov rax, r12"

_CHIPS = (("irqchip", "full"),)
_INTERRUPT = "VMX 1 external interrupt, SVM 60h INTR"
_ICR = "VMX 56 APIC write or 44 APIC access, SVM 401h AVIC_INCOMPLETE_IPI or 400h NPF"
_APIC_WRITE = "VMX 56 APIC write or 44 APIC access, SVM 402h AVIC_NOACCEL or 400h NPF"
_END_OF = "VMX 45 virtualized EOI or 44 APIC access, SVM 402h AVIC_NOACCEL or 400h NPF"
_TIMER = "VMX 52 VMX-preemption timer expired or 1 external interrupt, SVM 60h INTR"
_MSR_WRITE = "VMX 32 WRMSR, SVM 7ch MSR"


def set_handler(machine: Machine) -> None:
    """Let VECTOR lead to the guest's `handler`. Intel SDM vol. 3A §6.14.1."""
    image = machine.image
    address = image.symbols["handler"] if image is not None else 0
    gate = struct.pack(
        "<HHBBHI4x", address & 0xFFFF, layout.CODE64_SELECTOR, 0, 0x8E,
        address >> 16 & 0xFFFF, address >> 32,
    )  # fmt: skip
    machine.memory.write(IDT_BASE, bytes(16 * VECTOR) + gate)
    for vcpu in machine.vcpus:
        vcpu.set_special(replace(vcpu.get_special(), idt=Table(IDT_BASE, 0xFFF)))


def _start_other(machine: Machine) -> None:
    """Put the second processor at the guest's `other`."""
    vcpu, image = machine.vcpus[1], machine.image
    apic_base = vcpu.get_special().apic_base & ~APIC_BASE_BSP
    entry.enter(machine.memory, vcpu, Mode.LONG, image.symbols["other"] if image else 0)
    registers = vcpu.get_registers()
    vcpu.set_registers(replace(registers, rsp=STACK_TOP))
    vcpu.set_special(replace(vcpu.get_special(), apic_base=apic_base))
    vcpu.set_mp_state(MpState.RUNNABLE)
    machine.memory.write(CELL, bytes(128))
    set_handler(machine)


def _to_other(idle: str, settle: str) -> Loop:
    """From the write of the ICR until this processor sees what the other's handler wrote."""
    return Loop(
        f"mov dword ptr [r8 + {_ICR_LOW}], {_TO_ONE:#x}\n"
        "1:  pause\n    cmp qword ptr [r9], 0\n    je 1b",
        setup=f"{_APIC}\n    mov r9, {CELL:#x}\n"
        f"2:  pause\n    cmp qword ptr [r9 + {READY - CELL}], 0\n    je 2b",
        before=f"mov qword ptr [r9], 0\n    mov dword ptr [r8 + {_ICR_HIGH}], {1 << 24:#x}\n"
        f"    {settle}",
        tail=f"""
other:
    {_APIC}
    mov r9, {CELL:#x}
    sti
    mov qword ptr [r9 + {READY - CELL}], 1
3:  {idle}
    jmp 3b
handler:
    {_END}
    mov qword ptr [r9], 1
    iretq
""",
        repeats=False,
        machine=(*_CHIPS, ("cpus", 2)),
        prepare=_start_other,
    )


_SETTLE = f"""rdtsc
    shl rdx, 32
    lea r10, [rdx + rax + {SETTLE_CYCLES}]
4:  pause
    rdtsc
    shl rdx, 32
    add rdx, rax
    cmp rdx, r10
    jb 4b"""

_SELF = Loop(
    f"{_SELF_IPI}\n{_WAIT}", setup=f"{_APIC}\n    sti", before=_CLEAR, tail=_HANDLER, end=_TAKEN,
    repeats=False, machine=_CHIPS, prepare=set_handler,
)  # fmt: skip

_WAKE = Loop(
    f"sti\n    hlt\n{_WAIT}", setup=_APIC, before=f"{_CLEAR}\n    cli\n    {_SELF_IPI}",
    tail=_HANDLER, end=_TAKEN, repeats=False, machine=_CHIPS, prepare=set_handler,
)  # fmt: skip

_EOI_LOOP = Loop(
    f"{_SELF_IPI}\n{_WAIT}", setup=f"{_APIC}\n    sti", before=_CLEAR,
    tail="handler:\n    rdtsc\n    shl rdx, 32\n    lea r13, [rdx + rax]\n"
    f"    {_END}\n    {_NOW}\n    iretq",
    end=_TAKEN, repeats=False, machine=_CHIPS, prepare=set_handler,
)  # fmt: skip


def _need_deadline(machine: Machine, stack: ExitStack) -> None:
    leaves = machine.vcpu.get_cpuid()
    if not any(each.function == 1 and each.ecx & _CPUID_1_ECX_DEADLINE for each in leaves):
        raise Impossible("this virtual processor's APIC timer has no TSC deadline")


def _set_timer(machine: Machine) -> None:
    set_handler(machine)
    machine.registers.r10 = machine.vcpu.get_tsc_khz() * TIMER_US // 1000


_LVT_DEADLINE = f"mov dword ptr [r8 + {_LVT_TIMER}], {_DEADLINE_MODE | VECTOR:#x}"
_ARM_DEADLINE = Loop(
    "wrmsr",
    # 2^32 cycles ahead
    f"mov ecx, {_MSR_DEADLINE:#x}\n    mov eax, r13d\n    mov rdx, r13\n    shr rdx, 32\n"
    "    inc edx",
    setup=f"{_APIC}\n    {_LVT_DEADLINE}", tail=_HANDLER, machine=_CHIPS,
    wire=_need_deadline, prepare=set_handler,
)  # fmt: skip
_ARM_COUNT = Loop(
    f"mov dword ptr [r8 + {_INITIAL_COUNT}], 0x7fffffff",
    setup=f"{_APIC}\n    mov dword ptr [r8 + {_DIVIDE}], {_DIVIDE_BY_1}\n"
    f"    mov dword ptr [r8 + {_LVT_TIMER}], {VECTOR:#x}",
    tail=_HANDLER, machine=_CHIPS, prepare=set_handler,
)  # fmt: skip
_DEADLINE_TAKEN = Loop(
    f"add r13, r10\n    mov ecx, {_MSR_DEADLINE:#x}\n    mov eax, r13d\n    mov rdx, r13\n"
    f"    shr rdx, 32\n    wrmsr\n{_WAIT}",
    setup=f"{_APIC}\n    {_LVT_DEADLINE}\n    sti", before=_CLEAR, tail=_HANDLER, end=_TAKEN,
    repeats=False, raw=True, machine=_CHIPS, wire=_need_deadline, prepare=_set_timer,
)  # fmt: skip


def _idle_guest(idle: str) -> Loop:
    """Interrupts count up CELL; the guest does nothing else."""
    return Loop(
        setup=f"{_APIC}\n    mov r9, {CELL:#x}\n    sti\n"
        f"    mov qword ptr [r9 + {READY - CELL}], 1\n1:  {idle}\n    jmp 1b",
        tail=f"handler:\n    inc dword ptr [r9]\n    {_END}\n    iretq",
        machine=_CHIPS,
        prepare=set_handler,
    )


@contextmanager
def _running(sampler: GuestSampler, loop: Loop) -> Iterator[Machine]:
    """A guest that runs in a thread until the block ends."""
    with sampler.machine(loop) as machine:
        machine.load(loop.program(sampler.fence(loop.mode)))
        set_handler(machine)
        machine.memory.write(CELL, bytes(128))
        thread = threading.Thread(target=machine.run, args=(60,), daemon=True)
        thread.start()
        try:
            _await(machine.memory.view(READY, 1), 1)
            yield machine
        finally:
            machine.stop()
            thread.join()


def _await(cell: memoryview, value: int) -> None:
    """Look until the guest has written a value.

    Raises:
        Impossible: it does not.
    """
    end_ns = time.perf_counter_ns() + int(PROBE_TIMEOUT_S * NS_PER_S)
    patient_ns = time.perf_counter_ns() + NS_PER_S // 1000
    while cell[0] != value:
        now_ns = time.perf_counter_ns()
        if now_ns > end_ns:
            raise Impossible(f"no interrupt came within {PROBE_TIMEOUT_S:.0f} s")
        if now_ns > patient_ns:
            time.sleep(0)  # the guest's thread may wait for Python


def _eventfd(sampler: GuestSampler, idle: str, settle_s: float) -> Samples:
    fd = os.eventfd(0)
    try:
        with _running(sampler, _idle_guest(idle)) as machine:
            machine.vm.set_routes((*default_routes(), MsiRoute(GSI, layout.LAPIC_BASE, VECTOR)))
            machine.vm.add_irqfd(fd, GSI)
            cell = machine.memory.view(CELL, 1)
            clock_ns = reading_ns(lambda: _await(cell, cell[0]))

            def once() -> list[float]:
                time.sleep(settle_s)
                wanted = (cell[0] + 1) & 0xFF
                start_ns = time.perf_counter_ns()
                os.eventfd_write(fd, 1)
                _await(cell, wanted)
                return [time.perf_counter_ns() - start_ns - clock_ns]

            values = timed(once, sampler.effort)
            machine.vm.remove_irqfd(fd, GSI)
    finally:
        os.close(fd)
    return Samples(values, "host", clock_ns, 0)


def _row(name: str, loop: Loop, reason: str, text: str) -> Row:
    return guest_row(name, "kernel", loop, "RDTSC pair", reason, text)


ROWS = (
    _row("HLT, interrupt pending", _WAKE, "VMX 12 HLT, SVM 78h HLT",
         "STI and HLT with an interrupt waiting, to the handler's first RDTSC"),
    _row("self-IPI to handler", _SELF, _ICR,
         "from the write of the APIC's ICR to the handler's first RDTSC"),
    _row("IPI to a running vCPU", _to_other("pause", ""), _ICR,
         "from the write of the ICR until the sender sees what the handler wrote"),
    _row("IPI to a halted vCPU", _to_other("hlt", _SETTLE), _ICR,
         "the same where the other one is in HLT"),
    _row("EOI", _EOI_LOOP, _END_OF,
         "the end of an interrupt in service, within its handler"),
    _row("timer arm, TSC deadline", _ARM_DEADLINE, _MSR_WRITE,
         "WRMSR of a deadline 2^32 cycles ahead"),
    _row("timer arm, one-shot", _ARM_COUNT, _APIC_WRITE,
         "a write of the APIC timer's initial count"),
    _row("timer to handler", _DEADLINE_TAKEN, _TIMER,
         f"how late after its deadline, {TIMER_US} us ahead, the handler reads the counter"),
    Row("irqfd to handler, running", "kernel",
        lambda sampler: _eventfd(sampler, "pause", 0.0), "system call", _INTERRUPT,
        "from the host's write to an eventfd until it sees what the handler wrote"),
    Row("irqfd to handler, halted", "kernel",
        lambda sampler: _eventfd(sampler, "hlt", 0.0002), "system call", _INTERRUPT,
        "the same where the vCPU is in HLT"),
)  # fmt: skip
