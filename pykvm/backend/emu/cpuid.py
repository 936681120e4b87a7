"""CPUID: what an emulated processor tells its guest about itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from pykvm import cpumodel
from pykvm._native import ffi, lib
from pykvm.cpumodel import CpuidEntry
from pykvm.errors import CpuModelError

_ANY: int = lib.EMU_CPUID_ANY
_MAX_ENTRIES = 128
_TOPOLOGY_LEAF = 0xB


@cache
def supported() -> tuple[CpuidEntry, ...]:
    """Everything that the emulator implements."""
    raw = ffi.new("struct emu_cpuid[]", _MAX_ENTRIES)
    count = lib.emu_cpuid_supported(raw, _MAX_ENTRIES)
    return tuple(
        CpuidEntry(
            each.leaf,
            None if each.subleaf == _ANY else each.subleaf,
            each.eax,
            each.ebx,
            each.ecx,
            each.edx,
        )
        for each in raw[0:count]
    )


class CpuidTable(NamedTuple):
    """What a processor's CPUID tells: the lines, and the same as an array of struct emu_cpuid."""

    entries: tuple[CpuidEntry, ...]
    raw: Any


@lru_cache(maxsize=64)
def prepared(name: str, index: int, count: int) -> CpuidTable:
    """The table that makes a processor the named model.

    Args:
        index: of the processor; its APIC id.
        count: how many the machine has.

    Raises:
        UsageError: there is no such model.
        CpuModelError: the emulator lacks a feature of the model.
    """
    model = cpumodel.find(name)
    if model is None:
        entries = [
            cpumodel.with_apic_id(entry, index, count) if entry.function == 1 else entry
            for entry in supported()
            if entry.function != _TOPOLOGY_LEAF
        ]
        entries += cpumodel.topology(_TOPOLOGY_LEAF, index, count)
    else:
        if missing := model.missing(supported()):
            raise CpuModelError(name, missing)
        entries = list(model.entries(index, count))
    return table(entries)


def table(entries: Sequence[CpuidEntry]) -> CpuidTable:
    """These lines, as the emulator takes them."""
    return CpuidTable(tuple(entries), _raw(entries))


def _raw(entries: Sequence[CpuidEntry]) -> Any:
    raw = ffi.new("struct emu_cpuid[]", len(entries))
    for each, entry in zip(raw, entries, strict=True):
        each.leaf, each.subleaf = entry.function, _ANY if entry.index is None else entry.index
        each.eax, each.ebx, each.ecx, each.edx = entry.registers
    return raw
