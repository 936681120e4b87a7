"""Memory slots: every backing runs a guest; read-only, removed, moved and logged slots."""

from __future__ import annotations

import threading

import pytest

import pykvm
from pykvm.backend.kvm import System
from pykvm.backend.kvm.vm import KvmVm
from pykvm.errors import ClosedError, KvmError, LayoutError, MemoryAccessError
from pykvm.exits import Halt, MmioRead, MmioWrite
from pykvm.layout import LARGE_PAGE_SIZE, MIB, PAGE_SIZE
from pykvm.memory import Backing, GuestMemory

EXTRA = 16 * MIB  # outside the RAM of the machines here
TIMEOUT_S = 60  # never reached: a hang ends there


@pytest.mark.parametrize("backing", list(Backing))
def test_every_backing_runs_a_guest(backend: str, backing: Backing) -> None:
    with pykvm.VM(backend=backend, memory="2M", backing=backing.value) as vm:
        vm.load(pykvm.assemble("mov dword ptr [0x100000], 0x1234\nhlt"))
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
        assert vm.memory.read_int(0x10_0000, 4) == 0x1234
        assert vm.memory.regions[0].backing is backing


def test_huge_pages_say_when_they_are_transparent_ones(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="2M", backing="huge") as vm:
        region = vm.memory.regions[0]
        assert region.note == "" or "transparent huge pages" in region.note
        assert region.hva % LARGE_PAGE_SIZE == 0
        vm.memory.write(0x1F_FFF0, bytes(range(16)))
        region.clear(0, region.size_bytes)
        assert vm.memory.read(0x1F_FFF0, 16) == bytes(16)


def test_memory_of_a_memfd_is_the_files() -> None:
    memory = GuestMemory()
    region = memory.add(0, PAGE_SIZE, Backing.MEMFD)
    try:
        memory.write(0x10, b"guest")
        assert region.fd is not None
        with open(region.fd, "rb", closefd=False) as file:
            assert file.read()[0x10:0x15] == b"guest"
    finally:
        memory.close()


def test_a_view_may_outlive_its_machine(backend: str) -> None:
    vm = pykvm.VM(backend=backend, memory="1M")
    view = vm.memory.view(0x1000, 4)
    view[:] = b"kept"
    vm.close()
    assert bytes(view) == b"kept"
    with pytest.raises(ClosedError):
        vm.memory.view(0x1000, 4)


def test_a_readonly_slot_is_read_directly_and_written_by_exit(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        region = vm.memory.add(EXTRA, PAGE_SIZE, readonly=True)
        vm.vm.map(region)
        vm.memory.write_int(EXTRA, 0x55, 4)
        vm.load(pykvm.assemble(f"mov eax, [{EXTRA}]\nmov dword ptr [{EXTRA}], 7\nhlt"))
        exits = vm.exits(TIMEOUT_S)
        assert next(exits) == MmioWrite(EXTRA, 4, b"\x07\0\0\0")
        assert vm.registers.rax == 0x55
        assert vm.memory.read_int(EXTRA, 4) == 0x55
        exits.close()


def test_a_removed_slot_exits_as_mmio(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        region = vm.memory.add(EXTRA, PAGE_SIZE)
        vm.vm.map(region)
        vm.load(pykvm.assemble(f"mov eax, [{EXTRA}]\nhlt"))
        vm.vm.unmap(region)
        exits = vm.exits(TIMEOUT_S)
        assert next(exits) == MmioRead(EXTRA, 4)
        exits.close()
        with pytest.raises(LayoutError, match="not mapped"):
            vm.vm.unmap(region)
        vm.vm.map(region)  # and back again


def test_a_moved_slot_is_seen_at_its_new_address_only(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        region = vm.memory.add(EXTRA, PAGE_SIZE)
        vm.vm.map(region)
        vm.memory.write_int(EXTRA, 0x99, 4)
        vm.vm.move(vm.memory, region, 2 * EXTRA)
        assert vm.memory.read_int(2 * EXTRA, 4) == 0x99
        with pytest.raises(MemoryAccessError):
            vm.memory.read(EXTRA, 4)
        vm.load(pykvm.assemble(f"mov eax, [{2 * EXTRA}]\nmov ebx, [{EXTRA}]\nhlt"))
        exits = vm.exits(TIMEOUT_S)
        assert next(exits) == MmioRead(EXTRA, 4)
        assert vm.registers.rax == 0x99
        vm.answer(1)
        assert next(exits) == Halt()
        assert vm.registers.rbx == 1
        exits.close()


def test_regions_can_change_their_order(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        first, second = (vm.memory.add(page, PAGE_SIZE) for page in (EXTRA, 2 * EXTRA))
        vm.vm.map(first)
        vm.vm.map(second)
        vm.vm.move(vm.memory, first, 3 * EXTRA)
        vm.memory.write_int(2 * EXTRA, 2, 1)
        vm.memory.write_int(3 * EXTRA, 3, 1)
        assert (first.view[0], second.view[0]) == (3, 2)


def test_an_impossible_move_changes_nothing(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        region = vm.memory.add(EXTRA, PAGE_SIZE)
        with pytest.raises(LayoutError, match="not mapped"):
            vm.vm.move(vm.memory, region, 2 * EXTRA)
        vm.vm.map(region)
        for gpa in (0, EXTRA + 1, -PAGE_SIZE, 1 << 60):
            with pytest.raises(LayoutError):
                vm.vm.move(vm.memory, region, gpa)
        assert region.gpa == EXTRA
        vm.memory.write_int(EXTRA, 1, 1)


def test_a_removed_region_leaves_room(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        region = vm.memory.add(EXTRA, PAGE_SIZE)
        vm.vm.map(region)
        vm.vm.unmap(region)
        vm.memory.remove(region)
        with pytest.raises(LayoutError, match="not of this memory"):
            vm.memory.remove(region)
        vm.vm.map(vm.memory.add(EXTRA, PAGE_SIZE))
        assert vm.memory.read_int(EXTRA, 4) == 0


def test_memory_comes_and_goes_while_the_guest_runs(backend: str) -> None:
    source = f"again: inc qword ptr [{EXTRA}]\njmp again"
    with pykvm.VM(backend=backend, memory="1M", float_unclaimed=True) as vm:
        vm.load(pykvm.assemble(source))
        region = vm.memory.add(EXTRA, PAGE_SIZE)
        thread = threading.Thread(target=vm.run, args=(0.3,))
        thread.start()
        turns = 0
        while thread.is_alive():
            vm.vm.map(region)
            vm.vm.unmap(region)
            turns += 1
        thread.join()
        assert turns
        assert vm.result.outcome is pykvm.Outcome.TIMEOUT


def test_overlapping_slots_are_refused() -> None:
    memory, other = GuestMemory(), GuestMemory()
    vm = KvmVm(System.shared())
    try:
        vm.map(memory.add(0, PAGE_SIZE))
        with pytest.raises(KvmError, match="overlaps another memory slot"):
            vm.map(other.add(0, PAGE_SIZE))
    finally:
        vm.close()
        memory.close()
        other.close()


def test_slots_are_bounded_by_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = GuestMemory()
    vm = KvmVm(System.shared())
    monkeypatch.setitem(vm.system._capabilities, "KVM_CAP_NR_MEMSLOTS", 2)
    try:
        first, *rest = [memory.add(page * PAGE_SIZE, PAGE_SIZE) for page in range(3)]
        vm.map(first)
        vm.map(rest[0])
        with pytest.raises(LayoutError, match="KVM_CAP_NR_MEMSLOTS"):
            vm.map(rest[1])
        vm.unmap(first)
        vm.map(rest[1])
    finally:
        vm.close()
        memory.close()


def test_a_vm_begins_with_any_number_of_regions() -> None:
    memory = GuestMemory()
    regions = [memory.add(2 * PAGE_SIZE * number, PAGE_SIZE) for number in range(70)]
    vm = KvmVm(System.shared(), regions)
    try:
        assert [vm.slot_of(region) for region in regions] == list(range(70))
        with pytest.raises(KvmError, match="overlaps another memory slot"):
            vm.map(regions[69])
    finally:
        vm.close()
        memory.close()
