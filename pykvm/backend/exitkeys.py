"""The kinds of exit, the keys that `Vcpu.enter` returns, and how each becomes a value.

A key is a kind; for a single access its size; for one to a port the port and, for a write,
the value too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm import exits
from pykvm._native import ffi, lib

AGAIN: int = lib.PYKVM_AGAIN
PORT_IN: int = lib.PYKVM_PORT_IN
PORT_OUT: int = lib.PYKVM_PORT_OUT
PORT_IN_STRING: int = lib.PYKVM_PORT_IN_STRING
PORT_OUT_STRING: int = lib.PYKVM_PORT_OUT_STRING
MMIO_READ: int = lib.PYKVM_MMIO_READ
MMIO_WRITE: int = lib.PYKVM_MMIO_WRITE
HALT: int = lib.PYKVM_HALT
HYPERCALL: int = lib.PYKVM_HYPERCALL
SHUTDOWN: int = lib.PYKVM_SHUTDOWN
FAIL_ENTRY: int = lib.PYKVM_FAIL_ENTRY
INTERNAL_ERROR: int = lib.PYKVM_INTERNAL_ERROR
DEBUG: int = lib.PYKVM_DEBUG
MSR_READ: int = lib.PYKVM_MSR_READ
MSR_WRITE: int = lib.PYKVM_MSR_WRITE
SYSTEM_EVENT: int = lib.PYKVM_SYSTEM_EVENT
IRQ_WINDOW: int = lib.PYKVM_IRQ_WINDOW
IOAPIC_EOI: int = lib.PYKVM_IOAPIC_EOI
DIRTY_RING_FULL: int = lib.PYKVM_DIRTY_RING_FULL
INTERRUPTED: int = lib.PYKVM_INTERRUPTED
TIMEOUT: int = lib.PYKVM_TIMEOUT
UNKNOWN: int = lib.PYKVM_UNKNOWN
ERROR: int = lib.PYKVM_ERROR

# Or-ed to a key while a native console holds output.
OUTPUT_PENDING: int = lib.PYKVM_OUTPUT_PENDING
KIND_MASK: int = lib.PYKVM_KIND_MASK
# What is above it is the address; in an ERROR's key the system's error number.
PORT_SHIFT: int = lib.PYKVM_PORT_SHIFT


def _little(raw: Any) -> bytes:
    return int(raw.value).to_bytes(8, "little")[: raw.size]


def _args(raw: Any) -> tuple[int, ...]:
    return tuple(raw.args[0 : raw.nargs])


def _string(raw: Any) -> bytes:
    return bytes(ffi.buffer(raw.data, raw.size * raw.count))


_VALUES: dict[int, Callable[[Any], exits.Exit]] = {
    PORT_IN: lambda raw: exits.PortIn(raw.address, raw.size),
    PORT_OUT: lambda raw: exits.PortOut(raw.address, raw.size, _little(raw)),
    PORT_IN_STRING: lambda raw: exits.PortIn(raw.address, raw.size, raw.count),
    PORT_OUT_STRING: lambda raw: exits.PortOut(raw.address, raw.size, _string(raw), raw.count),
    MMIO_READ: lambda raw: exits.MmioRead(raw.address, raw.size),
    MMIO_WRITE: lambda raw: exits.MmioWrite(raw.address, raw.size, _little(raw)),
    HALT: lambda raw: exits.Halt(),
    HYPERCALL: lambda raw: exits.Hypercall(raw.address, _args(raw)),
    SHUTDOWN: lambda raw: exits.Shutdown(),
    FAIL_ENTRY: lambda raw: exits.FailEntry(raw.address, raw.value),
    INTERNAL_ERROR: lambda raw: exits.InternalError(raw.address, _args(raw)),
    DEBUG: lambda raw: exits.Debug(raw.address, *_args(raw)),
    MSR_READ: lambda raw: exits.MsrRead(raw.address),
    MSR_WRITE: lambda raw: exits.MsrWrite(raw.address, raw.value),
    SYSTEM_EVENT: lambda raw: exits.SystemEvent(raw.address, _args(raw)),
    IRQ_WINDOW: lambda raw: exits.IrqWindow(),
    IOAPIC_EOI: lambda raw: exits.IoapicEoi(raw.address),
    DIRTY_RING_FULL: lambda raw: exits.DirtyRingFull(),
    INTERRUPTED: lambda raw: exits.Interrupted(),
    TIMEOUT: lambda raw: exits.Timeout(),
    UNKNOWN: lambda raw: exits.Unknown(raw.address),
}

# The exit's name in statistics; both forms of port I/O count as one.
NAMES = {
    PORT_IN: "PortIn", PORT_OUT: "PortOut", PORT_IN_STRING: "PortIn", PORT_OUT_STRING: "PortOut",
    MMIO_READ: "MmioRead", MMIO_WRITE: "MmioWrite", HALT: "Halt", HYPERCALL: "Hypercall",
    SHUTDOWN: "Shutdown", FAIL_ENTRY: "FailEntry", INTERNAL_ERROR: "InternalError",
    DEBUG: "Debug", MSR_READ: "MsrRead", MSR_WRITE: "MsrWrite", SYSTEM_EVENT: "SystemEvent",
    IRQ_WINDOW: "IrqWindow", IOAPIC_EOI: "IoapicEoi", DIRTY_RING_FULL: "DirtyRingFull",
    UNKNOWN: "Unknown",
}  # fmt: skip


def exit_value(key: int, raw: Any) -> exits.Exit:
    """The exit that a key names, from the backend's numbers."""
    return _VALUES[key & KIND_MASK](raw)


def answered(raw: Any, exit: exits.Exit) -> int | bytes | None:
    """What the guest gets for a read or MSR exit; None for other exits, and where it faults."""
    if isinstance(exit, exits.MsrRead | exits.MsrWrite) and raw.error:
        return None
    if isinstance(exit, exits.PortIn) and exit.count > 1:
        return _string(raw)
    if exit.is_read or isinstance(exit, exits.MsrWrite):
        return int(raw.value) & (1 << 8 * int(raw.size)) - 1
    return None


def answer(raw: Any, exit: exits.Exit, value: int | bytes, fault: bool) -> None:
    """Put the answer to a read where the backend delivers it from."""
    raw.error = fault
    if isinstance(exit, exits.PortIn) and exit.count > 1:
        size_bytes = exit.size * exit.count
        data = (
            value if isinstance(value, bytes) else value.to_bytes(exit.size, "little") * exit.count
        )
        ffi.memmove(raw.data, data[:size_bytes].ljust(size_bytes, b"\0"), size_bytes)
    elif isinstance(value, bytes):
        raw.value = int.from_bytes(value[:8], "little")
    else:
        raw.value = value & 0xFFFF_FFFF_FFFF_FFFF
