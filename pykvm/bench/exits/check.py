"""Are the figures right? The same exits measured in C, and delays that are known.

Both sides take turns within one run: the machines that this runs on are shared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from pykvm.bench import program
from pykvm.bench.contest import SAME, Column, Contest, Question
from pykvm.bench.exits.guest import Batches, GuestSampler
from pykvm.bench.exits.loop import Loop, Wire
from pykvm.bench.exits.user import PORT, Handler, mmio_loop, port_loop
from pykvm.bench.figures import median
from pykvm.bench.sampler import Side
from pykvm.machine import Machine

ROUNDS = 41
FLOOR_BAR, DELAY_BAR = 0.03, 0.02
DELAYS_US = (5, 20, 100)
WARM_NS = 500

# Commands of native/floor/timed.c, and the loops that measure the same.
_PAIRS = {
    "port out 1 B": ("out", port_loop("out", 1)),
    "port in 1 B": ("in", port_loop("in", 1)),
    "MMIO write 4 B": ("write", mmio_loop("write", 4)),
    "MMIO read 4 B": ("read", mmio_loop("read", 4)),
    "CPUID": ("cpuid", Loop("cpuid", "mov eax, 1")),
}


COLUMNS = (
    Column("expected_ns", "expected", "{value:,.0f} ns"),
    Column("ours_ns", "pykvm", "{value:,.0f} ns"),
)


def contests(backend: str) -> list[Contest]:
    """What the C program measures by nothing but ioctl, on KVM; then known delays."""
    floors = [_against_c(*each) for each in _PAIRS.items()] if backend == "kvm" else []
    return [*floors, *(_delay(each) for each in DELAYS_US)]


def _against_c(name: str, of: tuple[str, Loop]) -> Contest:
    """The C program's medians against ours; the clock's own cost is taken off by each side."""
    command, loop = of

    def sides(sampler: GuestSampler, stack: ExitStack) -> dict[str, Side]:
        floor = stack.enter_context(program.running("_floor"))
        timed = _batches(sampler, stack, replace(loop, repeats=False))
        count = min(timed.count, sampler.effort.samples)

        def theirs_ns() -> float:
            values = floor.ask(f"{command} {count}")
            return median(values[:count]) - median(values[count:])

        return {"expected_ns": theirs_ns, "ours_ns": lambda: median(timed.nanoseconds())}

    return _contest(name, FLOOR_BAR, sides)


class _Busy(Handler):
    """A device that takes its time, and notes how much it was."""

    def __init__(self) -> None:
        self.delay_ns = WARM_NS
        self.spent_ns: list[int] = []

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Wait."""
        clock = time.perf_counter_ns
        start_ns = now_ns = clock()
        end_ns = start_ns + self.delay_ns
        while now_ns < end_ns:
            now_ns = clock()
        self.spent_ns.append(now_ns - start_ns)


def _delay(delay_us: int) -> Contest:
    """What a device that waits adds to its row, against what it has waited.

    It is one device in one machine: two lie elsewhere in the caches, which can be 0.1 us. It waits
    WARM_NS in any case: then the interpreter's way back is warm. Of each batch the least sample
    counts: the longer a device waits, the colder is all that then leads back into the guest, which
    is the machine's doing and in the median.
    """

    def sides(sampler: GuestSampler, stack: ExitStack) -> dict[str, Side]:
        device = _Busy()
        batches = _batches(
            sampler, stack, replace(port_loop("out", 1), repeats=False, wire=_with(device))
        )
        waited_ns: list[int] = []

        def least_ns(delay_ns: int) -> float:
            device.delay_ns = delay_ns
            device.spent_ns.clear()
            found_ns = min(batches.take()) * batches.cycle_ns
            waited_ns.append(min(device.spent_ns))
            return found_ns

        def ours_ns() -> float:
            waited_ns.clear()
            quick_ns = least_ns(WARM_NS)
            return least_ns(WARM_NS + delay_us * 1000) - quick_ns

        return {"ours_ns": ours_ns, "expected_ns": lambda: waited_ns[1] - waited_ns[0]}

    return _contest(f"device that waits {delay_us} us", DELAY_BAR, sides)


def _contest(name: str, bar: float, sides: Callable[..., dict[str, Side]]) -> Contest:
    return Contest((Question(name, "expected_ns", bar, SAME),), sides, "ours_ns")


def _with(device: _Busy) -> Wire:
    def wire(machine: Machine, stack: ExitStack) -> None:
        machine.ports.claim(PORT, 1, device, "busy")

    return wire


def _batches(sampler: GuestSampler, stack: ExitStack, loop: Loop) -> Batches:
    return sampler.batches(loop, stack.enter_context(sampler.machine(loop)))
