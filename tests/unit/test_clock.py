"""`clock="instructions"`: time is what the guest executes, and runs repeat to the byte."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pykvm import VM, assemble, host
from pykvm.backend import VARIABLE
from pykvm.errors import UsageError
from pykvm.guest import load_guest
from pykvm.trace import Trace

GUESTS = Path(__file__).parents[2] / "guests"


@pytest.fixture(autouse=True)
def _nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock chooses the backend, whatever the other tests run on."""
    monkeypatch.delenv(VARIABLE, raising=False)


def trace(path: Path) -> tuple[str, bytes]:
    """The trace of a run, and the guest's output."""
    guest, text = load_guest(path), io.StringIO()
    with guest.machine(backend="auto", clock="instructions", native=False) as vm:
        assert vm.backend.name == "emu"
        vm.observer = Trace(vm, text)
        result = vm.run(guest.timeout_s)
    assert result.status == guest.expect.exit_code or not guest.expect.exit_code
    return text.getvalue(), result.output


@pytest.mark.parametrize("name", ["timer_ticks", "serial_irq", "cmos", "rdtsc", "smp"])
def test_two_runs_have_the_same_trace(name: str) -> None:
    first = trace(GUESTS / f"{name}.S")
    assert first[0].count("\n") > 5
    assert trace(GUESTS / f"{name}.S") == first


def test_an_instruction_takes_a_nanosecond_and_a_tick() -> None:
    """Of a thousand and some instructions between two RDTSC."""
    source = """
        rdtsc
        mov ebx, eax
        mov ecx, 500
    next:
        dec ecx
        jnz next
        rdtsc
        sub eax, ebx
        hlt
    """
    with VM(clock="instructions") as vm:
        vm.load(assemble(source))
        before = vm.vm.now_ns()
        vm.run(60)
        assert vm.registers.eax == 1003
        assert vm.vm.now_ns() - before == 1006


def test_kvm_has_no_such_clock() -> None:
    if host.problem():
        pytest.skip(str(host.problem()))
    with pytest.raises(UsageError, match=r"KVM runs guests in real time; .* needs backend 'emu'"):
        VM(backend="kvm", clock="instructions")


def test_an_unknown_clock_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="no clock 'sundial'; choose one of wall, instructions"):
        VM(clock="sundial")
