"""CPU models: what the guest's CPUID says on KVM."""

from __future__ import annotations

import pytest

import pykvm
from pykvm import cpumodel, host
from pykvm.backend.kvm import System, as_kvm, cpuid
from pykvm.cpumodel import CpuidEntry
from pykvm.errors import CpuModelError, UsageError
from pykvm.machine import Machine

pytestmark = pytest.mark.usefixtures("free_choice")

TIMEOUT_S = 60  # never reached: a hang ends there
TABLE = 0x2_0000
ASK = f"""
    mov rsi, {TABLE}
again:
    mov eax, [rsi]
    mov ecx, [rsi + 4]
    cpuid
    mov [rsi], eax
    mov [rsi + 4], ebx
    mov [rsi + 8], ecx
    mov [rsi + 12], edx
    add rsi, 16
    cmp dword ptr [rsi + 8], 0
    jne again
    hlt
"""


def ask(vm: Machine, *leaves: tuple[int, int]) -> list[tuple[int, ...]]:
    """EAX to EDX of these leaves and subleaves, as the guest sees them."""
    for position, (function, index) in enumerate(leaves):
        row = b"".join(word.to_bytes(4, "little") for word in (function, index, 1, 0))
        vm.memory.write(TABLE + 16 * position, row)
    vm.load(pykvm.assemble(ASK))
    assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.HALT
    rows = range(TABLE, TABLE + 16 * len(leaves), 16)
    return [tuple(vm.memory.read_int(row + 4 * i, 4) for i in range(4)) for row in rows]


def leaf(entries: tuple[CpuidEntry, ...], function: int, index: int = 0) -> CpuidEntry:
    """The entry of a leaf."""
    return next(e for e in entries if e.function == function and (e.index or 0) == index)


def test_a_guest_sees_the_model() -> None:
    with pykvm.VM(memory="1M", cpu="x86-64-v1") as vm:
        rows = ask(vm, (0, 0), (1, 0), *((0x8000_0002 + part, 0) for part in range(3)))
        maximum, *vendor = rows[0]
        assert maximum == cpumodel.MAX_BASIC
        text = b"".join(vendor[i].to_bytes(4, "little") for i in (0, 2, 1))
        assert text == b"GenuineIntel"
        assert rows[1][0] == 0x106A3  # family 6, model 26, stepping 3
        brand = b"".join(word.to_bytes(4, "little") for row in rows[2:] for word in row)
        assert brand.rstrip(b"\0") == b"pykvm x86-64-v1"


@pytest.mark.parametrize("name", list(cpumodel.MODELS))
def test_a_model_has_its_features_or_is_refused(name: str) -> None:
    try:
        vm = pykvm.VM(memory="1M", cpu=name)
    except CpuModelError as error:
        assert set(error.missing) <= cpumodel.MODELS[name].features
        pytest.skip(str(error))
    with vm:
        model = cpumodel.MODELS[name]
        assert model.missing(as_kvm(vm.vcpu).get_cpuid()) == []


@pytest.mark.skipif(
    host.Host.read().module == "kvm_pvm",
    reason="kvm_pvm shows guests every feature that CPL 3 could use anyway",
)
def test_a_model_has_no_other_features() -> None:
    with pykvm.VM(memory="1M", cpu="x86-64-v1") as vm:
        ecx = leaf(as_kvm(vm.vcpu).get_cpuid(), 1).ecx
        assert ecx == 1 << 31  # the hypervisor bit alone


def test_a_model_that_kvm_lacks_features_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System.shared()
    bare = tuple(entry for entry in cpuid.supported(system) if entry.function != 0x8000_0001)
    monkeypatch.setattr(cpuid, "supported", lambda system: bare)
    monkeypatch.setattr(cpuid, "_granted", lambda system: bare)
    cpuid.prepared.cache_clear()
    with pytest.raises(CpuModelError) as caught:
        pykvm.VM(memory="1M", cpu="x86-64-v1")
    assert caught.value.missing == ["syscall", "nx", "lm"]
    assert "syscall" in str(caught.value)


def test_an_unknown_model_is_refused_with_the_choices() -> None:
    with pytest.raises(UsageError, match="host, x86-64-v1, x86-64-v2"):
        pykvm.VM(memory="1M", cpu="486")


@pytest.mark.parametrize("name", ["host", "x86-64-v1"])
def test_processors_tell_their_own_ids_and_one_topology(name: str) -> None:
    with pykvm.VM(memory="1M", cpu=name, cpus=3) as vm:
        for index in range(3):
            entries = as_kvm(vm.vcpus[index]).get_cpuid()
            assert leaf(entries, 1).ebx >> 24 == index
            assert leaf(entries, 1).ebx >> 16 & 0xFF == 3
            assert leaf(entries, 0xB, 0).edx == leaf(entries, 0xB, 1).edx == index
            assert leaf(entries, 0xB, 1).ebx == 3
            assert leaf(entries, 0xB, 1).eax == 2  # bits of the core's number


def test_the_host_model_keeps_kvms_leaves() -> None:
    with pykvm.VM(memory="1M") as vm:
        ((_, *signature),) = ask(vm, (0x4000_0000, 0))
        text = b"".join(word.to_bytes(4, "little") for word in signature)
        assert text == b"KVMKVMKVM\0\0\0"


def test_the_supported_set_is_asked_for_once() -> None:
    system = System.shared()
    assert cpuid.supported(system) is cpuid.supported(system)


def test_a_timer_in_the_kernel_has_a_deadline() -> None:
    with pykvm.VM(backend="kvm", memory="1M", irqchip="full") as vm:
        has = System.shared().capability("KVM_CAP_TSC_DEADLINE_TIMER")
        assert leaf(vm.vcpu.get_cpuid(), 1).ecx >> 24 & 1 == bool(has)
