"""What guests can do on this host, and how fast: tried with tiny guests.

Hosts differ in ways that no capability tells (docs/doctor.md, "Host kinds"), so a guest
that needs, say, INT n at CPL 3 names that feature, and it is probed where the guest would run.

The probe guests are bytes beside their source, so that probing needs no assembler; a test
assembles the source and compares.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from pykvm import layout
from pykvm.errors import KvmError, KvmUnavailable, MissingCapability, ProbeError, UsageError
from pykvm.loader.image import Image, Mode
from pykvm.machine import Machine
from pykvm.result import Outcome, Result

TIMEOUT_S = 0.5
PASSED = 42  # the status that a probe guest ends with when the feature works

HANDLER_BASE = layout.LOAD_BASE + 0x100
IDT_BASE = layout.LOAD_BASE + 0x1000
IDTR_BASE = layout.LOAD_BASE + 0x2000
PAGE_DIRECTORY_BASE = layout.LOAD_BASE + 0x3000
IDT_SIZE = 256 * 16

_BREAKPOINT_VECTOR, _INT_VECTOR = 3, 0x80
_INTERRUPT_GATE = 0xE
_PTE_P, _PTE_RW, _PDE_PS = 1 << 0, 1 << 1, 1 << 7


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of trying a feature.

    Attributes:
        name: the feature.
        ok: whether it works.
        why: what happened where it does not; empty where it does.
    """

    name: str
    ok: bool
    why: str


@dataclass(frozen=True)
class Listing:
    """Guest code as lines of "bytes | source"; a line without bytes is a label."""

    text: str
    base: int = layout.LOAD_BASE

    @property
    def code(self) -> bytes:
        """The left column."""
        return bytes.fromhex("".join(line.split("|")[0] for line in self._lines()))

    @property
    def source(self) -> str:
        """The right column."""
        return "\n".join(line.split("|")[1].strip() for line in self._lines())

    def _lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if "|" in line]


@dataclass(frozen=True)
class Feature:
    """A feature and the guest that tries it.

    Attributes:
        meaning: what works where the feature is there.
        listings: the guest's code; it ends with status PASSED.
        data: what else it finds in memory, by gpa.
    """

    meaning: str
    listings: tuple[Listing, ...]
    mode: Mode = Mode.LONG
    data: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def image(self) -> Image:
        """The guest, ready to be loaded."""
        code = tuple((listing.base, listing.code) for listing in self.listings)
        return Image("<probe>", self.mode, layout.LOAD_BASE, code + tuple(self.data.items()))


def _idt(vector: int) -> dict[int, bytes]:
    """A table with one gate, open to CPL 3; any other vector is a triple fault.

    Source: Intel SDM vol. 3A §6.14.1.
    """
    access = 0x80 | 3 << 5 | _INTERRUPT_GATE
    gate = struct.pack(
        "<HHBBHII",
        HANDLER_BASE & 0xFFFF,
        layout.CODE64_SELECTOR,
        0,
        access,
        HANDLER_BASE >> 16,
        0,
        0,
    )
    return {
        IDT_BASE: bytes(16 * vector) + gate,
        IDTR_BASE: struct.pack("<HQ", IDT_SIZE - 1, IDT_BASE),
    }


_CPL0_INT = Listing("""
    0f 01 1c 25 00 20 01 00 | lidt [0x12000]
    31 c0                   | xor eax, eax
    cd 80                   | int 0x80
    e7 f8                   | out 0xf8, eax
""")

_USER_INT = Listing("""
    0f 01 1c 25 00 20 01 00 | lidt [0x12000]
    31 c0                   | xor eax, eax
    6a 2b                   | push 0x2b
    68 00 00 07 00          | push 0x70000
    68 02 30 00 00          | push 0x3002
    6a 33                   | push 0x33
    48 8d 0d 03 00 00 00    | lea rcx, [rip + user]
    51                      | push rcx
    48 cf                   | iretq
                            | user:
    cd 80                   | int 0x80
    e7 f8                   | out 0xf8, eax
""")

_USER_EXCEPTION = Listing("""
    0f 01 1c 25 00 20 01 00 | lidt [0x12000]
    31 c0                   | xor eax, eax
    6a 2b                   | push 0x2b
    68 00 00 07 00          | push 0x70000
    68 02 30 00 00          | push 0x3002
    6a 33                   | push 0x33
    48 8d 0d 03 00 00 00    | lea rcx, [rip + user]
    51                      | push rcx
    48 cf                   | iretq
                            | user:
    cc                      | int3
    e7 f8                   | out 0xf8, eax
""")

_INT_HANDLER = Listing(
    """
    b8 2a 00 00 00          | mov eax, 42
    48 cf                   | iretq
""",
    HANDLER_BASE,
)

# STAR: SYSCALL loads CS 0x10, SYSRET 0x20 + 16 for 64-bit code (Intel SDM vol. 2B).
_USER_SYSCALL = Listing("""
    b9 80 00 00 c0          | mov ecx, 0xc0000080
    0f 32                   | rdmsr
    83 c8 01                | or eax, 1
    0f 30                   | wrmsr
    b9 81 00 00 c0          | mov ecx, 0xc0000081
    31 c0                   | xor eax, eax
    ba 10 00 20 00          | mov edx, 0x200010
    0f 30                   | wrmsr
    b9 82 00 00 c0          | mov ecx, 0xc0000082
    b8 00 01 01 00          | mov eax, 0x10100
    31 d2                   | xor edx, edx
    0f 30                   | wrmsr
    31 c0                   | xor eax, eax
    6a 2b                   | push 0x2b
    68 00 00 07 00          | push 0x70000
    68 02 30 00 00          | push 0x3002
    6a 33                   | push 0x33
    48 8d 0d 03 00 00 00    | lea rcx, [rip + user]
    51                      | push rcx
    48 cf                   | iretq
                            | user:
    0f 05                   | syscall
    e7 f8                   | out 0xf8, eax
""")

_SYSCALL_HANDLER = Listing(
    """
    b8 2a 00 00 00          | mov eax, 42
    48 0f 07                | sysretq
""",
    HANDLER_BASE,
)

# 5 + 2 by SSE, times 6 = 42 by x87.
_CPL0_SSE = Listing("""
    b8 05 00 00 00          | mov eax, 5
    f2 48 0f 2a c0          | cvtsi2sd xmm0, rax
    b8 03 00 00 00          | mov eax, 3
    f3 0f b8 c0             | popcnt eax, eax
    f2 48 0f 2a c8          | cvtsi2sd xmm1, rax
    f2 0f 58 c1             | addsd xmm0, xmm1
    f2 0f 2c c0             | cvttsd2si eax, xmm0
    6a 06                   | push 6
    50                      | push rax
    db 04 24                | fild dword ptr [rsp]
    da 4c 24 08             | fimul dword ptr [rsp + 8]
    db 1c 24                | fistp dword ptr [rsp]
    58                      | pop rax
    e7 f8                   | out 0xf8, eax
""")

# 32 + 10; as BSF and BSR, which they silently are to an emulator that ignores F3, 10 + 21.
_CPL0_COUNTS = Listing("""
    31 c9                   | xor ecx, ecx
    b8 0a 00 00 00          | mov eax, 10
    f3 0f bc c1             | tzcnt eax, ecx
    b9 00 00 20 00          | mov ecx, 0x200000
    f3 0f bd d1             | lzcnt edx, ecx
    01 d0                   | add eax, edx
    e7 f8                   | out 0xf8, eax
""")

# -1 is no hypercall that KVM knows: rax comes back as -KVM_ENOSYS (linux/kvm_para.h).
_HYPERCALL = Listing("""
    48 c7 c0 ff ff ff ff    | mov rax, -1
    0f 01 c1                | vmcall
    b8 2a 00 00 00          | mov eax, 42
    e7 f8                   | out 0xf8, eax
""")

_PAGING32 = Listing("""
    b8 00 30 01 00          | mov eax, 0x13000
    0f 22 d8                | mov cr3, eax
    0f 20 e0                | mov eax, cr4
    83 c8 10                | or eax, 0x10
    0f 22 e0                | mov cr4, eax
    0f 20 c0                | mov eax, cr0
    0d 00 00 00 80          | or eax, 0x80000000
    0f 22 c0                | mov cr0, eax
    b8 2a 00 00 00          | mov eax, 42
    e7 f8                   | out 0xf8, eax
""")

FEATURES: Mapping[str, Feature] = {
    "user-exception": Feature(
        "INT3 from CPL 3 to a handler at CPL 0, and back",
        (_USER_EXCEPTION, _INT_HANDLER),
        data=_idt(_BREAKPOINT_VECTOR),
    ),
    "user-int": Feature(
        "INT n from CPL 3 to a handler at CPL 0, and back",
        (_USER_INT, _INT_HANDLER),
        data=_idt(_INT_VECTOR),
    ),
    "user-syscall": Feature(
        "SYSCALL from CPL 3 to a handler at CPL 0, and SYSRETQ back",
        (_USER_SYSCALL, _SYSCALL_HANDLER),
    ),
    "cpl0-int": Feature(
        "INT n at CPL 0 to a handler, and back",
        (_CPL0_INT, _INT_HANDLER),
        data=_idt(_INT_VECTOR),
    ),
    "cpl0-sse": Feature("SSE arithmetic, POPCNT and x87 at CPL 0", (_CPL0_SSE,)),
    "cpl0-counts": Feature("TZCNT and LZCNT at CPL 0, not BSF and BSR", (_CPL0_COUNTS,)),
    "hypercall": Feature("a hypercall from CPL 0 that returns", (_HYPERCALL,)),
    "paging32": Feature(
        "32-bit code with paging on",
        (_PAGING32,),
        Mode.PROTECTED,
        {PAGE_DIRECTORY_BASE: struct.pack("<I", _PTE_P | _PTE_RW | _PDE_PS)},
    ),
}


# Measured: two instructions a turn, rcx turns.
LOOP = Listing("""
                            | next:
    ff c9                   | dec ecx
    75 fc                   | jnz next
    e7 f8                   | out 0xf8, eax
""")

FIRST_TURNS, LAST_TURNS = 1 << 10, 1 << 30
ENOUGH_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """A measurement: how fast a loop of simple instructions ran.

    Attributes:
        cpl: the privilege level of its code.
        instructions, wall_ns: executed, and how long it took, one exit included.
    """

    cpl: int
    instructions: int
    wall_ns: int

    @property
    def per_s(self) -> float:
        """Instructions per second."""
        return self.instructions * 1e9 / self.wall_ns


@cache
def probe(name: str, backend: str = "kvm") -> Probe:
    """Whether guests can use a feature on this host; tried once per process.

    Args:
        name: one of FEATURES.
        backend: where to try it.

    Raises:
        UsageError: there is no such feature, or no such backend.
    """
    if name not in FEATURES:
        known = ", ".join(FEATURES)
        raise UsageError(f"there is no feature {name!r} to probe; choose from {known}")
    feature = FEATURES[name]
    try:
        result = _try(feature, backend)
    except (KvmUnavailable, MissingCapability, KvmError) as error:
        return Probe(name, False, str(error))
    if result.outcome is Outcome.EXIT and result.status == PASSED:
        return Probe(name, True, "")
    return Probe(name, False, f"{feature.meaning}: not on this host: {_what(result)}")


def measure(mode: Mode = Mode.LONG, backend: str = "kvm") -> Pace:
    """Measure code at CPL 0 (Mode.LONG) or CPL 3 (Mode.USER).

    The loop grows until it takes some milliseconds, so that it is short on any host.

    Raises:
        KvmUnavailable: there is nowhere to measure.
        ProbeError: the loop did not come to its end.
    """
    with Machine(memory=layout.MIN_RAM_SIZE, backend=backend, devices=("exit",)) as machine:
        turns = FIRST_TURNS
        while True:
            wall_ns = _time_loop(machine, mode, turns)
            if wall_ns >= ENOUGH_NS or turns >= LAST_TURNS:
                return Pace(3 if mode is Mode.USER else 0, 2 * turns, wall_ns)
            turns *= 2


def _time_loop(machine: Machine, mode: Mode, turns: int) -> int:
    pieces = ((LOOP.base, LOOP.code),)
    machine.load(Image("<loop>", mode, LOOP.base, pieces, registers={"rcx": turns}))
    result = machine.run(timeout=TIMEOUT_S)
    if result.outcome is not Outcome.EXIT:
        raise ProbeError(f"a loop of {2 * turns} instructions did not end: {result.reason}")
    return result.wall_ns


def _try(feature: Feature, backend: str) -> Result:
    with Machine(memory=layout.MIN_RAM_SIZE, backend=backend, devices=("exit",)) as machine:
        machine.load(feature.image)
        return machine.run(timeout=TIMEOUT_S)


def _what(result: Result) -> str:
    if result.outcome is Outcome.EXIT:
        return f"the probe came to {result.status}, not {PASSED}"
    return result.reason
