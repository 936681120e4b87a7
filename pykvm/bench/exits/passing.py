"""Running a guest through exits that no bus answers: HLT, MSRs, single steps, hypercalls."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pykvm.backend import exitkeys
from pykvm.backend.protocol import Vcpu
from pykvm.bench.exits.loop import Serve
from pykvm.exits import Exit


@cache
def natively(kind: int) -> Serve:
    """Native code enters the guest again at once after each exit of a kind; reads give 0."""
    return lambda machine, timeout_ns: _bounded(
        machine.vcpu, timeout_ns, lambda vcpu: vcpu.pass_over(kind)
    )


@cache
def by_python(kind: int) -> Serve:
    """Python takes each exit of a kind as a value, answers it, and enters the guest again."""

    def run(vcpu: Vcpu) -> int:
        while True:
            key = vcpu.enter()
            if key & exitkeys.KIND_MASK != kind:
                return key
            exit = vcpu.exit(key)
            if exit.is_read:
                vcpu.answer(exit, 0)

    return lambda machine, timeout_ns: _bounded(machine.vcpu, timeout_ns, run)


def _bounded(vcpu: Vcpu, timeout_ns: int, run: Callable[[Vcpu], int]) -> Exit:
    """The exit that neither is passed over nor only a signal's."""
    vcpu.begin(timeout_ns)
    try:
        key = exitkeys.AGAIN
        while key & exitkeys.KIND_MASK == exitkeys.AGAIN:
            key = run(vcpu)
        return vcpu.exit(key)
    finally:
        vcpu.end()
