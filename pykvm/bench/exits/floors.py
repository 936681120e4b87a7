"""What nothing can be cheaper than."""

from __future__ import annotations

from pykvm.bench import program
from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.row import Row, guest_row, kvm_only
from pykvm.bench.exits.sampler import Sampler, Samples

_TURNS = 1000


def _system_call(sampler: Sampler) -> Samples:
    return _asked(sampler, "syscall")


def _enter(sampler: Sampler) -> Samples:
    kvm_only(sampler, "the emulator has no KVM_RUN")
    return _asked(sampler, "enter")


def _asked(sampler: Sampler, command: str) -> Samples:
    """What the C program says of a batch."""
    with program.running("_floor") as floor:
        return sampler.host(lambda count: int(floor.ask(f"{command} {count}")[0] * count))


ROWS = (
    Row("system call", "floors", _system_call, reason="getppid"),
    Row("KVM_RUN", "floors", _enter, "system call", "immediate_exit: no guest code runs"),
    guest_row("RDTSC pair", "floors", Loop("", repeat=1)),
    guest_row(
        "empty loop, a turn",
        "floors",
        Loop("    mov ecx, 100\n1:  dec ecx\n    jnz 1b"),
    ),
)
