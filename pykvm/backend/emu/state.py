"""An emulated processor's state beyond its registers, as `pykvm.state` and XSAVE have it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from pykvm._native import ffi, lib
from pykvm.backend.emu.registers import RegisterAccess
from pykvm.cpumodel import CpuidEntry
from pykvm.errors import RegisterError, UsageError
from pykvm.registers import RFLAGS_IF
from pykvm.state import DebugRegisters, Events, Fpu

# The XSAVE area, Intel SDM vol. 1 §13.4: legacy part, header, upper halves of YMM; and PKRU, where
# CPUID says.
_XSTATE_BV, _AVX_OFFSET, _AVX_SIZE = 512, 576, 256
_XSAVE_SIZE = 4096  # as KVM's smallest, so that areas move between backends
_XSTATE_X87, _XSTATE_SSE, _XSTATE_AVX, _XSTATE_PKRU = 1, 2, 4, 1 << 9
_XCR0_VALUES = tuple(vectors | keys for vectors in (1, 3, 7) for keys in (0, _XSTATE_PKRU))
_XSTATE_LEAF, _PKRU_COMPONENT = 0xD, 9
_XMM, _YMM = struct.Struct("<32Q"), struct.Struct("<64Q")
_INTERRUPT, _NMI, _FAULT = lib.EMU_EVENT_INTERRUPT, lib.EMU_EVENT_NMI, lib.EMU_EVENT_FAULT
_DB_VECTOR, _NMI_VECTOR = 1, 2
_SHADOW_STI = 2


class StateAccess(RegisterAccess):
    """The part of a processor that reads and writes such state."""

    def get_fpu(self) -> Fpu:
        """x87 and SSE state."""
        return _fpu(self.get_state())

    def set_fpu(self, fpu: Fpu) -> None:
        """Set x87 and SSE state."""
        state = self.get_state()
        _set_fpu(state, fpu)
        self.set_state(state)

    @property
    def xsave_size_bytes(self) -> int:
        """Length of what `get_xsave` gives."""
        return _XSAVE_SIZE

    def get_xsave(self) -> bytes:
        """All state of XSAVE, in the standard form of the area: x87, SSE, AVX and PKRU."""
        state = self.get_state()
        vec = _vec(state)
        upper = struct.pack("<32Q", *(vec[4 * i + part] for i in range(16) for part in (2, 3)))
        used = _XSTATE_X87 | _XSTATE_SSE | (_XSTATE_AVX if any(upper) else 0)
        at = self._pkru_offset()
        if at and state.pkru:
            used |= _XSTATE_PKRU
        header = used.to_bytes(8, "little").ljust(_AVX_OFFSET - _XSTATE_BV, b"\0")
        area = (_fpu(state).to_fxsave() + header + upper).ljust(_XSAVE_SIZE, b"\0")
        return area[:at] + state.pkru.to_bytes(4, "little") + area[at + 4 :] if at else area

    def set_xsave(self, area: bytes) -> None:
        """Set all state of XSAVE; what the emulator has no place for is left out.

        Raises:
            UsageError: smaller than `xsave_size_bytes`.
        """
        if len(area) < _XSAVE_SIZE:
            raise UsageError(f"an XSAVE area has {_XSAVE_SIZE} bytes at least, not {len(area)}")
        used = int.from_bytes(area[_XSTATE_BV : _XSTATE_BV + 8], "little")
        fpu, initial = Fpu.from_fxsave(area), Fpu()
        x87, sse = (fpu if used & bit else initial for bit in (_XSTATE_X87, _XSTATE_SSE))
        state = self.get_state()
        _set_fpu(
            state,
            Fpu(
                x87.st, x87.fcw, x87.fsw, x87.ftw, x87.last_opcode, x87.last_ip, x87.last_dp,
                sse.xmm, fpu.mxcsr,
            ),
        )  # fmt: skip
        upper = area[_AVX_OFFSET : _AVX_OFFSET + _AVX_SIZE]
        values = _XMM.unpack(upper if used & _XSTATE_AVX else bytes(_AVX_SIZE))
        for i in range(16):
            state.vec[i][2], state.vec[i][3] = values[2 * i], values[2 * i + 1]
        at = self._pkru_offset()
        state.pkru = int.from_bytes(area[at : at + 4], "little") if used & _XSTATE_PKRU else 0
        self.set_state(state)

    def _pkru_offset(self) -> int:
        """Where PKRU is in the area; 0 where CPUID does not have it."""
        return next(
            (
                entry.ebx
                for entry in self.get_cpuid()
                if (entry.function, entry.index) == (_XSTATE_LEAF, _PKRU_COMPONENT)
            ),
            0,
        )

    def get_cpuid(self) -> tuple[CpuidEntry, ...]:
        """What CPUID tells the guest."""
        raise NotImplementedError

    def get_xcrs(self) -> dict[int, int]:
        """Extended control registers by number; XCR0 is the one there is."""
        return {0: self.get_state().xcr0}

    def set_xcrs(self, values: Mapping[int, int]) -> None:
        """Set extended control registers.

        Raises:
            UsageError: another one than XCR0.
            RegisterError: XCR0 cannot be so: it holds x87, and AVX not without SSE.
        """
        if set(values) - {0}:
            raise UsageError(f"there is XCR0 alone, not {', '.join(map(str, values))}")
        if values.get(0, _XSTATE_X87) not in _XCR0_VALUES:
            raise RegisterError("xcr0", f"cannot be {values[0]:#x}")
        state = self.get_state()
        state.xcr0 = values.get(0, state.xcr0)
        self.set_state(state)

    def get_events(self) -> Events:
        """Exceptions, interrupts and NMIs on their way."""
        state = self.get_state()
        pending = bool(state.event_pending)
        fault, interrupt = (pending and state.event_type == kind for kind in (_FAULT, _INTERRUPT))
        vector = state.event_vector if interrupt else state.interrupt_vector
        return Events(
            exception_injected=fault,
            exception_pending=bool(state.trap),
            exception_vector=state.event_vector if fault else _DB_VECTOR if state.trap else 0,
            exception_error_code=state.event_error if fault and state.event_has_error else None,
            interrupt_injected=interrupt or bool(state.interrupt_waits),
            interrupt_vector=vector,
            interrupt_shadow=_SHADOW_STI if state.shadow else 0,
            nmi_injected=pending and state.event_type == _NMI,
            nmi_pending=bool(state.nmi_pending),
            nmi_masked=bool(state.nmi_blocked),
        )

    def set_events(self, events: Events) -> None:
        """Set exceptions, interrupts and NMIs on their way."""
        state = self.get_state()
        state.nmi_pending, state.nmi_blocked = events.nmi_pending, events.nmi_masked
        state.shadow = bool(events.interrupt_shadow)
        state.trap = state.interrupt_waits = 0
        fault = events.exception_injected or events.exception_pending
        # One that came while interrupts were off cannot be under way: it waits.
        waits = events.interrupt_injected and not state.rflags & RFLAGS_IF
        state.event_pending = fault or events.nmi_injected or events.interrupt_injected
        state.event_has_error = False
        if waits or (events.interrupt_injected and (fault or events.nmi_injected)):
            state.interrupt_waits, state.interrupt_vector = True, events.interrupt_vector
            state.event_pending = fault or events.nmi_injected
        if fault:
            state.event_type, state.event_vector = _FAULT, events.exception_vector
            state.event_has_error = events.exception_error_code is not None
            state.event_error = events.exception_error_code or 0
        elif events.nmi_injected:
            state.event_type, state.event_vector = _NMI, _NMI_VECTOR
        elif state.event_pending:
            state.event_type, state.event_vector = _INTERRUPT, events.interrupt_vector
        self.set_state(state)

    def get_debug_registers(self) -> DebugRegisters:
        """The guest's own debug registers."""
        state = self.get_state()
        dr = state.dr
        return DebugRegisters((dr[0], dr[1], dr[2], dr[3]), dr[6] | state.trap, dr[7])

    def set_debug_registers(self, registers: DebugRegisters) -> None:
        """Set the guest's own debug registers."""
        state = self.get_state()
        for number, address in enumerate(registers.addresses):
            state.dr[number] = address
        state.dr[6], state.dr[7] = registers.dr6, registers.dr7
        self.set_state(state)


def _vec(state: Any) -> tuple[int, ...]:
    return _YMM.unpack_from(ffi.buffer(state), ffi.offsetof("struct emu_state", "vec"))


def _fpu(state: Any) -> Fpu:
    vec = _vec(state)
    return Fpu(
        st=tuple(each[0] | (each[1] & 0xFFFF) << 64 for each in state.st),
        fcw=state.fcw,
        fsw=state.fsw,
        ftw=state.ftw,
        last_opcode=state.fop,
        last_ip=state.fip,
        last_dp=state.fdp,
        xmm=tuple(vec[4 * i] | vec[4 * i + 1] << 64 for i in range(16)),
        mxcsr=state.mxcsr,
    )


def _set_fpu(state: Any, fpu: Fpu) -> None:
    mask = (1 << 64) - 1
    for number, value in enumerate(fpu.st):
        state.st[number][0], state.st[number][1] = value & mask, value >> 64
    for number, value in enumerate(fpu.xmm):
        state.vec[number][0], state.vec[number][1] = value & mask, value >> 64
    state.fcw, state.fsw, state.ftw, state.fop = fpu.fcw, fpu.fsw, fpu.ftw, fpu.last_opcode
    state.fip, state.fdp, state.mxcsr = fpu.last_ip, fpu.last_dp, fpu.mxcsr
