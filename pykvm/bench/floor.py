"""pykvm against plain C: the same virtual machine, the same exits, taken in turns.

Three figures, each as a ratio within one run, since the machines that this runs on are shared:
rounds of C and of Python alternate, and the medians are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from pykvm import host
from pykvm.bench import program
from pykvm.bench.contest import Column, Contest, Question
from pykvm.bench.figures import median
from pykvm.bench.port_loop import IMAGE
from pykvm.bench.sampler import Batch, Side
from pykvm.errors import PykvmError
from pykvm.machine import Machine
from pykvm.result import Outcome

COLUMNS = (
    Column("floor_ns", "floor", "{value:.2f} us", scale=1e-3),
    Column("ours_ns", "pykvm", "{value:.2f} us", scale=1e-3),
)
CREATES, EXITS = 20, 5000  # operations in one turn


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


def _port_ns(count: int) -> float:
    with Machine(memory="1M", devices=("debugcon",)) as machine:
        machine.load(IMAGE)
        machine.registers.rcx = count
        start_ns = time.perf_counter_ns()
        result = machine.run(timeout=60)
        elapsed_ns = time.perf_counter_ns() - start_ns
    if result.outcome is not Outcome.HALT:
        raise PykvmError(f"the measuring guest did not halt: {result.reason}")
    return elapsed_ns / count


@contextmanager
def prepare() -> Iterator[program.Program]:
    """The C program.

    Raises:
        KvmUnavailable: there is no KVM here.
    """
    if problem := host.problem():
        raise problem
    with program.running("_floor") as floor:
        yield floor


def _contest(question: Question, command: str, count: int, ours: Callable[[int], float]) -> Contest:
    def sides(floor: program.Program, stack: ExitStack) -> dict[str, Side]:
        theirs = Batch(lambda count: median(floor.ask(f"{command} {count}")), count)
        return {"floor_ns": theirs, "ours_ns": Batch(ours, count)}

    return Contest((question,), sides, "ours_ns")


def _handler(_floor: program.Program, stack: ExitStack) -> dict[str, Side]:
    from pykvm.bench import handler  # brings libraries, which make KVM_CREATE_VM longer

    return handler.sides(stack)


CONTESTS = (
    _contest(
        Question("create a VM, first exit", "floor_ns", 1.25),
        "create", CREATES, _create_ns,
    ),
    Contest((Question("what a Python handler adds", "floor_ns", 3.0),), _handler, "ours_ns"),
    _contest(
        Question("port write, native console", "floor_ns", 1.05),
        "port", EXITS, _port_ns,
    ),
)  # fmt: skip
