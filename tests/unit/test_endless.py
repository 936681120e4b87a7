"""Guests that never end, of all kinds: every run ends in time and hears a stop.

Time is the thread's own CPU time: a run of a millisecond may use OVERRUN_S of it, however long
that takes on a busy host. Only a hang fails otherwise, by pytest's timeout.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace

import pytest

import pykvm
from pykvm.exits import InternalError
from pykvm.machine import Machine
from pykvm.registers import RFLAGS_IF
from pykvm.result import Outcome
from pykvm.state import MpState
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)

TIMEOUT_S = 0.001
OVERRUN_S = 0.1
MMIO, SLOW_PORT, BELL_PORT = 0xE000_0000, 0x700, 0x710
STRINGS = {
    f"{direction}-{operation}-{count}": f"""
        {direction}
    next:
        mov ecx, {count}
        mov esi, 0x1000000
        mov edi, 0x1000000
        {operation}
        jmp next
    """
    for direction in ("cld", "std")
    for operation in ("rep stosb", "rep movsq", "rep lodsb", "repe cmpsb", "repne scasd")
    for count in (1, 0x1000, 0x10_0000)
}
INSTRUCTIONS = {
    "jump": "next: jmp next",
    "pause": "next: pause\njmp next",
    "cpuid": "next: cpuid\njmp next",
    "time": "next: rdtsc\njmp next",
    "cr3": "mov rax, cr3\nnext: mov cr3, rax\nmov rbx, [0x200000]\njmp next",
    "invlpg": "next: invlpg [rax]\njmp next",
    "segments": "next: mov ax, ds\nmov ds, ax\nmov es, ax\nmov fs, ax\njmp next",
    "debug-register": "next: mov dr0, rax\njmp next",
    "msr": "mov ecx, 0xc0000082\nnext: wrmsr\njmp next",
    "interrupt-flag": "next: cli\ncli\njmp next",
    "x87": "fninit\nnext: fldpi\nfldl2t\nfyl2x\nfsin\nfptan\nfstp st(0)\nfstp st(0)\njmp next",
    "x87-save": "mov edi, 0x60000\nnext: fnsave [rdi]\nfxsave [rdi]\nfxrstor [rdi]\njmp next",
    "vector": "next: sqrtpd xmm0, xmm1\npcmpistrm xmm0, xmm2, 0x4c\naesenc xmm3, xmm4\njmp next",
    "own-code": "next: inc byte ptr [patch + 1]\npatch: mov al, 1\njmp next",
    "xsave": """
        mov rax, cr4
        or eax, 0x40000
        mov cr4, rax
        xor edx, edx
        mov edi, 0x60000
    next:
        mov eax, 7
        xsave [rdi]
        xrstor [rdi]
        xsetbv
        jmp next
    """,
    "caches": "next: wbinvd\nclflush [rax]\njmp next",
    "tables": "mov edi, 0x60000\nsgdt [rdi]\nnext: lgdt [rdi]\nsidt [rdi + 16]\njmp next",
    "random": "next: rdrand eax\njmp next",
    "enter": "mov rbp, 0x90000\nnext: mov rsp, 0x90000\nenter 8, 31\njmp next",
    "refused": "next: popcnt eax, ebx\nin al, 0x60\njmp next",
}
EXITS = {
    "port-in": "next: in al, 0x60\njmp next",
    "port-out": "next: out 0x60, al\njmp next",
    "console": "next: out 0xe9, al\njmp next",
    "console-string": "mov dx, 0xe9\nnext: mov esi, 0x60000\nmov ecx, 4096\nrep outsb\njmp next",
    "console-string-in": "mov dx, 0xe9\nnext: mov edi, 0x60000\nmov ecx, 4096\nrep insb\njmp next",
    "string-in": "mov dx, 0x60\nnext: mov edi, 0x60000\nmov ecx, 4096\nrep insb\njmp next",
    "mmio-read": f"mov ebx, {MMIO}\nnext: mov eax, [rbx]\njmp next",
    "mmio-write": f"mov ebx, {MMIO}\nnext: mov [rbx], eax\njmp next",
    "mmio-copy": f"next: mov esi, {MMIO}\nmov edi, {MMIO}\nmov ecx, 4096\nrep movsb\njmp next",
    "slow-handler": f"mov dx, {SLOW_PORT}\nnext: out dx, al\njmp next",
    "doorbell": f"mov dx, {BELL_PORT}\nnext: out dx, al\njmp next",
    "collected": f"mov dx, {BELL_PORT + 1}\nnext: out dx, al\njmp next",
}
FAULTS = """
    mov eax, offset handler
    mov word ptr [0x60000 + 16*{vector}], ax
    mov cx, cs
    mov word ptr [0x60002 + 16*{vector}], cx
    mov word ptr [0x60004 + 16*{vector}], 0x8e00
    mov word ptr [0x60006 + 16*{vector}], 0
    mov qword ptr [0x60008 + 16*{vector}], 0
    shr eax, 16
    mov word ptr [0x60006 + 16*{vector}], ax
    mov word ptr [0x61000], 0xfff
    mov qword ptr [0x61002], 0x60000
    lidt [0x61000]
    {body}
handler:
    {handler}
"""
EVENTS = {
    "fault-that-stays": FAULTS.format(vector=6, body="next: ud2\njmp next", handler="iretq"),
    "invpcid": FAULTS.format(  # not every KVM offers it
        vector=6,
        body="mov edi, 0x62000\nmov eax, 2\nnext: invpcid rax, [rdi]\njmp next",
        handler="iretq",
    ),
    "fault-in-handler": FAULTS.format(
        vector=14,
        body="mov rax, 0x8000000000\nmov rax, [rax]",
        handler="mov rsp, 0x90000\nmov rax, [rax]",
    ),
    "single-steps": FAULTS.format(
        vector=1,
        body="pushfq\nor qword ptr [rsp], 0x100\npopfq\nnext: jmp next",
        handler="iretq",
    ),
    "returns": """
    next:
        mov rbx, rsp
        mov eax, ss
        push rax
        push rbx
        pushfq
        mov eax, cs
        push rax
        lea rax, [next]
        push rax
        iretq
    """,
    "interrupts": FAULTS.format(vector=0x40, body="next: int 0x40\njmp next", handler="iretq"),
}
TASKS = """
    lgdt [gdt_pointer]
    mov ax, 0x20
    ltr ax
next:
    ljmp 0x28:0
    jmp next
other:
    ljmp 0x20:0
    jmp other
    .balign 8
gdt:
    .quad 0, 0xcf9b000000ffff, 0, 0xcf93000000ffff
    .word 0x67, first_task - 0x10000, 0x8901, 0
    .word 0x67, other_task - 0x10000, 0x8901, 0
gdt_pointer:
    .word 0x2f
    .long gdt
first_task:
    .zero 104
other_task:
    .zero 32
    .long other, 2
    .zero 32
    .long 0x18, 8, 0x18, 0x18, 0x18, 0x18
    .zero 8
"""
APIC = "mov ebx, 0xfee00000\nmov dword ptr [rbx + 0xf0], 0x1ff\n"
CHIPS = {
    "sleep": "cli\nnext: hlt\njmp next",
    "timer-to-nobody": APIC
    + """
        mov dword ptr [rbx + 0x320], 0x20040
        mov dword ptr [rbx + 0x3e0], 0xb
        mov dword ptr [rbx + 0x380], 1
    next: hlt
        jmp next
    """,
    "deadline-far-away": APIC
    + """
        mov dword ptr [rbx + 0x320], 0x40040
        mov ecx, 0x6e0
        mov eax, -1
        mov edx, -1
        wrmsr
    next: hlt
        jmp next
    """,
    "own-interrupts": APIC + "next: mov dword ptr [rbx + 0x300], 0x44040\njmp next",
    "start-ups": APIC
    + """
    next:
        mov dword ptr [rbx + 0x300], 0xc4500
        mov dword ptr [rbx + 0x300], 0xc4608
        jmp next
    """,
}
STORM = FAULTS.format(
    vector=0x24,
    body="".join(
        f"mov al, {value}\nout {port}, al\n"
        for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xEF))
    )
    + "sti\nnext: {wait}",
    handler="inc r15\nmov al, 0x20\nout 0x20, al\niretq",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a guest runs: KVM alone, KVM with the emulator's help, the emulator alone."""

    backend: str
    assist: bool | None = None


KINDS = {"kvm": Kind("kvm", False), "assisted": Kind("kvm", True), "emu": Kind("emu")}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each in turn."""
    found = KINDS[request.param]
    chosen = request.config.getoption("pykvm_backend")
    if chosen in ("kvm", "emu") and chosen != found.backend:
        pytest.skip(f"--pykvm-backend {chosen}")
    return found


class Slow:
    """A device that takes its time."""

    def read(self, offset: int, size_bytes: int) -> int:
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        time.sleep(0.002)


def machine(kind: Kind, source: str, mode: str = "long", **options: object) -> Machine:
    """A machine in which nothing that the guest touches ends the run."""
    vm = pykvm.VM(
        memory="32M", backend=kind.backend, assist=kind.assist, float_unclaimed=True,
        **options,  # type: ignore[arg-type]
    )  # fmt: skip
    vm.ports.claim(SLOW_PORT, 1, Slow())
    vm.load(pykvm.assemble(source, mode=mode))
    return vm


def check(vm: Machine) -> None:
    """It ends in time, twice; and when it is stopped.

    KVM alone refuses some instructions, which ends the run too.
    """
    for _ in range(2):
        begun_s = time.thread_time()
        result = vm.run(TIMEOUT_S)
        used_s = time.thread_time() - begun_s
        assert used_s < TIMEOUT_S + OVERRUN_S, f"{used_s:.3f} s of CPU time"
        if isinstance(result.exit, InternalError) and vm.backend.name == "kvm":
            pytest.skip("KVM refuses an instruction of this guest here")
        assert result.outcome is Outcome.TIMEOUT
    stopper = threading.Timer(0.01, vm.stop)
    stopper.start()
    assert vm.run().outcome is Outcome.INTERRUPTED
    stopper.join()


@pytest.mark.parametrize("name", STRINGS | INSTRUCTIONS | EXITS | EVENTS)
def test_a_guest_that_never_ends_is_bounded(kind: Kind, name: str) -> None:
    with machine(kind, (STRINGS | INSTRUCTIONS | EXITS | EVENTS)[name]) as vm:
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            vm.vm.add_ioeventfd(bell, BELL_PORT, 1, port=True)
            vm.vm.add_coalesced(BELL_PORT + 1, 1, port=True)
            check(vm)
        finally:
            os.close(bell)


def test_a_guest_that_switches_tasks_for_ever_is_bounded(kind: Kind) -> None:
    with machine(kind, TASKS, mode="protected") as vm:
        check(vm)


@pytest.mark.parametrize("name", CHIPS)
def test_a_guest_that_sleeps_or_interrupts_for_ever_is_bounded(kind: Kind, name: str) -> None:
    with machine(kind, CHIPS[name], irqchip="full") as vm:
        check(vm)


@pytest.mark.parametrize("wait", ["jmp next", "hlt\njmp next"], ids=["runs", "sleeps"])
def test_a_storm_of_interrupts_is_bounded(kind: Kind, wait: str) -> None:
    """Another thread rings all the time; the handler counts in R15."""
    bell, over = os.eventfd(0, os.EFD_CLOEXEC), threading.Event()

    def ring() -> None:
        while not over.wait(0):
            os.eventfd_write(bell, 1)

    ringer = threading.Thread(target=ring)
    with machine(kind, STORM.format(wait=wait), irqchip="full") as vm:
        vm.vm.add_irqfd(bell, 4)
        ringer.start()
        try:
            check(vm)
            until(lambda: vm.run(TIMEOUT_S) and vm.registers.r15)
        finally:
            over.set()
            ringer.join()
    os.close(bell)


@pytest.mark.parametrize("name", ["jump", "pause", "own-code", "invlpg"])
def test_two_processors_that_never_end_are_bounded(kind: Kind, name: str) -> None:
    start = (
        "mov dword ptr [0x8000], 0xfeeb90\n"  # nop; 2: jmp 2b
        + APIC
        + "mov dword ptr [rbx + 0x300], 0xc4500\nmov dword ptr [rbx + 0x300], 0xc4608\n"
    )
    with machine(kind, start + INSTRUCTIONS[name], cpus=2) as vm:
        check(vm)


@pytest.mark.parametrize("name", ["jump", "std-rep movsq-1048576", "timer-to-nobody", "sleep"])
def test_a_clock_of_instructions_does_not_change_that(name: str) -> None:
    source = (STRINGS | INSTRUCTIONS | CHIPS)[name]
    with machine(KINDS["emu"], source, irqchip="full", clock="instructions") as vm:
        check(vm)


@pytest.mark.parametrize("shadow", [0, 2])
@pytest.mark.parametrize("flag", [0, RFLAGS_IF])
def test_a_sleeper_in_any_state_is_bounded(kind: Kind, shadow: int, flag: int) -> None:
    with machine(kind, "next: jmp next", irqchip="split") as vm:
        assert vm.run(TIMEOUT_S).outcome is Outcome.TIMEOUT
        vm.registers.rflags |= flag
        vm.vcpu.set_events(replace(vm.vcpu.get_events(), interrupt_shadow=shadow))
        vm.vcpu.set_mp_state(MpState.HALTED)
        vm.vcpu.interrupt(0x40)
        begun_s = time.thread_time()
        outcome = vm.run(TIMEOUT_S).outcome
        assert outcome in (Outcome.TIMEOUT, Outcome.SHUTDOWN)  # it woke, and has no handler
        assert time.thread_time() - begun_s < TIMEOUT_S + OVERRUN_S


def test_the_bound_comes_to_whatever_thread_takes_exits(kind: Kind) -> None:
    with machine(kind, "in al, 0x60\nforever: jmp forever") as vm:
        exits = vm.exits(0.2)
        next(exits)
        rest = threading.Thread(target=list, args=(exits,))
        rest.start()
        rest.join()
        assert vm.result.outcome is Outcome.TIMEOUT
