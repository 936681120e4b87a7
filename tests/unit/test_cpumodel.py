"""The declared CPU models, apart from any backend."""

from __future__ import annotations

import pytest

from pykvm import cpumodel
from pykvm.cpumodel import FEATURES, MODELS, CpuidEntry
from pykvm.errors import UsageError

# Intel SDM vol. 2A, table 3-10: SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT.
V2_ECX = 1 << 0 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 23
AVX, XSAVE, HYPERVISOR = 1 << 28, 1 << 26, 1 << 31


def leaf(entries: tuple[CpuidEntry, ...], function: int, index: int | None = None) -> CpuidEntry:
    """The entry of a leaf."""
    return next(e for e in entries if (e.function, e.index) == (function, index))


def test_v2_is_exactly_its_level() -> None:
    entries = MODELS["x86-64-v2"].entries(0, 1)
    assert leaf(entries, 1).ecx == V2_ECX | HYPERVISOR
    assert not leaf(entries, 1).ecx & (AVX | XSAVE)
    assert leaf(entries, 0x8000_0001).ecx == 1  # LAHF and SAHF
    assert leaf(entries, 0x8000_0001).edx == 1 << 11 | 1 << 20 | 1 << 29
    assert not [entry for entry in entries if entry.function == 7]


def test_levels_build_on_each_other() -> None:
    assert MODELS["x86-64-v1"].features < MODELS["x86-64-v2"].features
    assert MODELS["x86-64-v2"].features < MODELS["x86-64-v3"].features
    assert MODELS["x86-64-v3"].features == set(FEATURES)


def test_v3_is_exactly_its_level() -> None:
    entries = MODELS["x86-64-v3"].entries(0, 1)
    # FMA, MOVBE, XSAVE, AVX, F16C; BMI1, AVX2, BMI2; LAHF, LZCNT.
    v3_ecx = 1 << 12 | 1 << 22 | XSAVE | AVX | 1 << 29
    assert leaf(entries, 1).ecx == V2_ECX | v3_ecx | HYPERVISOR
    assert leaf(entries, 7, 0).ebx == 1 << 3 | 1 << 5 | 1 << 8
    assert leaf(entries, 0x8000_0001).ecx == 1 | 1 << 5
    assert leaf(entries, 0xD, 0).ecx == 576 + 256


def test_missing_features_are_named_in_order() -> None:
    model = MODELS["x86-64-v2"]
    assert model.missing(model.entries(0, 1)) == []
    assert model.missing(MODELS["x86-64-v1"].entries(0, 1)) == [
        "sse3", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm",
    ]  # fmt: skip
    assert MODELS["x86-64-v3"].missing([]) == list(FEATURES)


@pytest.mark.parametrize(("count", "shift"), [(1, 0), (2, 1), (3, 2), (4, 2), (64, 6)])
def test_topology_has_one_thread_per_core(count: int, shift: int) -> None:
    smt, core, end = cpumodel.topology(0xB, count - 1, count)
    assert (smt.eax, smt.ebx, smt.ecx >> 8) == (0, 1, 1)
    assert (core.eax, core.ebx, core.ecx >> 8) == (shift, count, 2)
    assert end.ecx >> 8 == 0
    assert {smt.edx, core.edx, end.edx} == {count - 1}


@pytest.mark.parametrize(("count", "htt"), [(1, 0), (2, 1)])
def test_several_processors_are_told_in_leaf_1(count: int, htt: int) -> None:
    entry = leaf(MODELS["x86-64-v2"].entries(count - 1, count), 1)
    assert (entry.ebx >> 24, entry.ebx >> 16 & 0xFF) == (count - 1, count)
    assert entry.edx >> 28 & 1 == htt


def test_brands_fit() -> None:
    assert all(len(model.brand) <= 47 and len(model.vendor) == 12 for model in MODELS.values())


def test_host_is_no_model_of_its_own() -> None:
    assert cpumodel.find("host") is None
    assert cpumodel.find("x86-64-v2") is MODELS["x86-64-v2"]
    with pytest.raises(UsageError, match="no CPU model"):
        cpumodel.find("z80")


def test_a_vendor_can_be_chosen() -> None:
    """AMD APM vol. 3, appendix E.3 and E.4: what AMD's leaves repeat, and where cores are told."""
    intel, amd = (cpumodel.find(f"x86-64-v2,vendor={name}") for name in ("intel", "amd"))
    assert intel == MODELS["x86-64-v2"]
    assert amd is not None
    entries = amd.entries(1, 2)
    name = b"".join(
        getattr(leaf(entries, 0), each).to_bytes(4, "little") for each in ("ebx", "edx", "ecx")
    )
    assert name == b"AuthenticAMD"
    assert leaf(entries, 0).registers[1:] == leaf(entries, 0x8000_0000).registers[1:]
    assert leaf(entries, 1).eax == leaf(entries, 0x8000_0001).eax == 0x800F12  # family 23, model 1
    assert leaf(entries, 0x8000_0001).ecx == 1 | 1 << 1
    assert leaf(entries, 0x8000_0001).edx == (
        leaf(entries, 1).edx & 0x0183_F3FF | 1 << 11 | 1 << 20 | 1 << 29
    )
    assert leaf(entries, 0x8000_0008).ecx == 1 | 1 << 12
    assert amd.missing(entries) == []


@pytest.mark.parametrize("name", ["host,vendor=amd", "x86-64-v2,vendor=via", "x86-64-v2,amd"])
def test_other_vendors_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="vendor=amd"):
        cpumodel.find(name)
