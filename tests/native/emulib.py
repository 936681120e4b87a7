"""The emulator's C core as a shared library of its own, for tests: built here, called by cffi.

Set EMU_CFLAGS to build it otherwise, for instance with sanitizers.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import mmap
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cffi import FFI

NATIVE = Path(__file__).parents[2] / "native"
PORTABLE = ["-O1", "-DEMU_FP80_SOFT", "-DEMU_FP_PORTABLE"]  # without the host's arithmetic
GPRS = [
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
]
ES, CS, SS, DS, FS, GS, LDTR, TR = range(8)
STATUS_FLAGS = 0x8D5

CR0_PE, CR0_PG = 1, 1 << 31
CR4_PAE, CR4_OSFXSR = 1 << 5, 1 << 9
EFER_LME, EFER_LMA = 1 << 8, 1 << 10


def declarations() -> str:
    """What cffi can read of the public headers: everything but the preprocessor's lines."""
    text = "".join((NATIVE / name).read_text() for name in ("pykvm.h", "emu/emu.h"))
    constants = re.findall(r"^#define (\w+) (0x[0-9a-f]+|\d+)u?\b", text, re.M)
    text = re.sub(r"static inline.*?\n}\n", "", text, flags=re.S)
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("PYKVM_NATIVE_MAX", "8")
    text = re.sub(
        r"/\* The native devices of one machine.*?\n};\n",
        "struct pykvm_natives;\n",
        text,
        flags=re.S,
    )
    return text + "".join(f"#define {name} {value}\n" for name, value in constants)


def _compile(compiler: list[str], link: list[str], sources: list[Path], target: Path) -> None:
    objects = [target.with_name(f"{path.stem}.o") for path in sources]
    running: list[subprocess.Popen[bytes]] = []
    for source, output in zip(sources, objects, strict=True):
        running.append(subprocess.Popen([*compiler, "-c", str(source), "-o", str(output)]))
        if len(running) == 2:
            assert running.pop(0).wait() == 0, "the emulator does not compile"
    assert all(process.wait() == 0 for process in running), "the emulator does not compile"
    partial = target.with_suffix(".partial")
    subprocess.run([*compiler, *map(str, objects), *link, "-o", str(partial)], check=True)
    partial.rename(target)


def build(flags: list[str], program: Path | None = None, compiler: str | None = None) -> Path:
    """Build the library, or with `program` a program, where sources have changed; where it lies."""
    sources = [*sorted((NATIVE / "emu").glob("*.c")), NATIVE / "natives.c"]
    sources += [program] if program else []
    headers = [*sorted((NATIVE / "emu").glob("*.h")), NATIVE / "pykvm.h"]
    command = [compiler or os.environ.get("CC", "cc"), "-std=c11", "-g", "-ffp-contract=off"]
    command += flags if program else ["-fPIC", *flags]
    digest = hashlib.sha256(repr(command).encode())
    for path in (*sources, *headers):
        digest.update(path.read_bytes())
    directory = Path(tempfile.gettempdir()) / f"emu-{os.getuid()}-{digest.hexdigest()[:16]}"
    target = directory / (program.stem if program else "libemu.so")
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever waited here finds the work done
        if not target.exists():
            link = ["-static", "-lm", "-pthread"] if program else ["-shared", "-pthread"]
            _compile(command, link, sources, target)
    return target


def library() -> Path:
    """The library that EMU_CFLAGS asks for, built if need be."""
    return build(os.environ.get("EMU_CFLAGS", "-O2").split())


@functools.cache
def load() -> tuple[FFI, Any]:
    """The library and its public functions."""
    ffi = FFI()
    ffi.cdef(declarations())
    return ffi, ffi.dlopen(str(library()))


def kind_name(kind: int) -> str:
    """PORT_OUT and so on."""
    ffi, _ = load()
    return str(ffi.typeof("enum pykvm_kind").elements[kind]).removeprefix("PYKVM_")


class Machine:
    """One emulated machine with RAM at 0; `cpu` is its first processor."""

    def __init__(self, ram_bytes: int = 1 << 20, cpus: int = 1) -> None:
        self.ffi, self.lib = load()
        self.ram = mmap.mmap(-1, ram_bytes)
        self._buffer = self.ffi.from_buffer(self.ram)
        self.vm = self.lib.emu_vm_create(self.ffi.NULL)
        assert self.lib.emu_vm_map(self.vm, 0, ram_bytes, self._buffer, 0) == 0
        self.prepare()
        self.cpus = [self.lib.emu_cpu_create(self.vm, index) for index in range(cpus)]
        self.cpu = self.cpus[0]
        self.exit = self.lib.emu_cpu_exit(self.cpu)

    def prepare(self) -> None:
        """What has to happen before there are processors."""

    def close(self) -> None:
        """Free everything."""
        for cpu in self.cpus:
            self.lib.emu_cpu_destroy(cpu)
        self.lib.emu_vm_destroy(self.vm)
        self.ffi.release(self._buffer)
        self.ram.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def write(self, gpa: int, data: bytes) -> None:
        """Put bytes into RAM, as DMA would."""
        self.ram[gpa : gpa + len(data)] = data
        self.lib.emu_vm_note_write(self.vm, gpa, len(data))

    def read(self, gpa: int, size_bytes: int) -> bytes:
        """Bytes of RAM."""
        return self.ram[gpa : gpa + size_bytes]

    def state(self) -> Any:
        """A copy of the processor's state."""
        state = self.ffi.new("struct emu_state *")
        self.lib.emu_cpu_get_state(self.cpu, state)
        return state

    def set_state(self, state: Any) -> None:
        """Load a processor state."""
        assert self.lib.emu_cpu_set_state(self.cpu, state) == 0

    def reg(self, name: str) -> int:
        """A general register, rip or rflags."""
        state = self.state()
        return int(state.gpr[GPRS.index(name)] if name in GPRS else getattr(state, name))

    def run(self, budget: int = 0) -> str:
        """Run to the next exit that is not a tick; its kind's name."""
        kind = self._enter(budget)
        while budget == 0 and kind == self.lib.PYKVM_AGAIN:
            kind = self._enter(budget)
        return kind_name(kind)

    def _enter(self, budget: int) -> int:
        return int(self.lib.emu_cpu_run(self.cpu, budget)) & 0x1F

    def enter(self, mode: str, rip: int, rsp: int = 0x7000, **registers: int) -> None:
        """Set the processor up: "real", "protected" (flat), "long" (identity-mapped, 2 MiB
        pages over 1 GiB; tables at 0x1000) or "user" (long at CPL 3)."""
        state = self.state()
        state.rip, state.rflags = rip, registers.pop("rflags", 2)
        for index in range(16):
            state.gpr[index] = registers.get(GPRS[index], 0)
        state.gpr[4] = rsp
        cpl = 3 if mode == "user" else 0
        wide = mode in ("long", "user")
        for index in (ES, SS, DS, FS, GS):
            set_segment(state.segment[index], 0x18 | cpl, 3, cpl, db=1, real=mode == "real")
        set_segment(
            state.segment[CS],
            (0x10 if wide else 8) | cpl,
            11,
            cpl,
            db=0 if wide else 1,
            code64=wide,
            real=mode == "real",
        )
        state.cr0 = 0x10 if mode == "real" else 0x10 | CR0_PE
        state.cr4, state.efer, state.cr3 = CR4_OSFXSR, 0, 0
        if wide:
            self.identity_map()
            state.cr0 |= CR0_PG
            state.cr4 |= CR4_PAE
            state.efer = EFER_LME | EFER_LMA
            state.cr3 = 0x1000
        self.set_state(state)

    def identity_map(self, flags: int = 7) -> None:
        """Page tables for long mode at 0x1000, 0x2000 and 0x3000."""
        self.write(0x1000, (0x2000 | flags).to_bytes(8, "little"))
        self.write(0x2000, (0x3000 | flags).to_bytes(8, "little"))
        entries = (i << 21 | 0x80 | flags for i in range(512))
        self.write(0x3000, b"".join(entry.to_bytes(8, "little") for entry in entries))


def set_segment(
    segment: Any,
    selector: int,
    type_: int,
    dpl: int,
    *,
    db: int = 0,
    code64: bool = False,
    real: bool = False,
) -> None:
    """A flat segment; in real mode base 0 and 64 KiB."""
    segment.base, segment.selector = 0, 0 if real else selector
    segment.limit = 0xFFFF if real else 0xFFFFFFFF
    segment.type, segment.s, segment.present, segment.dpl = type_, 1, 1, dpl
    segment.db, segment.l, segment.g = 0 if real else db, int(code64), 0 if real else 1
    segment.avl = segment.unusable = 0
