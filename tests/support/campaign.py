"""Many sequences of a Hypothesis state machine, in processes of their own: one a processor.

A process may need only so much memory, its processor time for one sequence is bounded, and what is
left when a thousand sequences are over must not grow. It can be run by hand:
`PYTHONPATH=tests:tests/virtio python -m test_rule_breaker block 1000`.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from pykvm import layout

IN_CI, IN_FULL = 10_000, 100_000
CHUNK = 500  # sequences; what Hypothesis remembers of them goes with the last
SEQUENCE_S = 10  # of processor time
ROOM_BYTES = 768 * layout.MIB  # address space beyond what a process begins with
WARM = 2  # chunks until all caches are full
GROWTH_PAGES = 8192  # resident, from then on; and of Python's own blocks one for each sequence


def run(module: str, name: str, sequences: int) -> None:
    """Run `sequences` in all, each process its part; what one finds fails the test."""
    count = len(os.sched_getaffinity(0))
    command = [sys.executable, "-m", module, name, str(-(-sequences // count))]
    path = os.pathsep.join(each for each in sys.path if each)
    processes = [
        subprocess.Popen(
            command,
            env=dict(os.environ, PYTHONPATH=path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        said = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == 0, f"exit status {process.returncode}\n{text}"


def serve(machine_of: Callable[[str], type[RuleBasedStateMachine]], steps: int) -> None:
    """A process's part: name and number of sequences are its arguments."""
    faulthandler.enable()  # a touch of pages that are closed
    machine, sequences = machine_of(sys.argv[1]), int(sys.argv[2])
    limit = layout.PAGE_SIZE * _pages(0) + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, _goes_on_for_ever)
    held = []
    for start in range(0, sequences, CHUNK):
        run_state_machine_as_test(machine, settings=_settings(min(CHUNK, sequences - start), steps))
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.collect()
        held.append((_pages(1), sys.getallocatedblocks()))
    if len(held) > WARM:
        pages, blocks = (held[-1][each] - held[WARM - 1][each] for each in range(2))
        assert pages <= GROWTH_PAGES, f"{pages} resident pages more"
        assert blocks <= sequences, f"{blocks} blocks more in {sequences} sequences"


def begin_sequence() -> None:
    """A machine begins: from now on time is counted, until the next one begins."""
    signal.setitimer(signal.ITIMER_PROF, SEQUENCE_S)


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate, Phase.shrink],
    )


def _goes_on_for_ever(number: int, frame: FrameType | None) -> None:
    raise AssertionError(f"a sequence takes more than {SEQUENCE_S} s of processor time")


def _pages(column: int) -> int:
    """Of address space (0), or resident (1)."""
    return int(Path("/proc/self/statm").read_text().split()[column])
