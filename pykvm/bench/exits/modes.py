"""The same exits from real mode, protected mode, and long mode at CPL 0 and 3."""

from __future__ import annotations

from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.row import guest_row
from pykvm.bench.exits.user import IO_REASON, PORT, answer_natively
from pykvm.loader.image import Mode

_MODES = {
    Mode.REAL: "real mode",
    Mode.PROTECTED: "protected mode",
    Mode.LONG: "long mode, CPL 0",
    Mode.USER: "long mode, CPL 3",
}


def _port(mode: Mode) -> Loop:
    return Loop("out dx, al", f"mov edx, {PORT:#x}", mode=mode, wire=answer_natively)


def _cpuid(mode: Mode) -> Loop:
    return Loop("cpuid", "mov eax, 1", mode=mode)


ROWS = tuple(
    guest_row(f"{name}, {where}", "modes", make(mode), floor, reason, f"{what} from {where}")
    for name, make, floor, reason, what in (
        ("port out 1 B", _port, "KVM_RUN", IO_REASON, "OUT, answered in C,"),
        ("CPUID", _cpuid, "RDTSC pair", "VMX 10 CPUID, SVM 72h CPUID", "CPUID leaf 1"),
    )
    for mode, where in _MODES.items()
)
