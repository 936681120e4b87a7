"""CPUID: what a vCPU tells its guest about its processor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from pykvm import cpumodel
from pykvm._native import ffi, lib
from pykvm.backend.kvm.calls import call
from pykvm.backend.kvm.msrs import Call
from pykvm.backend.kvm.system import System
from pykvm.cpumodel import CpuidEntry
from pykvm.errors import CpuModelError

MAX_ENTRIES = 256
_TOPOLOGY_LEAVES = (0xB, 0x1F)
_TSC_DEADLINE = 1 << 24  # leaf 1, ECX


@lru_cache(maxsize=1)
def supported(system: System) -> tuple[CpuidEntry, ...]:
    """What the host's KVM offers to guests; asked once, since it is slow. Source: api.rst §4.46."""
    raw = ffi.new("struct kvm_cpuid2 *", {"nent": MAX_ENTRIES, "entries": MAX_ENTRIES})
    call(system.fd, "KVM_GET_SUPPORTED_CPUID", raw)
    return _entries(raw)


@lru_cache(maxsize=64)
def prepared(system: System, name: str, index: int, count: int, chips: bool = False) -> Any:
    """The struct that gives a vCPU the named model; see KVM_SET_CPUID2, api.rst §4.20.

    Args:
        index: of the vCPU; its APIC id.
        count: how many the machine has.
        chips: whether its local APIC is in the kernel: KVM's timer has a TSC deadline then, of
            which the supported set says nothing before Linux 6.14 (api.rst §4.46).

    Raises:
        UsageError: there is no such model.
        CpuModelError: the host's KVM lacks a feature of the model.
    """
    model = cpumodel.find(name)
    if model is None:
        entries = _of_host(supported(system), index, count)
        if chips and system.capability("KVM_CAP_TSC_DEADLINE_TIMER"):
            entries = [_with_deadline(entry) for entry in entries]
        return raw(entries)
    missing = model.missing(supported(system)) and model.missing(_granted(system))
    if missing:
        raise CpuModelError(name, missing)
    return raw(model.entries(index, count))


def read(call: Call) -> tuple[CpuidEntry, ...]:
    """What a vCPU tells its guest. Source: api.rst, KVM_GET_CPUID2."""
    raw = ffi.new("struct kvm_cpuid2 *", {"nent": MAX_ENTRIES, "entries": MAX_ENTRIES})
    call("KVM_GET_CPUID2", raw)
    return _entries(raw)


@lru_cache(maxsize=1)
def _granted(system: System) -> tuple[CpuidEntry, ...]:
    """What a vCPU has once it is told the supported set, tried on a machine of its own.

    kvm_pvm adds what it cannot hide from CPL 3 to any CPUID, though it does not count it
    as supported.
    """
    vm_fd = call(system.fd, "KVM_CREATE_VM", 0)
    try:
        vcpu_fd = call(vm_fd, "KVM_CREATE_VCPU", 0)
        try:
            call(vcpu_fd, "KVM_SET_CPUID2", prepared(system, cpumodel.HOST, 0, 1))
            return read(partial(call, vcpu_fd))
        finally:
            os.close(vcpu_fd)
    finally:
        os.close(vm_fd)


def _of_host(entries: Sequence[CpuidEntry], index: int, count: int) -> list[CpuidEntry]:
    """The host's set with this machine's own topology; hypervisor leaves stay.

    Leaves of zeros go: a guest sees zeros there anyway, and KVM takes longer over more.
    """
    leaves = {entry.function for entry in entries}
    result = [
        _place(entry, index, count)
        for entry in entries
        if entry.function not in _TOPOLOGY_LEAVES and any(entry.registers)
    ]
    for function in _TOPOLOGY_LEAVES:
        if function in leaves:
            result += cpumodel.topology(function, index, count)
    return result


def _place(entry: CpuidEntry, index: int, count: int) -> CpuidEntry:
    """A leaf that tells of topology, with this machine's; another as it is."""
    match entry.function:
        case 1:
            return cpumodel.with_apic_id(entry, index, count)
        case 4 if entry.eax:  # bits 31:26: cores of the package less one
            return replace(entry, eax=entry.eax & 0x3FF_FFFF | min(count - 1, 0x3F) << 26)
        case 0x8000_0008 if entry.ecx:  # AMD APM vol. 3, appendix E.4.7
            width = (count - 1).bit_length()
            return replace(entry, ecx=entry.ecx & ~0xF0FF | min(count - 1, 0xFF) | width << 12)
        case 0x8000_001E:  # E.4.16
            return replace(entry, eax=index, ebx=index & 0xFF, ecx=0)
    return entry


def _with_deadline(entry: CpuidEntry) -> CpuidEntry:
    return replace(entry, ecx=entry.ecx | _TSC_DEADLINE) if entry.function == 1 else entry


def _entries(raw: Any) -> tuple[CpuidEntry, ...]:
    return tuple(
        CpuidEntry(
            each.function,
            each.index if each.flags & lib.KVM_CPUID_FLAG_SIGNIFCANT_INDEX else None,
            each.eax,
            each.ebx,
            each.ecx,
            each.edx,
        )
        for each in raw.entries[0 : raw.nent]
    )


def raw(entries: Sequence[CpuidEntry]) -> Any:
    """These leaves, as KVM_SET_CPUID2 takes them."""
    raw = ffi.new("struct kvm_cpuid2 *", {"nent": len(entries), "entries": len(entries)})
    for position, entry in enumerate(entries):
        each = raw.entries[position]
        each.function, each.eax, each.ebx = entry.function, entry.eax, entry.ebx
        each.ecx, each.edx = entry.ecx, entry.edx
        if entry.index is not None:
            each.index, each.flags = entry.index, lib.KVM_CPUID_FLAG_SIGNIFCANT_INDEX
    return raw
