"""A guest that times one operation again and again by its own time-stamp counter.

It is assembled once: rcx, or ecx in the smaller modes, tells how many samples to take.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pykvm import asm, layout
from pykvm.asm import Program
from pykvm.loader.image import Mode
from pykvm.machine import Machine

SAMPLES_BASE = 4 << 20
SAMPLES_MAX = 1 << 18
REAL_SAMPLES_BASE = 0xA000
REAL_SAMPLES_MAX = 4096
MEMORY = "16M"

# r13 to r15 belong to the loop. A sample is 8 bytes.
_WIDE = """
    mov r14, {base:#x}
    mov r15, rcx
    {setup}
again:
    {before}
    {fence}
    rdtsc
    shl rdx, 32
    lea r13, [rdx + rax]
    {operation}
    {fence}
    rdtsc
    shl rdx, 32
    add rax, rdx
    sub rax, r13
    mov [r14], rax
    add r14, 8
    {after}
    dec r15
    jnz again
    mov al, 0
    out {exit_port:#x}, al
    {tail}
"""

# ebp, edi and esi belong to the loop. A sample is 4 bytes: the lower half of the difference.
_NARROW = """
    mov edi, {base:#x}
    mov esi, ecx
    {setup}
again:
    {before}
    {fence}
    rdtsc
    mov ebp, eax
    {operation}
    {fence}
    rdtsc
    sub eax, ebp
    mov [edi], eax
    add edi, 4
    {after}
    dec esi
    jnz again
    mov al, 0
    out {exit_port:#x}, al
    {tail}
"""


@dataclass(frozen=True)
class Loop:
    """What is timed, and what it needs.

    Attributes:
        operation: assembly; it keeps r13 to r15 (ebp, edi, esi in real and protected mode).
        setup: runs once; `before` and `after` around each sample, outside the clock.
        tail: code that the loop does not run into: handlers and tables.
        repeat: how many operations there are in one sample.
        machine: arguments of `Machine`.
        prepare: called with the machine before the guest runs, and again before each batch;
            what it returns is kept alive as long as the machine.
        serving: called in place of `Machine.run` where the batch is not simply run.
    """

    operation: str = ""
    setup: str = ""
    before: str = ""
    after: str = ""
    tail: str = ""
    mode: Mode = Mode.LONG
    repeat: int = 1
    machine: tuple[tuple[str, Any], ...] = ()
    prepare: Callable[[Machine], Any] | None = field(default=None, compare=False)

    @property
    def is_wide(self) -> bool:
        """Whether the loop is 64-bit code."""
        return self.mode in (Mode.LONG, Mode.USER)

    @property
    def samples_base(self) -> int:
        """Where the guest leaves its samples."""
        return REAL_SAMPLES_BASE if self.mode is Mode.REAL else SAMPLES_BASE

    @property
    def samples_max(self) -> int:
        """How many fit there."""
        return REAL_SAMPLES_MAX if self.mode is Mode.REAL else SAMPLES_MAX

    def program(self, fence: str) -> Program:
        """The guest; `fence` keeps RDTSC from running early, where the processor has one."""
        return _assembled(self, fence)

    def read(self, machine: Machine, count: int) -> list[int]:
        """The samples of a run, in cycles of the guest's counter."""
        size_bytes = 8 if self.is_wide else 4
        data = machine.memory.read(self.samples_base, count * size_bytes)
        return list(struct.unpack(f"<{count}{'Q' if size_bytes == 8 else 'I'}", data))


@cache
def _assembled(loop: Loop, fence: str) -> Program:
    operation = "\n    ".join([loop.operation] * loop.repeat)
    source = (_WIDE if loop.is_wide else _NARROW).format(
        base=loop.samples_base,
        setup=loop.setup,
        before=loop.before,
        fence=fence,
        operation=operation,
        after=loop.after,
        tail=loop.tail,
        exit_port=layout.EXIT_PORT,
    )
    return asm.assemble(source, mode=loop.mode, name="measuring loop")
