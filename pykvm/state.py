"""State of processors and chips beyond the registers, as plain values of no one backend.

Together with `pykvm.registers` this is what a machine consists of besides its memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import Enum

# The first 512 bytes of an FXSAVE or XSAVE area: control part, then ST and XMM in 16 bytes
# each. Source: Intel SDM vol. 1 §10.5.1 (64-bit form with REX.W).
_FXSAVE_CONTROL = struct.Struct("<HHBxHQQI4x")
_FXSAVE_ST, _FXSAVE_XMM, _FXSAVE_SIZE = 32, 160, 512
_SLOT_SIZE = 16


@dataclass(frozen=True, slots=True)
class Fpu:
    """x87 and SSE state. Source: Intel SDM vol. 1 §8.1, §10.2.

    Attributes:
        st: ST(0) to ST(7), each an 80-bit number.
        fcw, fsw: control and status word.
        ftw: abridged tag word: a bit per register, 0 for empty.
        last_opcode, last_ip, last_dp: of the last x87 instruction.
        xmm: XMM0 to XMM15, each a 128-bit number.
        mxcsr: SSE control and status.
    """

    st: tuple[int, ...] = (0,) * 8
    fcw: int = 0x37F
    fsw: int = 0
    ftw: int = 0
    last_opcode: int = 0
    last_ip: int = 0
    last_dp: int = 0
    xmm: tuple[int, ...] = (0,) * 16
    mxcsr: int = 0x1F80

    @classmethod
    def from_fxsave(cls, area: bytes) -> Fpu:
        """What an FXSAVE area, or the beginning of an XSAVE area, holds."""
        fcw, fsw, ftw, opcode, ip, dp, mxcsr = _FXSAVE_CONTROL.unpack_from(area)
        st, xmm = _slots(area, _FXSAVE_ST, 8), _slots(area, _FXSAVE_XMM, 16)
        st = tuple(each & (1 << 80) - 1 for each in st)
        return cls(st, fcw, fsw, ftw, opcode, ip, dp, xmm, mxcsr)

    def to_fxsave(self) -> bytes:
        """The same as an FXSAVE area."""
        control = _FXSAVE_CONTROL.pack(
            self.fcw, self.fsw, self.ftw, self.last_opcode, self.last_ip, self.last_dp, self.mxcsr
        )
        slots = (each.to_bytes(_SLOT_SIZE, "little") for each in (*self.st, *self.xmm))
        return (control + b"".join(slots)).ljust(_FXSAVE_SIZE, b"\0")


def _slots(area: bytes, offset: int, count: int) -> tuple[int, ...]:
    starts = range(offset, offset + count * _SLOT_SIZE, _SLOT_SIZE)
    return tuple(int.from_bytes(area[start : start + _SLOT_SIZE], "little") for start in starts)


@dataclass(frozen=True, slots=True)
class Events:
    """Exceptions, interrupts and NMIs that a processor is about to take, or has just taken.

    "Injected" is being delivered: it comes whatever the guest does. "Pending" waits for
    its turn.

    Attributes:
        exception_error_code: None for exceptions without one.
        interrupt_soft: it comes from INT n.
        interrupt_shadow: bits, 1 after MOV SS, 2 after STI: no interrupt right now.
        nmi_masked: an NMI is being handled; the next waits for IRET.
    """

    exception_injected: bool = False
    exception_pending: bool = False
    exception_vector: int = 0
    exception_error_code: int | None = None
    interrupt_injected: bool = False
    interrupt_vector: int = 0
    interrupt_soft: bool = False
    interrupt_shadow: int = 0
    nmi_injected: bool = False
    nmi_pending: bool = False
    nmi_masked: bool = False


class MpState(Enum):
    """Whether a processor runs. Source: Intel SDM vol. 3A §8.4.1."""

    RUNNABLE = "runnable"
    UNINITIALIZED = "uninitialized"  # waits for INIT
    INIT_RECEIVED = "init received"  # waits for SIPI
    SIPI_RECEIVED = "sipi received"
    HALTED = "halted"  # HLT, waits for an interrupt


@dataclass(frozen=True, slots=True)
class DebugRegisters:
    """DR0 to DR3, DR6, DR7. Source: Intel SDM vol. 3B §17.2; the defaults are those of reset."""

    addresses: tuple[int, int, int, int] = (0, 0, 0, 0)
    dr6: int = 0xFFFF_0FF0
    dr7: int = 0x400


@dataclass(frozen=True, slots=True)
class IrqchipState:
    """The interrupt controllers of a machine, each in KVM's layout.

    Attributes:
        pic_master, pic_slave: the 8259s.
        ioapic: the I/O APIC.
    """

    pic_master: bytes
    pic_slave: bytes
    ioapic: bytes


@dataclass(frozen=True, slots=True)
class Clock:
    """The guest's paravirtual clock.

    Attributes:
        ns: nanoseconds since the machine was made.
        realtime_ns: the host's wall clock at that moment; None where it was not taken.
        host_tsc: the host's time stamp counter then; None where it was not taken.
        stable: every processor sees the same clock.
    """

    ns: int
    realtime_ns: int | None = None
    host_tsc: int | None = None
    stable: bool = field(default=False, compare=False)
