"""What memory costs a guest: pages that are not there yet, not writable, or far apart.

The guest is at CPL 3, which runs on the processor and its page tables on every kind of host.
"""

from __future__ import annotations

import mmap
import struct
from contextlib import ExitStack, suppress
from pathlib import Path

from pykvm import host, layout
from pykvm.backend.kvm import as_kvm
from pykvm.bench.exits.loop import Loop, Prepare, Wire
from pykvm.bench.exits.row import guest_row
from pykvm.bench.sampler import Impossible
from pykvm.layout import GIB, LARGE_PAGE_SIZE, MIB, PAGE_SIZE
from pykvm.loader.image import Mode
from pykvm.machine import Machine
from pykvm.memory import Backing, Region

BASE = GIB  # a region of its own, which the identity map reaches
_SMALL_BYTES, _LARGE_BYTES = 4 * MIB, 32 * MIB
_NEEDED_BYTES = 256 * MIB  # of the host's memory
_RING_ENTRIES = 4096

# The walk: steps of about 0.6 GiB to each 128 KiB in turn, more pages than a TLB holds. Of the
# host's page of zeros few cache lines are read, so that it is translation that takes the time.
_WALK_STEP, _WALK_PAGES = 5063 << 17, 1 << 13
_TABLES_BASE = 8 * MIB
_PRESENT = 7  # writable, for user space too

_VIOLATION = "VMX 48 EPT violation, SVM 400h NPF"
_PROTECTED = "VMX 48 EPT violation or 62 page-modification log full, SVM 400h NPF"


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * layout.KIB
    return _NEEDED_BYTES


def _add(machine: Machine, size_bytes: int, page_size: int, *, readonly: bool = False) -> Region:
    """A region whose pages on the host have this size.

    Raises:
        Impossible: the host is short of memory, or has no such pages.
    """
    if _available_bytes() < _NEEDED_BYTES:
        raise Impossible(f"less than {_NEEDED_BYTES // MIB} MiB of memory are available here")
    huge = page_size > PAGE_SIZE
    region = machine.memory.add(
        BASE, size_bytes, Backing.HUGE if huge else Backing.ANONYMOUS, readonly
    )
    if huge and region.note and host.Host.read().transparent_huge_pages in ("", "never"):
        raise Impossible("this host has no 2 MiB pages: neither reserved nor transparent ones")
    mapping = region.view.obj
    if not huge and isinstance(mapping, mmap.mmap):
        with suppress(OSError):  # a kernel that has no transparent huge pages
            mapping.madvise(mmap.MADV_NOHUGEPAGE)
    return region


def _populate(region: Region) -> None:
    for offset in range(0, region.size_bytes, PAGE_SIZE):
        region.view[offset] = 0


def _new(machine: Machine) -> None:
    """Neither the host nor the guest has the pages."""
    region = machine.memory.regions[-1]
    region.clear(0, region.size_bytes)


def _unmapped(machine: Machine) -> None:
    """The host has the pages; KVM has forgotten them."""
    region = machine.memory.regions[-1]
    machine.vm.unmap(region)
    machine.vm.map(region)


def _clean(machine: Machine) -> None:
    machine.vm.dirty_log(machine.memory.regions[-1])


def _clean_ring(machine: Machine) -> None:
    as_kvm(machine.vm).dirty_ring()


def _touch(page_size: int, size_bytes: int, populated: bool) -> Loop:
    def wire(machine: Machine, stack: ExitStack) -> None:
        region = _add(machine, size_bytes, page_size)
        if populated:
            _populate(region)
        machine.vm.map(region)

    return _write_each(page_size, size_bytes, wire, _unmapped if populated else _new)


def _write_each(page_size: int, size_bytes: int, wire: Wire, prepare: Prepare) -> Loop:
    """A write to each page of the region."""
    return Loop(
        "mov [r8], r8", setup=f"mov r8, {BASE:#x}", after=f"add r8, {page_size}",
        mode=Mode.USER, repeats=False, most=size_bytes // page_size, wire=wire, prepare=prepare,
    )  # fmt: skip


def _log(machine: Machine, stack: ExitStack) -> None:
    region = _add(machine, _SMALL_BYTES, PAGE_SIZE)
    _populate(region)
    machine.vm.map(region, log_dirty=True)


def _ring(machine: Machine, stack: ExitStack) -> None:
    """Another VM in the machine: rings come before its first processor."""
    if machine.backend.name != "kvm":
        raise Impossible("the emulator has a dirty log only")
    machine.vm.close()
    machine.vm = machine.backend.create_vm()
    as_kvm(machine.vm).enable_dirty_ring(_RING_ENTRIES)
    region = _add(machine, _SMALL_BYTES, PAGE_SIZE)
    _populate(region)
    for each in machine.memory.regions:
        machine.vm.map(each, log_dirty=each is region)
    machine.vm.create_vcpu(0, "host")
    machine.vcpus = tuple(machine.vm.vcpus)


def _read_only(machine: Machine, stack: ExitStack) -> None:
    machine.vm.map(_add(machine, PAGE_SIZE, PAGE_SIZE, readonly=True))


def _walk(page_size: int) -> Loop:
    """Reads of 1 GiB, of pages that are all the host's one page of zeros.

    The guest's own tables have pages of the same size.
    """

    def wire(machine: Machine, stack: ExitStack) -> None:
        machine.vm.map(_add(machine, GIB, page_size))
        if page_size == PAGE_SIZE:
            _write_tables(machine)

    def prepare(machine: Machine) -> None:
        if page_size == PAGE_SIZE:
            machine.memory.write_int(layout.PDPT_BASE + 8, _TABLES_BASE | _PRESENT, 8)

    step = f"add ebx, {_WALK_STEP:#x}\n    and ebx, {GIB - 8:#x}"
    load = "mov r11d, [r8 + rbx]\n    add ebx, r11d"  # the next one waits for it
    return Loop(
        load, step,
        setup=f"mov r8, {BASE:#x}\n    xor ebx, ebx\n    mov ecx, {_WALK_PAGES}\n"
        f"5:  {step}\n    {load}\n    dec ecx\n    jnz 5b\n    xor ebx, ebx",
        mode=Mode.USER, wire=wire, prepare=prepare,
    )  # fmt: skip


def _write_tables(machine: Machine) -> None:
    """A page directory and its 512 page tables for 4 KiB pages. Intel SDM vol. 3A §4.5."""
    tables = [_TABLES_BASE + (1 + i) * PAGE_SIZE | _PRESENT for i in range(512)]
    pages = [BASE + i * PAGE_SIZE | _PRESENT for i in range(GIB // PAGE_SIZE)]
    machine.memory.write(_TABLES_BASE, struct.pack(f"<{512 + len(pages)}Q", *tables, *pages))


_READ_ONLY = Loop(
    "mov rax, [r8]\n    add r8, rax", setup=f"mov r8, {BASE:#x}", mode=Mode.USER, wire=_read_only
)
_FIRST = "the first write to a page that"

_EXITS = "RDTSC pair"
_STAYS = "empty loop, a turn"

ROWS = tuple(
    guest_row(name, "memory", loop, floor, reason, text)
    for name, loop, floor, reason, text in (
        ("first touch of 4 KiB, new", _touch(PAGE_SIZE, _SMALL_BYTES, False), _EXITS, _VIOLATION,
         f"{_FIRST} the host has to find too"),
        ("first touch of 4 KiB, populated", _touch(PAGE_SIZE, _SMALL_BYTES, True), _EXITS,
         _VIOLATION, f"{_FIRST} the host has"),
        ("first touch of 2 MiB, new", _touch(LARGE_PAGE_SIZE, _LARGE_BYTES, False), _EXITS,
         _VIOLATION, f"{_FIRST} the host has to find and clear too"),
        ("first touch of 2 MiB, populated", _touch(LARGE_PAGE_SIZE, _LARGE_BYTES, True), _EXITS,
         _VIOLATION, f"{_FIRST} the host has"),
        ("write to a clean page, log", _write_each(PAGE_SIZE, _SMALL_BYTES, _log, _clean),
         _EXITS, _PROTECTED, "the first write since KVM_GET_DIRTY_LOG"),
        ("write to a clean page, ring", _write_each(PAGE_SIZE, _SMALL_BYTES, _ring, _clean_ring),
         _EXITS, _PROTECTED, "the first write since KVM_RESET_DIRTY_RINGS"),
        ("read of a read-only slot", _READ_ONLY, _STAYS, "none", "a load: it does not exit"),
        ("walk of 1 GiB, 4 KiB pages", _walk(PAGE_SIZE), _STAYS, "none",
         "a load that misses the TLB; host and guest have 4 KiB pages"),
        ("walk of 1 GiB, 2 MiB pages", _walk(LARGE_PAGE_SIZE), _STAYS, "none",
         "the same loads; host and guest have 2 MiB pages"),
    )
)  # fmt: skip
