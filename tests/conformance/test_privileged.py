"""Rules of privileged code, a guest for each: the same outcome on every backend."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_guests import differences, lacks

from pykvm.guest import load_guest
from pykvm.result import Outcome
from pykvm.testing import GuestRunner

FILES = sorted((Path(__file__).parent / "privileged").glob("*.S"))

# KVM's own instruction emulator, which runs CPL 0 on hosts of kind 3, lets these pass.
KVM_LETS_PASS = ("cr0_upper_half", "fxsave_not_aligned")
PASSED = 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_rule_holds(path: Path, guest: GuestRunner) -> None:
    if why := lacks(path, guest.backend):
        pytest.skip(why)
    result = guest(path)
    if guest.machines[-1].backend.name == "kvm":
        if result.outcome is Outcome.DIED:
            pytest.skip(f"KVM does not execute it: {result.reason}")
        if path.stem in KVM_LETS_PASS and result.status == PASSED:
            pytest.skip("KVM's instruction emulator does not hold to it")
    assert not differences(load_guest(path).expect, result)
