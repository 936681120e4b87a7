"""The rows of `pykvm bench exits`: each one is measured or explained, and none hangs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pykvm import assemble, cli, layout
from pykvm.backend import exitkeys
from pykvm.bench import exits
from pykvm.bench.contest import taker
from pykvm.bench.exits import check
from pykvm.bench.exits.guest import REPEAT_MAX, GuestSampler
from pykvm.bench.exits.loop import Loop, Serve
from pykvm.bench.exits.passing import by_python, natively
from pykvm.bench.exits.row import GROUPS, Row
from pykvm.bench.exits.table import markdown
from pykvm.bench.exits.user import PORT, Handler, port_loop
from pykvm.bench.sampler import Effort, Impossible
from pykvm.exits import PortOut
from pykvm.machine import Machine

TSC = 0x10
TINY = Effort(batches=1, samples=8, batch_s=0.004)


@pytest.fixture(scope="module")
def samplers() -> dict[str, GuestSampler]:
    """One for each backend: what rows keep for each other is kept."""
    return {}


@pytest.fixture
def sampler(backend: str, samplers: dict[str, GuestSampler]) -> GuestSampler:
    """This backend's."""
    return samplers.setdefault(backend, GuestSampler(backend, TINY))


@pytest.mark.parametrize("row", exits.ROWS, ids=lambda row: row.name)
def test_a_row_has_figures_or_a_reason(row: Row, sampler: GuestSampler) -> None:
    result = exits.measure(row, sampler, {})
    assert (result.figures is None) == bool(result.why)
    if result.samples is not None:
        assert result.samples.values_ns
        assert result.samples.clock in ("guest", "host")


def test_rows_are_complete() -> None:
    names = [row.name for row in exits.ROWS]
    assert len(set(names)) == len(names)
    for row in exits.ROWS:
        assert row.group in GROUPS
        assert row.floor in ("", *names)
        assert row.text and row.reason, row.name


def test_a_guest_that_does_not_come_back_is_a_reason(backend: str) -> None:
    with pytest.raises(Impossible, match="does not come back"):
        GuestSampler(backend, TINY).guest(Loop("1: jmp 1b"))


def test_a_guest_that_faults_is_a_reason(backend: str) -> None:
    with pytest.raises(Impossible, match="fault"):
        GuestSampler(backend, TINY).guest(Loop("ud2"))


class Delay(Handler):
    """A device that moves the guest's clock, so that no other time counts."""

    def __init__(self, machine: Machine, cycles: int) -> None:
        self.machine = machine
        self.cycles = cycles

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        vcpu = self.machine.vcpu
        vcpu.set_msrs({TSC: vcpu.get_msrs([TSC])[TSC] + self.cycles})


@pytest.mark.parametrize("repeat", [1, 4])
def test_a_known_delay_is_what_a_row_shows(repeat: int) -> None:
    """By the clock of instructions a guest's time is exact."""
    sampler = GuestSampler("emu", TINY)

    def median_ns(cycles: int) -> float:
        loop = replace(
            port_loop("out", 1),
            operation="\n".join(["out dx, al"] * repeat),
            turns=repeat,
            repeats=False,
            machine=(("clock", "instructions"),),
            wire=lambda machine, _: machine.ports.claim(PORT, 1, Delay(machine, cycles)),
        )
        samples = sampler.guest(loop)
        assert samples.repeat == repeat
        return statistics.median(samples.values_ns)

    with sampler.machine(Loop()) as machine:
        khz = machine.vcpu.get_tsc_khz()
    added = median_ns(5000 * khz // 1_000_000) - median_ns(0)
    assert added == pytest.approx(5000, abs=1)


def test_the_clock_is_read_before_each_batch_in_the_same_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another machine's clock takes more or less; and a busy host's more for some time."""
    sampler = GuestSampler("emu", TINY)
    with sampler.machine(Loop("cpuid")) as machine:
        batches = sampler.batches(Loop("cpuid", repeats=False), machine)
        assert batches.bare is not None
        assert batches.bare.machine is machine
        clocks, values = iter([[100, 100, 900], [200]]), iter([[150, 160], [250]])
        monkeypatch.setattr(batches.bare, "take", lambda: next(clocks))
        monkeypatch.setattr(batches, "take", lambda: next(values))
        cycles = [
            round(each / batches.cycle_ns) for _ in range(2) for each in batches.nanoseconds()
        ]
    assert cycles == [50, 60, 50]


def test_delays_and_the_c_program_are_compared(backend: str) -> None:
    take = taker(GuestSampler(backend, TINY), 1)
    rows = [row for contest in check.contests(backend) for row in take(contest)]
    names = [row.question.name for row in rows]
    assert names[-3:] == [f"device that waits {delay} us" for delay in check.DELAYS_US]
    assert ("CPUID" in names) == (backend == "kvm")
    assert all(row.figure for row in rows)


def test_short_operations_are_repeated_in_one_sample(backend: str) -> None:
    samples = GuestSampler(backend, TINY).guest(Loop("nop"))
    assert samples.repeat >= 1
    if backend == "emu":
        assert samples.repeat == REPEAT_MAX


def test_the_documentation_lists_the_rows() -> None:
    page = Path(__file__).parents[2] / "docs" / "measuring.md"
    assert markdown(exits.ROWS) in page.read_text(), "docs/measuring.md: put markdown(ROWS) in"


@pytest.mark.parametrize("serving", [natively, by_python])
def test_exits_of_one_kind_are_passed_over(backend: str, serving: Callable[[int], Serve]) -> None:
    with Machine(backend=backend, assist=False) as machine:
        machine.load(assemble(f"hlt\nhlt\nout {layout.EXIT_PORT}, al"))
        exit = serving(exitkeys.HALT)(machine, 10**9)
        assert isinstance(exit, PortOut) and exit.port == layout.EXIT_PORT
        assert machine.vcpu.exit_counts() == {"Halt": 2, "PortOut": 1}


def test_a_floor_that_was_not_asked_for_is_measured(backend: str) -> None:
    (row,) = exits.select(["INVLPG"])
    result = exits.measure(row, GuestSampler(backend, TINY), {})
    assert result.ratio is not None


@pytest.mark.parametrize(("ours_ns", "status"), [(100.0, 0), (150.0, 1)])
def test_the_command_tells_whether_comparisons_agree(
    ours_ns: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = {"expected_ns": lambda: 100.0, "ours_ns": lambda: ours_ns}
    contest = check._contest("CPUID", 0.03, lambda sampler, stack: sides)
    monkeypatch.setattr(check, "contests", lambda backend: [contest])
    assert cli.main(["bench", "exits", "--backend", "emu", "--check", "--json"]) == status
    said = capsys.readouterr()
    assert ("missed" if status else "met") in said.err
    found = json.loads(said.out)
    assert found["bench"] == "exits --check"
    assert found["rows"][0]["met"] is not bool(status)
