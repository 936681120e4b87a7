"""Every guest on every backend, held to what its own block expects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pykvm.backend import BACKENDS
from pykvm.guest import Expect, Guest, load_guest
from pykvm.result import Outcome, Result
from pykvm.testing import GuestRunner

GUESTS = Path(__file__).parents[2] / "guests"
FILES = sorted(GUESTS.glob("*.S"))

each_guest = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def differences(guest: Guest, result: Result) -> list[str]:
    """What is not as the guest's block expects."""
    expect, found = guest.expect, []
    if expect.output is not None and result.output != expect.output.encode():
        found.append(f"output is {result.output!r}, not {expect.output!r}")
    if expect.outcome is not None and result.outcome is not expect.outcome:
        found.append(f"outcome is {result.outcome.value} ({result.reason})")
    if expect.exit_code is not None and result.status != expect.exit_code:
        found.append(f"exit code is {result.status}, not {expect.exit_code}")
    for name, count in (expect.exits or {}).items():
        if result.exits.get(name, 0) != count:
            found.append(f"{result.exits.get(name, 0)} exits of kind {name}, not {count}")
    return found


def run(runner: GuestRunner, guest: Guest) -> tuple[Result, list[str], dict[str, int]]:
    """The result, the exits in order, and the registers at the end."""
    seen: list[str] = []
    machine = runner.load(guest, native=False)
    if guest.cpus == 1:
        machine.observer = lambda vcpu, exit, answer: seen.append(str(exit))
    result = machine.run(guest.timeout_s)
    return result, seen, machine.registers.as_dict()


@each_guest
def test_a_guest_does_what_its_block_expects(path: Path, guest: GuestRunner) -> None:
    parsed = load_guest(path)
    result, seen, _ = run(guest, parsed)
    assert not differences(parsed, result)
    if parsed.cpus == 1:
        assert len(seen) >= sum(result.exits.values())


@each_guest
def test_consoles_in_native_code_change_nothing_but_speed(path: Path, guest: GuestRunner) -> None:
    assert not differences(load_guest(path), guest(path))


@pytest.mark.skipif(len(BACKENDS) < 2, reason="only one backend to compare")
@each_guest
def test_backends_agree_on_exits_and_registers(path: Path) -> None:
    parsed, found = load_guest(path), []
    for backend in BACKENDS:
        with GuestRunner(backend) as runner:
            found.append(run(runner, parsed))
    first, *others = found
    for other in others:
        assert other[0].output == first[0].output
        assert other[1:] == first[1:]


@each_guest
def test_every_guest_expects_something_and_says_what_it_shows(path: Path) -> None:
    guest = load_guest(path)
    assert guest.summary
    assert guest.expect.output is not None or guest.expect.outcome is not None


@pytest.mark.parametrize(
    "wrong",
    [
        Expect(output="Hello from elsewhere\n"),
        Expect(outcome=Outcome.TIMEOUT),
        Expect(exit_code=9),
        Expect(exits={"PortOut": 20}),
        Expect(exits={"MmioRead": 1}),
    ],
)
def test_a_wrong_expectation_is_noticed(wrong: Expect, guest: GuestRunner) -> None:
    parsed = load_guest(GUESTS / "hello.S")
    result = guest(parsed)
    assert not differences(parsed, result)
    assert differences(replace(parsed, expect=wrong), result)
