"""The life of a virtual machine, step by step, by the host's clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from pykvm import layout
from pykvm.backend import open_backend
from pykvm.bench import program
from pykvm.bench.exits.guest import GuestSampler
from pykvm.bench.exits.row import Row
from pykvm.bench.port_loop import IMAGE, PORT_LOOP
from pykvm.bench.sampler import Impossible, Samples, timed
from pykvm.loader import entry
from pykvm.loader.image import Mode
from pykvm.machine import Machine
from pykvm.memory import GuestMemory

_MEMORY_BYTES = layout.MIN_RAM_SIZE
_STEPS = {
    "create VM": "KVM_CREATE_VM; the emulator's own",
    "memory slot": "1 MiB of memory, and where KVM keeps its TSS",
    "vCPU": "KVM_CREATE_VCPU and its run page; in the emulator with CPUID",
    "set CPUID": "KVM_SET_CPUID2 of all that KVM supports",
    "registers": "page tables and registers for long mode",
    "first exit": "the first KVM_RUN, to a port write",
    "close": "memory, vCPU and VM given back",
}
_KEY = "life"


def _step(name: str, sampler: GuestSampler) -> Samples:
    """One step of lives that are lived once for all steps."""
    if _KEY not in sampler.kept:
        sampler.kept[_KEY] = (
            _by_c(sampler) if sampler.backend == "kvm" else timed(lambda: [_live()], sampler.effort)
        )
    values = [life[name] for life in sampler.kept[_KEY] if name in life]
    if not values:
        raise Impossible("an emulated processor is made with its CPUID")
    return Samples(values, "host", 0.0, 0)


def _by_c(sampler: GuestSampler) -> list[dict[str, float]]:
    """Nothing but system calls."""
    with program.running("_floor") as floor:
        return timed(lambda: [dict(zip(_STEPS, floor.ask("life 1"), strict=True))], sampler.effort)


def _live() -> dict[str, float]:
    """One life by way of the seam between machines and backends."""
    memory = GuestMemory()
    region = memory.add(0, _MEMORY_BYTES)
    at_ns = time.perf_counter_ns()
    steps: dict[str, float] = {}

    def lap(name: str) -> None:
        nonlocal at_ns
        steps[name] = time.perf_counter_ns() - at_ns
        at_ns = time.perf_counter_ns()

    vm = open_backend("emu").create_vm()
    lap("create VM")
    vm.map(region)
    lap("memory slot")
    vcpu = vm.create_vcpu(0, "host")
    lap("vCPU")
    memory.write(layout.LOAD_BASE, PORT_LOOP)
    entry.enter(memory, vcpu, Mode.LONG, layout.LOAD_BASE)
    lap("registers")
    vcpu.enter()
    lap("first exit")
    vm.close()
    memory.close()
    lap("close")
    return steps


def _whole(sampler: GuestSampler) -> Samples:
    """What a user of pykvm waits for."""

    def once() -> list[float]:
        start_ns = time.perf_counter_ns()
        machine = Machine("1M", backend=sampler.backend, devices=(), assist=False)
        machine.load(IMAGE)
        machine.vcpu.enter()
        took_ns = time.perf_counter_ns() - start_ns
        machine.close()
        return [took_ns]

    return Samples(timed(once, sampler.effort), "host", 0.0, 0)


def _measure(name: str) -> Callable[[GuestSampler], Samples]:
    return lambda sampler: _step(name, sampler)


ROWS = (
    *(
        Row(name, "life", _measure(name), "system call", "none", text)
        for name, text in _STEPS.items()
    ),
    Row(
        "create to first exit, pykvm", "life", _whole, "system call", "none",
        "Machine(), load(), and the first exit: what a user of pykvm waits for",
    ),
)  # fmt: skip
