"""Every guest on every backend, held to what its own block expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pykvm.backend import BACKENDS
from pykvm.errors import CpuModelError, UsageError
from pykvm.guest import Expect, Guest, load_guest
from pykvm.probe import probe
from pykvm.registers import RFLAGS_IOPL3, RFLAGS_RF
from pykvm.result import Outcome, Result
from pykvm.testing import GuestRunner
from pykvm.testing.plugin import problem

GUESTS = Path(__file__).parents[2] / "guests"
FILES = sorted(GUESTS.glob("*.S"))

# What the clock leaves in registers, how often it is asked, and which processor comes first
# differ from run to run.
DEPEND_ON_TIME = ("cmos", "rtc_interrupts", "rdtsc", "smp", "timer_ticks", "apic_timer")

# Where processors themselves differ: kvm_pvm (host kind 3) shows IOPL 0 at CPL 3 and leaves
# segments of CPL 0 in place where IRET to CPL 3 nulls them (SDM vol. 2A, IRET); RF after a
# triple fault is nowhere defined.
RFLAGS_DIFFER = RFLAGS_IOPL3 | RFLAGS_RF
REGISTERS_DIFFER = {"ring3_exception": ("ds", "es", "fs", "gs")}

each_guest = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def differences(expect: Expect, result: Result) -> list[str]:
    """What is not as a guest's block expects."""
    found = []
    if expect.output is not None and result.output != expect.output.encode():
        found.append(f"output is {result.output!r}, not {expect.output!r}")
    if expect.outcome is not None and result.outcome is not expect.outcome:
        found.append(f"outcome is {result.outcome.value} ({result.reason})")
    if expect.exit_code is not None and result.status != expect.exit_code:
        printed = f" after {result.output!r}" if result.output and expect.output is None else ""
        found.append(f"exit code is {result.status}, not {expect.exit_code}{printed}")
    for name, count in (expect.exits or {}).items():
        if result.exits.get(name, 0) != count:
            found.append(f"{result.exits.get(name, 0)} exits of kind {name}, not {count}")
    return found


def spoiled(expect: Expect) -> Iterator[Expect]:
    """The expectation with one thing in it made wrong, for each thing that it says."""
    if expect.output is not None:
        yield replace(expect, output=expect.output + "?")
    if expect.outcome is not None:
        yield replace(expect, outcome=next(each for each in Outcome if each is not expect.outcome))
    if expect.exit_code is not None:
        yield replace(expect, exit_code=expect.exit_code + 1)
    for name, count in (expect.exits or {}).items():
        yield replace(expect, exits={**(expect.exits or {}), name: count + 1})


@pytest.mark.parametrize("native", [True, False], ids=["native", "python"])
@each_guest
def test_a_guest_does_what_its_block_expects(path: Path, native: bool, guest: GuestRunner) -> None:
    if why := lacks(path, guest.backend):
        pytest.skip(why)
    expect = load_guest(path).expect
    result = guest(path, native=native)
    assert not differences(expect, result)
    for wrong in spoiled(expect):
        assert differences(wrong, result), f"nobody notices {wrong}"


@each_guest
def test_every_guest_expects_something_and_says_what_it_shows(path: Path) -> None:
    guest = load_guest(path)
    assert guest.summary
    assert list(spoiled(guest.expect))
    assert f"`{path.name}`" in (GUESTS / "README.md").read_text()


def test_a_block_changed_in_a_file_is_noticed(tmp_path: Path, guest: GuestRunner) -> None:
    path = tmp_path / "hello.S"
    path.write_text((GUESTS / "hello.S").read_text().replace("PortOut = 21", "PortOut = 20"))
    assert differences(load_guest(path).expect, guest(path)) == ["21 exits of kind PortOut, not 20"]


@each_guest
def test_runs_agree_on_output_exits_and_registers(
    path: Path, request: pytest.FixtureRequest
) -> None:
    """On every pair of backends; twice on the same where there is only one."""
    chosen = request.config.getoption("pykvm_backend")
    missing = {name: lacks(path, name) for name in BACKENDS if chosen in ("auto", "all", name)}
    names = [name for name in missing if not missing[name]]
    if not names:
        pytest.skip("; ".join(missing.values()))
    first, *others = [observe(path, name) for name in (names if len(names) > 1 else names * 2)]
    for other in others:
        assert other == first


def observe(path: Path, backend: str) -> dict[str, object]:
    """All of a run that must not depend on the backend; processors run in no order."""
    guest = load_guest(path)
    seen: list[list[object]] = [[] for _ in range(guest.cpus)]
    with guest.machine(backend=backend, native=False) as machine:
        machine.observer = lambda vcpu, exit, answer: seen[vcpu.index].append((exit, answer))
        result = machine.run(guest.timeout_s)
        same = {"output": result.output, "outcome": result.outcome, "status": result.status}
        if path.stem not in DEPEND_ON_TIME:
            registers = machine.registers.as_dict()
            registers["rflags"] &= ~RFLAGS_DIFFER
            for name in REGISTERS_DIFFER.get(path.stem, ()):
                del registers[name]
            same |= {"exits": seen, "registers": registers}
    return same


def opened(path: Path) -> Guest:
    """A guest, which may include files of the whole project."""
    return load_guest(path, include_dirs=[GUESTS.parent])


def lacks(path: Path, backend: str) -> str:
    """Why a guest cannot run on a backend of this host; empty where it can."""
    if why := problem(backend):
        return why
    try:
        opened(path).machine(backend=backend).close()
    except (CpuModelError, UsageError) as error:
        return f"{backend}: {error}"
    found = [probe(name, backend) for name in opened(path).requires]
    return "; ".join(f"{backend} lacks {each.name}: {each.why}" for each in found if not each.ok)
