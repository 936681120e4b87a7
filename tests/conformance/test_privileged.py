"""Rules of privileged code, a guest for each: the same outcome on every backend.

A guest is one file below privileged/. Where KVM is known not to hold to its rule, its head has a
paragraph "On KVM of host kind 3: what was seen", or "of AMD's processors", and the test skips there
with those words. A guest that is about what not all processors have asks CPUID first.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_guests import differences, lacks, opened

from pykvm import host
from pykvm.guest import load_guest
from pykvm.testing import GuestRunner

ROOT = Path(__file__).parent / "privileged"
FILES = sorted(ROOT.glob("*/*.S"))
LACKING = 77  # check64.inc
NOTE = re.compile(r"^# On KVM of ([^:\n]+): (.+(?:\n# .+)*)", re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_rule_holds(path: Path, guest: GuestRunner) -> None:
    if why := lacks(path, guest.backend):
        pytest.skip(why)
    result = guest(opened(path))
    if result.status == LACKING:
        pytest.skip("the processor has not what the rule is about, as its CPUID says")
    different = differences(opened(path).expect, result)
    on_kvm = guest.machines[-1].backend.name == "kvm"
    if different and on_kvm and (why := known(path)):
        pytest.skip(f"KVM: {why}")
    assert not different


def known(path: Path) -> str:
    """What a guest's head says of KVM on hosts like this one; empty where it says nothing."""
    here = host.Host.read()
    places = [f"host kind {here.kind}"]
    if here.module == "kvm_amd":
        places.append("AMD's processors")
    notes = NOTE.findall(load_guest(path).source)
    return " ".join(text.replace("\n# ", " ") for where, text in notes if where in places)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_guest_cites_its_rule(path: Path) -> None:
    source = load_guest(path).source
    assert re.search(r"^# Source: (Intel SDM|AMD APM) ", source, re.MULTILINE)
