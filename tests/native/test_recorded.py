"""The emulator against results of both makers' processors, which need no processor of theirs here;
and the host's processor against its maker's, so that a wrong record is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import makers
import pytest
import recorded
import rules
from differential_rows import Emulator, RowOracle, result
from recorded import Record
from rows import decoder

from pykvm import host

MAKERS = (makers.INTEL, makers.AMD)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    machine = Emulator()
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def processor() -> Iterator[RowOracle]:
    problem = host.problem() or makers.lacking()
    if problem:
        pytest.skip(str(problem))
    machine = RowOracle()
    yield machine
    machine.close()


def drawn_file(maker: str) -> Path:
    if not recorded.path(maker).exists():
        pytest.skip(
            f"nothing of {maker}'s is recorded yet: run tests/native/record.py on such a host"
        )
    return recorded.path(maker)


def show(record: Record, name: str, maker: str) -> str:
    """A record, and what came of it here."""
    case = record.case
    theirs, ours = record.results[maker], result(case, name)
    lines = [f"{who} {recorded.to_fields(case, r)}" for who, r in ((maker, theirs), (name, ours))]
    return "\n".join([f"{record.name}: {case.code.hex()}", *lines])


@pytest.mark.parametrize("maker", MAKERS)
def test_the_emulator_does_what_a_maker_s_processor_did(emulator: Emulator, maker: str) -> None:
    for record in recorded.run(emulator, drawn_file(maker)):
        row = decoder().table[record.case.row]
        theirs, ours = rules.ordered(row, record.results[maker], result(record.case, "emu"))
        same = theirs == ours or makers.named(record.case, theirs, ours, maker)
        assert same, show(record, "emu", maker)


def test_every_difference_has_a_case_that_shows_it(emulator: Emulator) -> None:
    records = recorded.run(emulator, recorded.DIFFERENCES)
    for record in records:
        intel, amd = (record.results[maker] for maker in MAKERS)
        assert result(record.case, "emu") == intel, show(record, "emu", makers.INTEL)
        assert makers.named(record.case, amd, intel, makers.AMD) == record.name
        assert not makers.named(record.case, amd, intel, makers.INTEL)
    assert {record.name for record in records} == {row.name for row in makers.TABLE}


@pytest.mark.parametrize("what", ["differences", "drawn"])
def test_this_processor_does_what_is_recorded_of_its_maker(processor: RowOracle, what: str) -> None:
    maker = makers.maker()
    if maker not in MAKERS:
        pytest.skip(f"nothing is recorded of processors by {maker or 'an unknown maker'}")
    file = recorded.DIFFERENCES if what == "differences" else drawn_file(maker)
    for record in recorded.run(processor, file):
        if not record.case.results:
            continue  # KVM refused it
        row = decoder().table[record.case.row]
        cpu, theirs = rules.ordered(row, result(record.case, "kvm"), record.results[maker])
        if host.emulates_cpl0() and cpu[0] != theirs[0]:
            assert rules.repeated_by_kernel(row, cpu[0], theirs[0]), show(record, "kvm", maker)
            cpu = (theirs[0], *cpu[1:])
        assert cpu == theirs, show(record, "kvm", maker)
