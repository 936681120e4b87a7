"""Named processors: what CPUID tells a guest, the same on every machine and backend.

Source: Intel SDM vol. 2A, CPUID; System V ABI for x86-64, "Micro-Architecture Levels".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from pykvm.errors import UsageError


@dataclass(frozen=True, slots=True)
class CpuidEntry:
    """What CPUID gives for one leaf; `index` is None where ECX does not matter."""

    function: int
    index: int | None
    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0

    @property
    def registers(self) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX."""
        return self.eax, self.ebx, self.ecx, self.edx


class FeatureBit(NamedTuple):
    """Where CPUID tells of a feature."""

    function: int
    register: str
    bit: int


def _bits(function: int, register: str, names: dict[str, int]) -> dict[str, FeatureBit]:
    return {name: FeatureBit(function, register, bit) for name, bit in names.items()}


# Names as in /proc/cpuinfo.
FEATURES: dict[str, FeatureBit] = {
    **_bits(1, "edx", {
        "fpu": 0, "de": 2, "pse": 3, "tsc": 4, "msr": 5, "pae": 6, "mce": 7, "cx8": 8, "apic": 9,
        "sep": 11, "mtrr": 12, "pge": 13, "mca": 14, "cmov": 15, "pat": 16, "pse36": 17,
        "clflush": 19, "mmx": 23, "fxsr": 24, "sse": 25, "sse2": 26,
    }),
    **_bits(1, "ecx", {
        "sse3": 0, "ssse3": 9, "fma": 12, "cx16": 13, "sse4_1": 19, "sse4_2": 20, "movbe": 22,
        "popcnt": 23, "xsave": 26, "avx": 28, "f16c": 29,
    }),
    **_bits(7, "ebx", {"bmi1": 3, "avx2": 5, "bmi2": 8}),
    **_bits(0x8000_0001, "edx", {"syscall": 11, "nx": 20, "lm": 29}),
    **_bits(0x8000_0001, "ecx", {"lahf_lm": 0, "abm": 5}),
}  # fmt: skip

# The baseline of the ABI (level 1), and what every 64-bit operating system expects with it.
V1 = frozenset(name for name, where in FEATURES.items() if where.register == "edx")
V2 = V1 | {"sse3", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm"}
V3 = V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}


class Vendor(NamedTuple):
    """Who made a processor, and which of theirs it passes for."""

    name: bytes
    family: int
    model: int
    stepping: int


INTEL = Vendor(b"GenuineIntel", 6, 26, 3)
AMD = Vendor(b"AuthenticAMD", 23, 1, 2)

_HYPERVISOR = FeatureBit(1, "ecx", 31)
_HTT = FeatureBit(1, "edx", 28)

MAX_BASIC, MAX_EXTENDED = 0xD, 0x8000_0008
MAX_HYPERVISOR = 0x4000_0000
HYPERVISOR_SIGNATURE = b"pykvm\0\0\0\0\0\0\0"
_CLFLUSH_BYTES = 64
_PHYSICAL_BITS, _LINEAR_BITS = 40, 48
_CMP_LEGACY = 1 << 1  # leaf 0x80000001, ECX: processors of a package are cores, not threads
_REPEATED_EDX = 0x0183_F3FF  # leaf 1's bits that AMD's leaf 0x80000001 has too
_LEVEL_SMT, _LEVEL_CORE = 1, 2  # leaf 0xB, ECX 15:8


# Leaf 0xD: x87, SSE and AVX state; 512 bytes, a header of 64, and 256 for the upper halves of
# YMM registers. EBX of subleaf 0 follows XCR0 in a running guest. Intel SDM vol. 1 §13.2.
_YMM_BYTES, _YMM_OFFSET = 256, 576
XSAVE_LEAVES = (
    CpuidEntry(0xD, 0, 7, _YMM_OFFSET, _YMM_OFFSET + _YMM_BYTES, 0),
    CpuidEntry(0xD, 2, _YMM_BYTES, _YMM_OFFSET, 0, 0),
)


@dataclass(frozen=True)
class CpuModel:
    """A processor by its name.

    Attributes:
        name: what a user asks for.
        vendor: twelve bytes.
        family, model, stepping: as displayed.
        brand: at most 47 characters.
        features: names out of FEATURES.
    """

    name: str
    vendor: bytes
    family: int
    model: int
    stepping: int
    brand: str
    features: frozenset[str]

    def entries(self, index: int, count: int) -> tuple[CpuidEntry, ...]:
        """All leaves that are not zero, for one processor of a machine.

        Args:
            index: of the processor; its APIC id.
            count: how many processors the machine has.
        """
        return (
            CpuidEntry(0, None, MAX_BASIC, *_vendor(self.vendor)),
            self._leaf_1(index, count),
            *self._leaf_7(),
            *topology(0xB, index, count),
            *(XSAVE_LEAVES if "xsave" in self.features else ()),
            CpuidEntry(MAX_HYPERVISOR, None, MAX_HYPERVISOR, *_words(HYPERVISOR_SIGNATURE)),
            *self._extended(count),
        )

    def _extended(self, count: int) -> tuple[CpuidEntry, ...]:
        """From 0x80000000 on. AMD's processors repeat there what leaves 0 and 1 say, and tell how
        many cores there are (AMD APM vol. 3, appendix E.4); Intel's have zeros.
        """
        ecx, edx = self._mask(0x8000_0001, "ecx"), self._mask(0x8000_0001, "edx")
        sizes = _PHYSICAL_BITS | _LINEAR_BITS << 8
        if self.vendor != AMD.name:
            head = CpuidEntry(0x8000_0000, None, MAX_EXTENDED)
            features = CpuidEntry(0x8000_0001, None, ecx=ecx, edx=edx)
            cores = 0
        else:
            head = CpuidEntry(0x8000_0000, None, MAX_EXTENDED, *_vendor(self.vendor))
            ecx |= _CMP_LEGACY if count > 1 else 0
            edx |= self._mask(1, "edx") & _REPEATED_EDX
            features = CpuidEntry(0x8000_0001, None, self._signature(), ecx=ecx, edx=edx)
            cores = count - 1 | (count - 1).bit_length() << 12
        return head, features, *self._brand(), CpuidEntry(0x8000_0008, None, sizes, ecx=cores)

    def _signature(self) -> int:
        base = min(self.family, 0xF)
        return (
            self.stepping | (self.model & 0xF) << 4 | base << 8 | (self.model >> 4) << 16
            | self.family - base << 20
        )  # fmt: skip

    def missing(self, entries: Iterable[CpuidEntry]) -> list[str]:
        """Features of the model that these leaves lack, in the order of FEATURES."""
        found = {entry.function: entry for entry in entries if not entry.index}
        return [
            name
            for name, (function, register, bit) in FEATURES.items()
            if name in self.features
            and not (function in found and getattr(found[function], register) >> bit & 1)
        ]

    def _leaf_1(self, index: int, count: int) -> CpuidEntry:
        return with_apic_id(
            CpuidEntry(
                1,
                None,
                self._signature(),
                _CLFLUSH_BYTES // 8 << 8,
                self._mask(1, "ecx") | 1 << _HYPERVISOR.bit,
                self._mask(1, "edx"),
            ),
            index,
            count,
        )

    def _leaf_7(self) -> list[CpuidEntry]:
        ebx = self._mask(7, "ebx")
        return [CpuidEntry(7, 0, ebx=ebx)] if ebx else []

    def _mask(self, function: int, register: str) -> int:
        places = (FEATURES[name] for name in self.features)
        return sum(
            1 << at.bit for at in places if (at.function, at.register) == (function, register)
        )

    def _brand(self) -> list[CpuidEntry]:
        text = self.brand.encode().ljust(48, b"\0")
        return [
            CpuidEntry(0x8000_0002 + part, None, *_words(text[16 * part : 16 * part + 16]))
            for part in range(3)
        ]


def topology(function: int, index: int, count: int) -> list[CpuidEntry]:
    """Leaf 0xB or 0x1F: one package of `count` cores with one thread each."""
    shift = (count - 1).bit_length()
    return [
        CpuidEntry(function, 0, 0, 1, 0 | _LEVEL_SMT << 8, index),
        CpuidEntry(function, 1, shift, count, 1 | _LEVEL_CORE << 8, index),
        CpuidEntry(function, 2, 0, 0, 2, index),
    ]


def with_apic_id(leaf_1: CpuidEntry, index: int, count: int) -> CpuidEntry:
    """Leaf 1 with the processor's APIC id and the number of processors."""
    several = 1 << _HTT.bit
    return replace(
        leaf_1,
        ebx=leaf_1.ebx & 0xFFFF | min(count, 0xFF) << 16 | (index & 0xFF) << 24,
        edx=leaf_1.edx | several if count > 1 else leaf_1.edx & ~several,
    )


def _words(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4))


def _vendor(vendor: bytes) -> tuple[int, int, int]:
    """EBX, ECX, EDX of leaf 0, which holds the name in the order EBX, EDX, ECX."""
    first, second, third = _words(vendor)
    return first, third, second


def _model(name: str, features: frozenset[str], vendor: Vendor) -> CpuModel:
    return CpuModel(name, *vendor, f"pykvm {name}", features)


_LEVELS = {"x86-64-v1": V1, "x86-64-v2": V2, "x86-64-v3": V3}
MODELS = {name: _model(name, features, INTEL) for name, features in _LEVELS.items()}
HOST = "host"
_VENDORS = {
    "": INTEL,
    "vendor=intel": INTEL,
    "vendor=amd": AMD,
}


def find(name: str) -> CpuModel | None:
    """The model of this name; None for "host", which is whatever the machine has.

    Args:
        name: "host", or one of MODELS, to which ",vendor=amd" or ",vendor=intel" may be added.

    Raises:
        UsageError: there is none.
    """
    if name == HOST or name in MODELS:
        return MODELS.get(name)
    level, _, option = name.partition(",")
    if level not in _LEVELS or option not in _VENDORS:
        raise UsageError(
            f"there is no CPU model {name!r}; choose one of {', '.join((HOST, *MODELS))}; all but "
            f"{HOST} take ,vendor=amd or ,vendor=intel"
        )
    return _model(level, _LEVELS[level], _VENDORS[option])
