"""One KVM virtual processor: running it, and its registers."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend import kinds
from pykvm.backend.kvm.system import System, call
from pykvm.errors import ClosedError, KvmError
from pykvm.exits import Exit
from pykvm.registers import (
    CONTROL,
    GENERAL,
    SEGMENTS,
    TABLES,
    Registers,
    Segment,
    SpecialRegisters,
    Table,
)

_SEGMENT_FIELDS = [
    "base",
    "limit",
    "selector",
    "type",
    "present",
    "dpl",
    "db",
    "s",
    "l",
    "g",
    "avl",
    "unusable",
]


class KvmVcpu:
    """A vCPU file descriptor, its run page, and the native run loop's state."""

    def __init__(self, system: System, vm_fd: int, natives: Any, index: int) -> None:
        self.index = index
        self.system = system
        self.fd = call(vm_fd, "KVM_CREATE_VCPU", index)
        self._map = mmap.mmap(self.fd, system.run_size_bytes)
        self._page: Any = ffi.from_buffer("uint8_t[]", self._map, require_writable=True)
        self.run_page: Any = ffi.cast("struct kvm_run *", self._page)
        self._native: Any = lib.pykvm_vcpu_create(self.fd, self.run_page, natives)
        self._lock = threading.Lock()
        self.raw: Any = ffi.addressof(self._native, "exit")
        self.enter: Callable[[], int] = partial(lib.pykvm_vcpu_run, self._native)

    def exit(self, key: int) -> Exit:
        """The last exit as a value."""
        return kinds.exit_value(key, self.raw)

    def answer(self, exit: Exit, value: int | bytes, *, fault: bool = False) -> None:
        """Answer a read exit; delivered at the next entry."""
        kinds.answer(self.raw, exit, value, fault)

    def complete(self) -> int:
        """Finish the last exit's instruction. Source: api.rst, "immediate_exit"."""
        return int(lib.pykvm_vcpu_complete(self._open()))

    def begin(self, timeout_ns: int | None) -> None:
        """Start the tick that bounds this thread's runs."""
        deadline_ns = 0 if timeout_ns is None else time.monotonic_ns() + timeout_ns
        result = lib.pykvm_vcpu_begin(self._open(), deadline_ns)
        if result < 0:
            raise KvmError("timer_create", -result)

    def end(self) -> None:
        """Stop the tick."""
        if self._native:
            lib.pykvm_vcpu_end(self._native)

    def stop(self) -> None:
        """Interrupt from any thread; nothing happens once the vCPU is closed."""
        with self._lock:
            if self._native:
                lib.pykvm_vcpu_stop(self._native)

    def exit_counts(self) -> Mapping[str, int]:
        """Exits by name."""
        counts: dict[str, int] = {}
        native = self._open()
        for kind, name in kinds.NAMES.items():
            if native.counts[kind]:
                counts[name] = counts.get(name, 0) + native.counts[kind]
        return counts

    @property
    def native_count(self) -> int:
        """How many of those exits were answered without Python."""
        return int(self._open().native_count)

    def _open(self) -> Any:
        if not self._native:
            raise ClosedError("vCPU")
        return self._native

    def get_registers(self) -> Registers:
        """General registers. Source: api.rst §4.11."""
        raw = ffi.new("struct kvm_regs *")
        self._call("KVM_GET_REGS", raw)
        return Registers(*[getattr(raw, name) for name in GENERAL])

    def set_registers(self, registers: Registers) -> None:
        """Set all general registers. Source: api.rst §4.12."""
        raw = ffi.new("struct kvm_regs *", {name: getattr(registers, name) for name in GENERAL})
        self._call("KVM_SET_REGS", raw)

    def get_special(self) -> SpecialRegisters:
        """Segment, table and control registers. Source: api.rst §4.13."""
        raw = ffi.new("struct kvm_sregs *")
        self._call("KVM_GET_SREGS", raw)
        special = SpecialRegisters()
        for name in SEGMENTS:
            setattr(special, name, _segment(getattr(raw, name)))
        for name in TABLES:
            table = getattr(raw, name)
            setattr(special, name, Table(table.base, table.limit))
        for name in CONTROL:
            setattr(special, name, getattr(raw, name))
        return special

    def set_special(self, special: SpecialRegisters) -> None:
        """Set segment, table and control registers; a pending interrupt stays. §4.14."""
        raw = ffi.new("struct kvm_sregs *")
        self._call("KVM_GET_SREGS", raw)
        for name in SEGMENTS:
            source, target = getattr(special, name), getattr(raw, name)
            for each in _SEGMENT_FIELDS:
                setattr(target, each, getattr(source, each))
        for name in TABLES:
            getattr(raw, name).base = getattr(special, name).base
            getattr(raw, name).limit = getattr(special, name).limit
        for name in CONTROL:
            setattr(raw, name, getattr(special, name))
        self._call("KVM_SET_SREGS", raw)

    def get_msrs(self, indices: list[int]) -> dict[int, int]:
        """Model-specific registers by index; those that KVM does not know are left out."""
        raw = ffi.new("struct kvm_msrs *", {"nmsrs": len(indices), "entries": len(indices)})
        for position, index in enumerate(indices):
            raw.entries[position].index = index
        got = self._call("KVM_GET_MSRS", raw)
        return {raw.entries[i].index: raw.entries[i].data for i in range(got)}

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """Set model-specific registers.

        Raises:
            KvmError: KVM refused one of them, which it names.
        """
        raw = ffi.new("struct kvm_msrs *", {"nmsrs": len(values), "entries": len(values)})
        for position, (index, value) in enumerate(values.items()):
            raw.entries[position].index = index
            raw.entries[position].data = value
        done = self._call("KVM_SET_MSRS", raw)
        if done < len(values):
            refused = list(values)[done]
            raise KvmError(
                "KVM_SET_MSRS", 22, f"MSR {refused:#x} = {values[refused]:#x} was refused"
            )

    def _call(self, request: str, argument: Any) -> int:
        self._open()
        return call(self.fd, request, argument)

    def close(self) -> None:
        """Give the descriptor and the run page back."""
        with self._lock:
            if not self._native:
                return
            lib.pykvm_vcpu_destroy(self._native)
            self._native = None
        self.enter = _closed
        self.raw = self.run_page = None
        ffi.release(self._page)
        self._map.close()
        os.close(self.fd)


def _segment(raw: Any) -> Segment:
    return Segment(*[getattr(raw, name) for name in _SEGMENT_FIELDS])


def _closed() -> int:
    raise ClosedError("vCPU")
