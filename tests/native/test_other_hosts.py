"""The emulator built for AArch64 does what it does here: the differential tester's cases on both.

The AArch64 build runs under qemu-user. Here the portable arithmetic is taken, as there, so that
everything is the same to the bit. docs/emulator.md, "Other hosts".
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import differential
import differential_float
import differential_simd
import differential_x87
import emulib
import encodings_float
import encodings_simd
import kernel
import pytest
from cffi import FFI
from emulib import Machine
from support.debian import installed

PROGRAM = Path(__file__).with_name("replay.c")
FLAGS = ["-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
CR4_OSXMMEXCPT, CR4_OSXSAVE = 1 << 10, 1 << 18
RFLAGS_IOPL3 = 3 << 12
BATCHES, FULL = 4, 100  # of 512 cases each, in each family

MAKERS: dict[str, Callable[[random.Random, int], Any]] = {
    "integer": differential.make_case,
    "simd": differential_simd.maker(encodings_simd.ROWS),
    "float": differential_float.maker(encodings_float.ROWS),
    "x87": differential_x87.make_case,
}


@pytest.fixture(scope="module")
def elsewhere() -> list[str]:
    """The command that runs the AArch64 build; skips where it cannot be made."""
    if platform.machine() != "x86_64":
        pytest.skip("the comparison is between an x86-64 host and AArch64")
    if "PYKVM_SANITIZED" in os.environ:
        pytest.skip("this is a sanitized run, and neither build would be")
    emulator = shutil.which("qemu-aarch64") or installed("qemu-aarch64-static", "qemu-user-static")
    compiler = installed("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
    headers = [compiler, "-E", "-include", "stdlib.h", "-x", "c", "/dev/null"]
    if subprocess.run(headers, capture_output=True).returncode:
        pytest.skip("no C library for AArch64 (Debian: apt-get install libc6-dev-arm64-cross)")
    return [emulator, str(emulib.build(FLAGS, PROGRAM, compiler))]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """On a build without the host's arithmetic."""
    ffi = FFI()
    ffi.cdef(emulib.declarations())
    library = ffi, ffi.dlopen(str(emulib.build(emulib.PORTABLE)))
    monkeypatch.setattr(emulib, "load", lambda: library)
    with Machine(differential.RAM_BYTES) as machine:
        yield machine


def start(machine: Machine) -> Any:
    """CPL 3 with the tester's handlers: the state, as `differential.Oracle` has it on KVM."""
    kernel.long_mode(machine, differential.CODE, user=True, rflags=2 | RFLAGS_IOPL3)
    state = machine.state()
    state.idt.base, state.idt.limit = differential.IDT, 32 * 16 - 1
    state.cr0 |= 2  # MP, so that WAIT looks at what is pending
    state.cr4 |= CR4_OSXMMEXCPT | CR4_OSXSAVE
    state.xcr0 = differential.XCR0_ALL
    machine.set_state(state)
    return state


def ask(command: list[str], state: bytes, pieces: list[tuple[int, bytes]], size: int) -> bytes:
    """What the replaying program makes of a machine: its RAM."""
    request = struct.pack("<2Q", len(pieces), 1) + state
    for gpa, data in pieces:
        request += struct.pack("<2Q", gpa, len(data)) + data
    request += struct.pack("<2Q", 0, size)
    done = subprocess.run(command, input=request, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout[:8] == struct.pack("<Q", 2), "the machine did not end with its OUT"
    return done.stdout[8:]


def differing(number: int, case: Any, ours: bytes, theirs: bytes) -> bool:
    """Whether anything that a case left in memory is not the same."""
    x87 = isinstance(case, differential_x87.Case)
    record = (differential_x87 if x87 else differential).RECORD_BYTES
    places = [(differential.RECORDS, record), (differential.SCRATCH, differential.SCRATCH_BYTES)]
    places.append((differential.VECTORS_OUT, differential.VECTOR_BYTES))
    return any(
        ours[base + number * size :][:size] != theirs[base + number * size :][:size]
        for base, size in places
    )


@pytest.mark.timeout(1200)  # it builds the emulator
@pytest.mark.parametrize("family", MAKERS)
def test_aarch64_does_the_same(
    family: str, machine: Machine, elsewhere: list[str], full: bool
) -> None:
    image: Any = differential_x87.image if family == "x87" else differential.image
    for seed in range(FULL if full else BATCHES):
        rng = random.Random(seed)
        make = MAKERS[family]
        cases = [make(rng, number) for number in range(differential.BATCH)]
        for gpa, data in image(cases):
            machine.write(gpa, data)
        state = start(machine)
        before = machine.read(0, differential.RAM_BYTES)
        pieces = [
            (gpa, before[gpa : gpa + 4096])
            for gpa in range(0, differential.RAM_BYTES, 4096)
            if any(before[gpa : gpa + 4096])
        ]
        theirs = ask(elsewhere, bytes(machine.ffi.buffer(state)), pieces, differential.RAM_BYTES)
        assert machine.run() == "PORT_OUT"
        ours = machine.read(0, differential.RAM_BYTES)
        bad = [str(case) for n, case in enumerate(cases) if differing(n, case, ours, theirs)]
        assert not bad, f"seed {seed}: {len(bad)} differ:\n" + "\n".join(sorted(bad, key=len)[:5])
