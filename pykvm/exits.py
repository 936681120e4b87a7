"""Exits as frozen values: what the processor stopped for.

Source: KVM api.rst, "The kvm_run structure"; names in comments are its KVM_EXIT_*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Exit:
    """Base of all exits. `is_read` exits wait for an answer."""

    is_read: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """The exit's name in statistics and headers, e.g. "PortOut"."""
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class PortIn(Exit):
    """IN, or INS where count > 1. KVM_EXIT_IO. Answer: count elements of size bytes."""

    port: int
    size: int
    count: int = 1
    is_read: ClassVar[bool] = True

    def __str__(self) -> str:
        times = f" x{self.count}" if self.count > 1 else ""
        return f"in  port {self.port:#x} size {self.size}{times}"


@dataclass(frozen=True, slots=True)
class PortOut(Exit):
    """OUT, or OUTS where count > 1. KVM_EXIT_IO. `data` is little-endian."""

    port: int
    size: int
    data: bytes
    count: int = 1

    @property
    def value(self) -> int:
        """The first element as an unsigned number."""
        return int.from_bytes(self.data[: self.size], "little")

    def __str__(self) -> str:
        what = f"{self.value:#x}" if self.count == 1 else f"x{self.count} {self.data[:16].hex()}"
        return f"out port {self.port:#x} size {self.size} {what}"


@dataclass(frozen=True, slots=True)
class MmioRead(Exit):
    """A load from an address without memory. KVM_EXIT_MMIO."""

    gpa: int
    size: int
    is_read: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"mmio read  gpa {self.gpa:#x} size {self.size}"


@dataclass(frozen=True, slots=True)
class MmioWrite(Exit):
    """A store to an address without writable memory. KVM_EXIT_MMIO."""

    gpa: int
    size: int
    data: bytes

    @property
    def value(self) -> int:
        """The data as an unsigned number."""
        return int.from_bytes(self.data, "little")

    def __str__(self) -> str:
        return f"mmio write gpa {self.gpa:#x} size {self.size} {self.value:#x}"


@dataclass(frozen=True, slots=True)
class Halt(Exit):
    """HLT. KVM_EXIT_HLT; never seen where the interrupt chips are in the kernel."""

    def __str__(self) -> str:
        return "hlt"


@dataclass(frozen=True, slots=True)
class Hypercall(Exit):
    """VMCALL or VMMCALL passed on to user space. KVM_EXIT_HYPERCALL. Answer: rax."""

    number: int
    args: tuple[int, ...]
    is_read: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"hypercall {self.number:#x}"


@dataclass(frozen=True, slots=True)
class Shutdown(Exit):
    """Triple fault. KVM_EXIT_SHUTDOWN."""

    def __str__(self) -> str:
        return "shutdown (triple fault)"


@dataclass(frozen=True, slots=True)
class FailEntry(Exit):
    """The processor refused the guest's state. KVM_EXIT_FAIL_ENTRY."""

    reason: int
    cpu: int

    def __str__(self) -> str:
        return f"entry failed, hardware reason {self.reason:#x}"


@dataclass(frozen=True, slots=True)
class InternalError(Exit):
    """KVM gave up. KVM_EXIT_INTERNAL_ERROR; suberror 1: an instruction it cannot emulate."""

    suberror: int
    data: tuple[int, ...] = ()

    EMULATION: ClassVar[int] = 1  # KVM_INTERNAL_ERROR_EMULATION

    def __str__(self) -> str:
        if self.suberror == self.EMULATION:
            return "KVM refused to emulate this instruction (internal error, suberror 1)"
        return f"KVM internal error, suberror {self.suberror}"


@dataclass(frozen=True, slots=True)
class Debug(Exit):
    """A single step or breakpoint under guest debugging. KVM_EXIT_DEBUG."""

    exception: int
    rip: int
    dr6: int
    dr7: int

    def __str__(self) -> str:
        return f"debug exception {self.exception} at {self.rip:#x}"


@dataclass(frozen=True, slots=True)
class MsrRead(Exit):
    """RDMSR passed on to user space. KVM_EXIT_X86_RDMSR."""

    index: int
    is_read: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"rdmsr {self.index:#x}"


@dataclass(frozen=True, slots=True)
class MsrWrite(Exit):
    """WRMSR passed on to user space. KVM_EXIT_X86_WRMSR."""

    index: int
    value: int

    def __str__(self) -> str:
        return f"wrmsr {self.index:#x} {self.value:#x}"


@dataclass(frozen=True, slots=True)
class SystemEvent(Exit):
    """The guest asks for reset, shutdown or the like. KVM_EXIT_SYSTEM_EVENT."""

    type: int
    data: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"system event {self.type}"


@dataclass(frozen=True, slots=True)
class IrqWindow(Exit):
    """The guest can take an interrupt now. KVM_EXIT_IRQ_WINDOW_OPEN."""

    def __str__(self) -> str:
        return "interrupt window open"


@dataclass(frozen=True, slots=True)
class IoapicEoi(Exit):
    """End of a level interrupt, split irqchip. KVM_EXIT_IOAPIC_EOI."""

    vector: int

    def __str__(self) -> str:
        return f"end of interrupt, vector {self.vector:#x}"


@dataclass(frozen=True, slots=True)
class DirtyRingFull(Exit):
    """The dirty ring needs collecting. KVM_EXIT_DIRTY_RING_FULL."""

    def __str__(self) -> str:
        return "dirty ring full"


@dataclass(frozen=True, slots=True)
class Interrupted(Exit):
    """Another thread, or a device, called stop()."""

    def __str__(self) -> str:
        return "interrupted"


@dataclass(frozen=True, slots=True)
class Timeout(Exit):
    """The run's time is over."""

    def __str__(self) -> str:
        return "timeout"


@dataclass(frozen=True, slots=True)
class Unknown(Exit):
    """An exit reason that this version does not know."""

    reason: int

    def __str__(self) -> str:
        return f"unknown exit reason {self.reason}"
