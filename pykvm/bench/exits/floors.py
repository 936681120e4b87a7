"""What nothing can be cheaper than."""

from __future__ import annotations

from pykvm.bench import program
from pykvm.bench.exits.guest import GuestSampler
from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.row import Row, guest_row, kvm_only
from pykvm.bench.sampler import Samples, by_host

_TURNS = 100


def _system_call(sampler: GuestSampler) -> Samples:
    return _asked(sampler, "syscall")


def _enter(sampler: GuestSampler) -> Samples:
    kvm_only(sampler, "the emulator has no KVM_RUN")
    return _asked(sampler, "enter")


def _asked(sampler: GuestSampler, command: str) -> Samples:
    """What the C program says of a batch."""
    with program.running("_floor") as floor:
        return by_host(lambda count: floor.ask(f"{command} {count}")[0], sampler.effort)


ROWS = (
    Row(
        "system call", "floors", _system_call, "", "none",
        "getppid from C: the cheapest way into the host's kernel and back",
    ),
    Row(
        "KVM_RUN", "floors", _enter, "system call", "none",
        "KVM_RUN with immediate_exit from C: in and out without any guest code",
    ),
    guest_row(
        "RDTSC pair", "floors", Loop(raw=True), "", "none",
        "two RDTSC of the guest, one after the other: what the clock itself takes",
    ),
    guest_row(
        "empty loop, a turn", "floors",
        Loop("1:  dec ecx\n    jnz 1b", f"mov ecx, {_TURNS}", turns=_TURNS, repeats=False),
        "", "none", "DEC and JNZ: what two plain instructions of the guest take",
    ),
)  # fmt: skip
