"""Exits that are handled in user space, each answered natively and by a Python method."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from pykvm import layout
from pykvm.backend import exitkeys
from pykvm.backend.types import MsrExitReason
from pykvm.bench.exits.guest import Batches, GuestSampler
from pykvm.bench.exits.loop import Loop, Serve
from pykvm.bench.exits.passing import by_python, natively
from pykvm.bench.exits.row import Row, guest_row
from pykvm.bench.figures import median
from pykvm.bench.sampler import Samples, turns
from pykvm.machine import Machine

PORT = layout.SCRATCH_PORT
GPA = layout.SCRATCH_BASE
STRING_BASE = 0x30_0000
_SPACE = 8  # bytes that the measured device claims
_UNKNOWN_MSR = 0x1234_5678
ADDED = "python handler adds"

IO_REASON = "VMX 30 I/O instruction, SVM 7bh IOIO"
MMIO_REASON = "VMX 48 EPT violation or 49 EPT misconfiguration, SVM 400h NPF"
_REGISTER = {1: "al", 2: "ax", 4: "eax", 8: "rax"}
_NATIVE, _PYTHON = "native", "python"
_MEANING = {_NATIVE: "answered in C", _PYTHON: "answered by a Python method"}


class Handler:
    """The smallest device that Python can answer with."""

    def read(self, offset: int, size_bytes: int) -> int:
        """Nothing is there."""
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Nothing happens."""


def claim(machine: Machine, stack: ExitStack) -> None:
    """Let Python answer."""
    machine.ports.claim(PORT, _SPACE, Handler(), "measured")
    machine.mmio.claim(GPA, _SPACE, Handler(), "measured")


def answer_natively(machine: Machine, stack: ExitStack) -> None:
    """Let C answer."""
    machine.vm.add_scratch(PORT, _SPACE, port=True)
    machine.vm.add_scratch(GPA, _SPACE)


_ANSWERS = {_NATIVE: answer_natively, _PYTHON: claim}


def port_loop(way: str, size: int, answer: str = _NATIVE) -> Loop:
    """One IN or OUT."""
    register = _REGISTER[size]
    operation = f"out dx, {register}" if way == "out" else f"in {register}, dx"
    return Loop(operation, f"mov edx, {PORT:#x}", wire=_ANSWERS[answer])


def mmio_loop(way: str, size: int, answer: str = _NATIVE) -> Loop:
    """One load or store."""
    register = _REGISTER[size]
    operation = f"mov [rbx], {register}" if way == "write" else f"mov {register}, [rbx]"
    return Loop(operation, setup=f"mov rbx, {GPA:#x}", wire=_ANSWERS[answer])


def _string_loop(way: str, size: int, answer: str) -> Loop:
    given = (
        f"mov edx, {PORT:#x}\n    mov esi, {STRING_BASE:#x}\n"
        f"    mov edi, {STRING_BASE:#x}\n    mov ecx, {size}"
    )
    return Loop(f"rep {way}b", given, wire=_ANSWERS[answer])


def _device_rows() -> list[Row]:
    rows = []
    for answer, meaning in _MEANING.items():
        for size in (1, 2, 4):
            for way in ("out", "in"):
                loop = port_loop(way, size, answer)
                rows.append(_row(f"port {way} {size} B", answer, loop, IO_REASON, meaning))
        for size in (16, 4096):
            for way in ("outs", "ins"):
                loop = _string_loop(way, size, answer)
                text = f"REP {way.upper()}B, {meaning}"
                rows.append(_row(f"port {way} {size} B", answer, loop, IO_REASON, text))
        for size in (1, 2, 4, 8):
            for way in ("write", "read"):
                loop = mmio_loop(way, size, answer)
                rows.append(_row(f"MMIO {way} {size} B", answer, loop, MMIO_REASON, meaning))
    return rows


def _row(name: str, answer: str, loop: Loop, reason: str, text: str) -> Row:
    return guest_row(f"{name}, {answer}", "user", loop, "KVM_RUN", reason, text)


# What no bus answers: native code enters again at once, or Python takes the exit and does.
_PASSES = {_NATIVE: natively, _PYTHON: by_python}
_PASS_MEANING = {
    _NATIVE: "C enters the guest again at once",
    _PYTHON: "Python takes the exit as a value and enters the guest again",
}


def _want_msr_exits(machine: Machine, stack: ExitStack) -> None:
    machine.vm.enable_msr_exits(MsrExitReason.UNKNOWN | MsrExitReason.INVALID)


def _single_step(machine: Machine) -> None:
    machine.vcpu.set_guest_debug(single_step=True)


def _other_loops(serve: dict[int, Serve]) -> dict[str, tuple[Loop, str, str]]:
    given = f"mov ecx, {_UNKNOWN_MSR:#x}"
    return {
        "HLT": (
            Loop("hlt", serve=serve[exitkeys.HALT]), "VMX 12 HLT, SVM 78h HLT",
            "without chips in the kernel",
        ),
        "RDMSR to user space": (
            Loop("rdmsr", given, wire=_want_msr_exits, serve=serve[exitkeys.MSR_READ]),
            "VMX 31 RDMSR, SVM 7ch MSR", "an MSR that the backend does not know",
        ),
        "WRMSR to user space": (
            Loop("wrmsr", given, wire=_want_msr_exits, serve=serve[exitkeys.MSR_WRITE]),
            "VMX 32 WRMSR, SVM 7ch MSR", "an MSR that the backend does not know",
        ),
        "single step": (
            Loop("nop", prepare=_single_step, serve=serve[exitkeys.DEBUG]),
            "VMX 37 monitor trap flag or 0 exception, SVM 41h #DB", "a NOP under guest debugging",
        ),
    }  # fmt: skip


def _other_rows() -> list[Row]:
    rows = []
    for answer, serving in _PASSES.items():
        serve = {
            kind: serving(kind)
            for kind in (exitkeys.HALT, exitkeys.MSR_READ, exitkeys.MSR_WRITE, exitkeys.DEBUG)
        }
        for name, (loop, reason, text) in _other_loops(serve).items():
            rows.append(_row(name, answer, loop, reason, f"{text}; {_PASS_MEANING[answer]}"))
    return rows


def _added(sampler: GuestSampler) -> Samples:
    """Both in turns, in one machine: a sample is the difference of two batches' medians."""
    native = port_loop("out", 1)
    with sampler.machine(native) as machine:
        machine.ports.claim(PORT + _SPACE, 1, Handler(), "measured")
        sides = {
            _PYTHON: sampler.batches(
                replace(native, given=f"mov edx, {PORT + _SPACE:#x}"), machine
            ),
            _NATIVE: sampler.batches(native, machine),
        }
        found = turns(
            {answer: partial(_median_ns, side) for answer, side in sides.items()},
            2 * sampler.effort.batches + 1,
        )
        values = [python - native for python, native in found.pairs(_PYTHON, _NATIVE)]
        return Samples(values, "guest", 0.0, machine.vcpu.get_tsc_khz())


def _median_ns(batches: Batches) -> float:
    return median(batches.nanoseconds())


ROWS = (
    *_device_rows(),
    *_other_rows(),
    Row(
        ADDED, "user", _added, "", IO_REASON,
        "port out 1 B by Python less the same natively, medians of batches in turns; bar: 1 us",
    ),
)  # fmt: skip
