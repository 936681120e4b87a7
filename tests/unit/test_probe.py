"""Probes of guest features: their bytes, their answers, their errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pykvm
from pykvm import probe
from pykvm.errors import UsageError
from pykvm.loader.image import Mode


@pytest.mark.parametrize("name", probe.FEATURES)
def test_the_bytes_are_what_their_source_assembles_to(name: str) -> None:
    feature = probe.FEATURES[name]
    for listing in feature.listings:
        program = pykvm.assemble(listing.source, mode=feature.mode, origin=listing.base)
        assert program.pieces == ((listing.base, listing.code),)


@pytest.mark.parametrize("name", probe.FEATURES)
def test_a_probe_answers_and_says_why_not(name: str) -> None:
    answer = probe.probe(name)
    assert answer.name == name
    assert answer.ok == (answer.why == "")


def test_the_loop_is_what_its_source_assembles_to() -> None:
    (piece,) = pykvm.assemble(probe.LOOP.source).pieces
    assert piece == (probe.LOOP.base, probe.LOOP.code)


@pytest.mark.parametrize(("mode", "cpl"), [(Mode.LONG, 0), (Mode.USER, 3)])
def test_a_measurement_lasts_long_enough_to_mean_something(mode: Mode, cpl: int) -> None:
    pace = probe.measure(mode)
    assert pace.cpl == cpl
    assert pace.wall_ns >= probe.ENOUGH_NS
    assert pace.per_s > 0


def run(name: str, mode: Mode, old: bytes = b"", new: bytes = b"") -> pykvm.Result:
    """A feature's guest in another mode, or with `new` in the place of `old`."""
    image = probe.FEATURES[name].image
    pieces = tuple((gpa, data.replace(old, new) if old else data) for gpa, data in image.pieces)
    with pykvm.VM(memory="1M", devices=("exit",)) as vm:
        vm.load(replace(image, mode=mode, pieces=pieces))
        return vm.run(timeout=60)


def test_the_guest_of_cpl0_sse_computes_what_it_should_where_every_cpu_can() -> None:
    assert run("cpl0-sse", Mode.USER).status == probe.PASSED


def test_the_guest_of_user_syscall_reaches_its_handler() -> None:
    sysretq, out_and_nop = b"\x48\x0f\x07", b"\xe7\xf8\x90"
    assert run("user-syscall", Mode.LONG, sysretq, out_and_nop).status == probe.PASSED


def test_a_probe_is_tried_once() -> None:
    assert probe.probe("user-int") is probe.probe("user-int")


def test_an_unknown_feature_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'flying'.*user-int, user-syscall"):
        probe.probe("flying")
