"""Which pages the guest wrote: log, manual protection, ring."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import pykvm
from pykvm.backend import exitkeys
from pykvm.backend.kvm import System
from pykvm.backend.kvm.vm import KvmVm
from pykvm.errors import KvmError, PykvmError, UsageError
from pykvm.exits import DirtyRingFull, Exit, Halt
from pykvm.layout import MIB, PAGE_SIZE
from pykvm.loader.entry import enter
from pykvm.machine import Machine
from pykvm.memory import GuestMemory, Region

TIMEOUT_S = 20
LOGGED = 16 * MIB  # a region apart from the one that holds code and tables
LOGGED_SIZE = 4 * MIB


def logged_machine(backend: str) -> tuple[Machine, Region]:
    """A machine with a region whose writes are logged."""
    vm = pykvm.VM(backend=backend, memory="1M")
    region = vm.memory.add(LOGGED, LOGGED_SIZE)
    vm.vm.map(region, log_dirty=True)
    return vm, region


def write_pages(vm: Machine, pages: list[int]) -> None:
    """Let the guest write to pages of the region."""
    lines = [f"mov dword ptr [{LOGGED + page * PAGE_SIZE}], 1" for page in pages]
    vm.load(pykvm.assemble("\n".join([*lines, "hlt"])))
    assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT


def addresses(pages: list[int]) -> list[int]:
    """Guest-physical addresses of pages of the region."""
    return [LOGGED + page * PAGE_SIZE for page in pages]


def test_the_log_gives_the_pages_written_since_it_was_read(backend: str) -> None:
    vm, region = logged_machine(backend)
    with vm:
        write_pages(vm, [0, 5, 63, 64, 1023])
        assert vm.vm.dirty_log(region) == addresses([0, 5, 63, 64, 1023])
        assert vm.vm.dirty_log(region) == []
        write_pages(vm, [5])
        assert vm.vm.dirty_log(region) == addresses([5])


def test_reads_and_writes_of_the_host_are_not_logged(backend: str) -> None:
    """KVM with nested paging maps a page for writing at the first read, and logs it then."""
    vm, region = logged_machine(backend)
    with vm:
        vm.memory.write_int(LOGGED, 1, 4)
        assert vm.vm.dirty_log(region) == []
        vm.load(pykvm.assemble(f"mov eax, [{LOGGED}]\nhlt\nmov eax, [{LOGGED}]\nhlt"))
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
        assert vm.vm.dirty_log(region) in ([], addresses([0]))
        vm.memory.write_int(LOGGED, 2, 4)
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
        assert vm.registers.rax == 2
        assert vm.vm.dirty_log(region) == []


def test_logging_can_be_switched(backend: str) -> None:
    vm, region = logged_machine(backend)
    with vm:
        vm.vm.set_dirty_logging(region, False)
        write_pages(vm, [1])
        with pytest.raises(PykvmError):
            vm.vm.dirty_log(region)
        vm.vm.set_dirty_logging(region, True)
        write_pages(vm, [2])
        assert vm.vm.dirty_log(region) == addresses([2])


def test_a_moved_region_keeps_being_logged(backend: str) -> None:
    vm, region = logged_machine(backend)
    with vm:
        vm.vm.move(vm.memory, region, 2 * LOGGED)
        vm.load(pykvm.assemble(f"mov dword ptr [{2 * LOGGED + PAGE_SIZE}], 1\nhlt"))
        vm.run(TIMEOUT_S)
        assert vm.vm.dirty_log(region) == [2 * LOGGED + PAGE_SIZE]


def test_manual_protection_clears_only_what_it_is_told(backend: str) -> None:
    vm, region = logged_machine(backend)
    with vm:
        vm.vm.protect_dirty_manually()
        write_pages(vm, [3, 4])
        assert vm.vm.dirty_log(region) == addresses([3, 4])
        assert vm.vm.dirty_log(region) == addresses([3, 4])
        vm.vm.clear_dirty_log(region, addresses([3]))
        assert vm.vm.dirty_log(region) == addresses([4])
        write_pages(vm, [3])
        assert vm.vm.dirty_log(region) == addresses([3, 4])
        with pytest.raises(UsageError, match="not in"):
            vm.vm.clear_dirty_log(region, [0])


SCATTER = f"""
    mov r8, {LOGGED}
again:
    imul rax, rax, 0x5bd1e995
    inc rax
    mov rbx, rax
    shr rbx, 20
    and ebx, {LOGGED_SIZE - 8}
    inc qword ptr [r8 + rbx]
    jmp again
"""


@pytest.mark.parametrize("manually", [False, True])
def test_a_copy_by_the_log_follows_a_running_guest(backend: str, manually: bool) -> None:
    """No write is lost, whenever pages begin anew: what moving a running guest rests on."""
    vm, region = logged_machine(backend)
    copy = bytearray(LOGGED_SIZE)

    def follow() -> None:
        gpas = vm.vm.dirty_log(region)
        if manually:
            vm.vm.clear_dirty_log(region, gpas)
        for gpa in gpas:
            start = gpa - LOGGED
            copy[start : start + PAGE_SIZE] = vm.memory.read(gpa, PAGE_SIZE)

    with vm:
        if manually:
            vm.vm.protect_dirty_manually()
        vm.load(pykvm.assemble(SCATTER))
        thread = threading.Thread(target=vm.run, args=(0.4,))
        thread.start()
        while thread.is_alive():
            follow()
        follow()
        assert copy == vm.memory.read(LOGGED, LOGGED_SIZE)
        assert any(copy)


def test_clearing_needs_manual_protection(backend: str) -> None:
    vm, region = logged_machine(backend)
    with vm, pytest.raises(UsageError, match="protect_dirty_manually"):
        vm.vm.clear_dirty_log(region, [])


class RingMachine:
    """A VM with dirty rings, made by hand: they come before the first processor."""

    def __init__(self, entries: int) -> None:
        self.memory = GuestMemory()
        self.vm = KvmVm(System.shared())
        self.vm.enable_dirty_ring(entries)
        self.vm.map(self.memory.add(0, MIB))
        self.region = self.memory.add(LOGGED, LOGGED_SIZE)
        self.vm.map(self.region, log_dirty=True)
        self.vcpu = self.vm.create_vcpu(0, "host")

    def run(self, source: str) -> Iterator[Exit]:
        """The exits of a guest."""
        program = pykvm.assemble(source)
        for gpa, data in program.pieces:
            self.memory.write(gpa, data)
        enter(self.memory, self.vcpu, program.mode, program.entry)
        self.vcpu.begin(TIMEOUT_S * 10**9)
        while True:
            key = self.vcpu.enter()
            if key & exitkeys.KIND_MASK != exitkeys.AGAIN:
                yield self.vcpu.exit(key)

    def __enter__(self) -> RingMachine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.vcpu.end()
        self.vm.close()
        self.memory.close()


def test_the_ring_gives_the_pages_written_since_it_was_read() -> None:
    with RingMachine(1024) as ring:
        source = "\n".join(f"mov dword ptr [{each}], 1" for each in addresses([9, 2, 700]))
        assert next(ring.run(source + "\nhlt")) == Halt()
        assert ring.vm.dirty_ring() == addresses([2, 9, 700])
        assert ring.vm.dirty_ring() == []
        assert next(ring.run(source + "\nhlt")) == Halt()
        assert ring.vm.dirty_ring() == addresses([2, 9, 700])


def test_a_full_ring_is_an_exit_and_loses_nothing() -> None:
    write_all = f"""
        mov rbx, {LOGGED}
        mov ecx, {LOGGED_SIZE // PAGE_SIZE}
    again:
        mov dword ptr [rbx], 1
        out 0x80, al  # KVM looks at the ring when it enters the guest
        add rbx, {PAGE_SIZE}
        dec ecx
        jnz again
        hlt
    """
    with RingMachine(1024) as ring:
        seen: list[int] = []
        full = 0
        for exit in ring.run(write_all):
            if exit == Halt():
                break
            if exit == DirtyRingFull():
                full += 1
                seen += ring.vm.dirty_ring()
        seen += ring.vm.dirty_ring()
        assert full >= 1
        assert sorted(set(seen)) == addresses(list(range(LOGGED_SIZE // PAGE_SIZE)))


@pytest.mark.parametrize("entries", [0, 1000, 512, 1 << 30])
def test_impossible_rings_are_refused(entries: int) -> None:
    vm = KvmVm(System.shared())
    with pytest.raises(UsageError, match="power of two"):
        vm.enable_dirty_ring(entries)
    vm.close()


def test_a_ring_replaces_the_log() -> None:
    with RingMachine(1024) as ring, pytest.raises(KvmError):
        ring.vm.dirty_log(ring.region)
