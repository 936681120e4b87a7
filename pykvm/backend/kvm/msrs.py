"""Model-specific registers: of a vCPU, or of the system where they describe its features."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pykvm._native import ffi
from pykvm.errors import KvmError

Call = Callable[[str, Any], int]  # of one file descriptor

MAX_ENTRIES = 255  # KVM takes fewer than 256 in one call


def _entries(values: Sequence[tuple[int, int]]) -> Any:
    raw = ffi.new("struct kvm_msrs *", {"nmsrs": len(values), "entries": len(values)})
    for position, (index, value) in enumerate(values):
        entry = raw.entries[position]
        entry.index, entry.data = index, value
    return raw


def read(call: Call, indices: Sequence[int]) -> dict[int, int]:
    """Values by index; those that KVM does not know are left out. Source: api.rst §4.18."""
    values: dict[int, int] = {}
    rest = list(indices)
    while rest:
        raw = _entries([(index, 0) for index in rest[:MAX_ENTRIES]])
        count = call("KVM_GET_MSRS", raw)
        values |= {entry.index: entry.data for entry in raw.entries[0:count]}
        stopped_early = count < raw.nmsrs
        rest = rest[count + stopped_early :]
    return values


def write(call: Call, values: Mapping[int, int]) -> None:
    """Set values, in order.

    Raises:
        KvmError: KVM refused one of them, which it names; those before it are set.

    Source: api.rst §4.19.
    """
    rest = list(values.items())
    while rest:
        part, rest = rest[:MAX_ENTRIES], rest[MAX_ENTRIES:]
        done = call("KVM_SET_MSRS", _entries(part))
        if done < len(part):
            index, value = part[done]
            raise KvmError("KVM_SET_MSRS", errno.EINVAL, f"MSR {index:#x} = {value:#x} was refused")
