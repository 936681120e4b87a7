"""/dev/kvm itself: capabilities, MSR lists, and what its errors say."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from pykvm.backend.kvm import KvmVcpu, KvmVm, System, as_kvm
from pykvm.backend.kvm.calls import call, failure
from pykvm.errors import KvmError, MissingCapability, UsageError

SYSENTER_CS = 0x174
INTERNAL = (
    "call", "check_open", "close_natives", "closed", "detach", "failure", "fd", "irqchip",
    "natives", "open_natives", "shared", "using", "what",
)  # fmt: skip


def test_capabilities_have_their_names_and_values() -> None:
    system = System.shared()
    capabilities = system.capabilities()
    assert capabilities["KVM_CAP_USER_MEMORY"] == 1
    assert capabilities["KVM_CAP_NR_MEMSLOTS"] >= 32
    assert list(capabilities) == sorted(capabilities)
    assert system.capability("KVM_CAP_NR_MEMSLOTS") == capabilities["KVM_CAP_NR_MEMSLOTS"]


def test_a_missing_capability_is_named() -> None:
    system = System.shared()
    absent = [name for name, value in system.capabilities().items() if value <= 0]
    if not absent:
        pytest.skip("this host's KVM has every capability that pykvm knows")
    with pytest.raises(MissingCapability) as caught:
        system.require(absent[0])
    assert caught.value.name == absent[0]
    assert absent[0] in str(caught.value)


def test_the_msrs_of_a_vcpu_are_listed() -> None:
    indices = System.shared().msr_indices()
    assert SYSENTER_CS in indices
    assert len(set(indices)) == len(indices)


def test_feature_msrs_have_values() -> None:
    system = System.shared()
    if not system.capability("KVM_CAP_GET_MSR_FEATURES"):
        pytest.skip("this host's KVM lacks KVM_CAP_GET_MSR_FEATURES")
    features = system.feature_msrs()
    assert features
    assert all(0 <= value < 1 << 64 for value in features.values())


def test_a_failed_call_names_itself_its_errno_and_a_remedy() -> None:
    with pytest.raises(KvmError) as caught:
        call(-1, "KVM_GET_API_VERSION")
    assert (caught.value.call, caught.value.errno) == ("KVM_GET_API_VERSION", errno.EBADF)
    assert "ulimit -n" in str(failure("KVM_CREATE_VM", errno.EMFILE))
    assert "overlaps" in str(failure("KVM_SET_USER_MEMORY_REGION", errno.EEXIST))


def test_an_unsupported_call_says_so() -> None:
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(KvmError, match="does not know the call"):
            call(read_end, "KVM_GET_API_VERSION")
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("part", [System, KvmVm, KvmVcpu])
def test_the_documentation_names_everything(part: type) -> None:
    text = (Path(__file__).parents[2] / "docs/kvm.md").read_text()
    for name in dir(part):
        if not name.startswith("_") and name not in INTERNAL:
            assert re.search(rf"`{name}\b", text), f"docs/kvm.md lacks {name}"


def test_what_does_not_run_on_kvm_says_so() -> None:
    with pytest.raises(UsageError, match="does not run on KVM"):
        as_kvm(object())  # type: ignore[call-overload]
