"""pykvm against plain C: the same virtual machine, the same exits, taken in turns.

Three figures, each as a ratio or difference within one run, since the machines that this
runs on are shared: rounds of C and of Python alternate, and the medians are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pykvm import layout
from pykvm.bench import program
from pykvm.errors import PykvmError
from pykvm.loader.image import Image, Mode
from pykvm.machine import Machine
from pykvm.result import Outcome

# out 0xe9, al; dec ecx; jnz back; hlt: what native/floor/floor.c runs.
PORT_LOOP = bytes.fromhex("e6e9 ffc9 75fa f4")
IMAGE = Image("port loop", Mode.LONG, layout.LOAD_BASE, ((layout.LOAD_BASE, PORT_LOOP),))

ROUNDS = 15
HEAD = f"{'C floor':>10} {'pykvm':>10}"
CREATE_BAR = 1.25
PYTHON_BAR_US = 1.2
NATIVE_BAR = 1.05


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        floor_ns, ours_ns: medians over the rounds.
        figure: what the bar is about, in `unit`; the median over pairs of rounds.
        bar: the most it should be.
    """

    name: str
    floor_ns: float
    ours_ns: float
    figure: float
    unit: str
    bar: float

    @property
    def met(self) -> bool:
        """Whether the figure is within its bar."""
        return self.figure <= self.bar

    def cells(self) -> str:
        """Both sides and the figure, as HEAD has them."""
        floor_us, ours_us = self.floor_ns / 1000, self.ours_ns / 1000
        return f"{floor_us:7.2f} us {ours_us:7.2f} us {self.figure:7.3f} {self.unit:7}"


class _Sink:
    """The smallest device that Python can answer with."""

    def read(self, offset: int, size_bytes: int) -> int:
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        pass


def _create_ns(count: int) -> float:
    samples = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        machine = Machine(memory="1M", devices=())
        machine.load(IMAGE)
        machine.vcpu.enter()
        samples.append(time.perf_counter_ns() - start_ns)
        machine.close()
        del machine  # or it would be taken apart within the next one's time
    return median(samples)


def _port_ns(count: int, *, native: bool) -> float:
    with Machine(memory="1M", devices=("debugcon",) if native else ()) as machine:
        if not native:
            machine.ports.claim(layout.DEBUGCON_PORT, 1, _Sink())
        machine.load(IMAGE)
        machine.registers.rcx = count
        start_ns = time.perf_counter_ns()
        result = machine.run(timeout=60)
        elapsed_ns = time.perf_counter_ns() - start_ns
    if result.outcome is not Outcome.HALT:
        raise PykvmError(f"the measuring guest did not halt: {result.reason}")
    return elapsed_ns / count


def median(samples: Iterable[float]) -> float:
    """The upper one of the middle.

    `statistics` loads five libraries, and KVM_CREATE_VM takes longer the more a process
    has mapped: the measurement would add to what it measures.
    """
    ordered = sorted(samples)
    return ordered[len(ordered) // 2]


def measure(rounds: int = ROUNDS, creates: int = 20, exits: int = 5000) -> list[Row]:
    """Compare creation, a port write answered in Python, and one answered natively.

    Args:
        rounds: how often C and Python take turns.
        creates, exits: operations in one turn.

    Raises:
        KvmUnavailable: there is no KVM here.
    """
    with program.running("_floor") as floor:
        return [
            _compare("create a VM, first exit", "x", CREATE_BAR, rounds,
                     lambda: median(floor.ask(f"create {creates}")),
                     lambda: _create_ns(creates)),
            _compare("port write, Python handler", "us more", PYTHON_BAR_US, rounds,
                     lambda: median(floor.ask(f"port {exits}")),
                     lambda: _port_ns(exits, native=False)),
            _compare("port write, native console", "x", NATIVE_BAR, rounds,
                     lambda: median(floor.ask(f"port {exits}")),
                     lambda: _port_ns(exits, native=True)),
        ]  # fmt: skip


def _compare(
    name: str, unit: str, bar: float, rounds: int,
    floor: Callable[[], float], ours: Callable[[], float],
) -> Row:  # fmt: skip
    pairs = [(floor(), ours()) for _ in range(rounds + 1)][1:]  # the first warms up
    if unit == "x":
        figure = median(mine / theirs for theirs, mine in pairs)
    else:
        figure = median((mine - theirs) / 1000 for theirs, mine in pairs)
    floor_ns, ours_ns = (median(side) for side in zip(*pairs, strict=True))
    return Row(name, floor_ns, ours_ns, figure, unit, bar)
