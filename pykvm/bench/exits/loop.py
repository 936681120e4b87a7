"""A guest that times one operation again and again by its own time-stamp counter.

It is assembled once: rcx, or ecx in the smaller modes, tells how many samples to take.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pykvm import asm, layout
from pykvm.asm import Program
from pykvm.exits import Exit
from pykvm.loader.image import Mode
from pykvm.machine import Machine

Wire = Callable[[Machine, ExitStack], object]
Prepare = Callable[[Machine], object]
Serve = Callable[[Machine, int], Exit]

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
    {end}
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
_WIDE_END = "rdtsc\n    shl rdx, 32\n    add rax, rdx"

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
    {end}
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
_NARROW_END = "rdtsc"


@dataclass(frozen=True)
class Loop:
    """What is timed, and what it needs.

    Attributes:
        operation: assembly; it keeps r13 to r15 (ebp, edi, esi in real and protected mode).
        given: assembly in front of each operation that is no part of it: it is timed by
            itself, with the clock, and subtracted.
        setup: runs once; `before` and `after` around each sample, outside the clock.
        tail: code that the loop does not run into: handlers and tables.
        end: assembly that puts the end of a sample into rax, where that is not the time at
            which the operation is over. Only what the clock itself takes is subtracted then.
        turns: how many operations `operation` is.
        repeats: whether it can stand several times in one sample, where it is short.
        raw: nothing is subtracted.
        most: samples in one batch; 0 for as many as there is room for.
        machine: arguments of `Machine`.
        wire: called once with the machine, and with what closes what it opens.
        prepare: called before each batch, with the guest loaded.
        serve: runs the guest to an exit, in place of `Machine.run`: timeout in nanoseconds.
    """

    operation: str = ""
    given: str = ""
    setup: str = ""
    before: str = ""
    after: str = ""
    tail: str = ""
    end: str = ""
    mode: Mode = Mode.LONG
    turns: int = 1
    repeats: bool = True
    raw: bool = False
    most: int = 0
    machine: tuple[tuple[str, Any], ...] = ()
    wire: Wire | None = field(default=None, compare=False)
    prepare: Prepare | None = field(default=None, compare=False)
    serve: Serve | None = None

    def bare(self) -> Loop:
        """The same without the operation: what is subtracted from each sample."""
        if self.end:
            return Loop(mode=self.mode, repeats=False)
        return Loop(
            given=self.given, mode=self.mode, repeats=False, serve=self.serve,
            setup=self.setup if self.serve else "",
            prepare=self.prepare if self.serve else None,
        )  # fmt: skip

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
        """How many samples a batch can have."""
        return self.most or (REAL_SAMPLES_MAX if self.mode is Mode.REAL else SAMPLES_MAX)

    def program(self, fence: str, repeat: int = 1) -> Program:
        """The guest; `fence` keeps RDTSC from running early, where the processor has one."""
        return _assembled(replace(self, machine=(), wire=None, prepare=None),
                          fence, repeat)  # fmt: skip

    def read(self, machine: Machine, count: int) -> list[int]:
        """The samples of a run, in cycles of the guest's counter."""
        size_bytes = 8 if self.is_wide else 4
        data = machine.memory.read(self.samples_base, count * size_bytes)
        return list(struct.unpack(f"<{count}{'Q' if size_bytes == 8 else 'I'}", data))


@cache
def _assembled(loop: Loop, fence: str, repeat: int) -> Program:
    end = loop.end or f"{fence}\n    {_WIDE_END if loop.is_wide else _NARROW_END}"
    source = (_WIDE if loop.is_wide else _NARROW).format(
        base=loop.samples_base,
        setup=loop.setup,
        before=loop.before,
        fence=fence,
        operation="\n    ".join([loop.given, loop.operation] * repeat),
        end=end,
        after=loop.after,
        tail=loop.tail,
        exit_port=layout.EXIT_PORT,
    )
    return asm.assemble(source, mode=loop.mode, name="measuring loop")
