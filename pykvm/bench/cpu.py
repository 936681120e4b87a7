"""The emulator's speed against the host's own and, where it is installed, Unicorn's.

The same machine code runs on all of them, in turns, so that the ratios hold on a shared
machine. Loops begin with a buffer's address in rdi, 0 in rsi, 1 in rdx and their turns in rcx.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import truediv
from typing import Any

from pykvm import layout
from pykvm.bench import program
from pykvm.bench.contest import MORE, Column, Contest, Question, Row
from pykvm.bench.program import Program
from pykvm.bench.sampler import Batch, Impossible, Side
from pykvm.errors import PykvmError
from pykvm.loader.image import Image, Mode
from pykvm.machine import Machine
from pykvm.result import Outcome

MEMORY_BYTES = 16 << 20
BUFFER_GPA = 4 << 20
STACK_TOP = 3 << 20
BUFFER_BYTES = 8 << 20
CALL_BODY_HLT = bytes.fromhex("e801000000 f4")  # call the loop; hlt
TURNS = 2_000_000
CR4_OSFXSR = 1 << 9


@dataclass(frozen=True)
class Loop:
    """A piece of machine code that ends with RET."""

    name: str
    per_turn: float
    code: bytes


LOOPS = (
    # mov rax, rdx; shl rax, 13; xor rdx, rax; ... shr 7; ... shl 17; dec ecx; jnz back
    Loop("alu", 11, bytes.fromhex(
        "4889d048c1e00d4831c2 4889d048c1e8074831c2 4889d048c1e0114831c2 ffc975de c3")),
    # mov rax, [rdi + rsi]; add rax, rdx; mov [rdi + rsi + 0x90040], rax; add rsi, 8;
    # and esi, 0x7ffff; add rdx, rax; dec ecx; jnz back
    Loop("mem", 8, bytes.fromhex(
        "488b0437 4801d0 4889843740000900 4883c608 81e6ffff0700 4801c2 ffc975e0 c3")),
    # call work; add rdx, rax; dec ecx; jnz back; ret
    # work: push rbx; test cl, 1; jz 1f; inc rdx; 1: pop rbx; ret
    Loop("call", 9.5, bytes.fromhex("e808000000 4801c2 ffc975f4 c3 53 f6c101 7403 48ffc2 5b c3")),
    # 1.5 to xmm0 and xmm1, 0.75 to xmm2; addsd xmm0, xmm1; mulsd xmm0, xmm2;
    # subsd xmm0, xmm1; dec ecx; jnz back
    Loop("sse", 5, bytes.fromhex(
        "48b8000000000000f83f 66480f6ec0 66480f6ec8 48b8000000000000e83f 66480f6ed0"
        "f20f58c1 f20f59c2 f20f5cc1 ffc975f0 c3")),
    # mem with its buffers exactly 2 and 4 MiB apart, where soft TLBs collide
    Loop("mem, 2 MiB apart", 8, bytes.fromhex(
        "488b0437 4801d0 4889843700002000 4883c608 81e6ffff0700 4801c2 ffc975e0 c3")),
    Loop("mem, 4 MiB apart", 8, bytes.fromhex(
        "488b0437 4801d0 4889843700004000 4883c608 81e6ffff0700 4801c2 ffc975e0 c3")),
)  # fmt: skip
MEAN, MEAN_OF = "geometric mean", ("alu", "mem", "call", "sse")

COLUMNS = (
    Column("native", "native", "{value:.0f} {unit}"),
    Column("ours", "pykvm", "{value:.0f} {unit}"),
    Column("unicorn", "Unicorn", "{value:.0f} {unit}"),
)
NO_NATIVE = "the loops run natively on an x86-64 only"
NO_UNICORN = "Unicorn is not installed; pip install 'pykvm-hv[bench]'"
MEAN_BAR = 1.4
UNICORN_BARS = {"mem": 2.0, "call": 2.0, "sse": 2.0}
NATIVE_BARS = {"alu": 0.1}


class _Unicorn:
    """Unicorn with memory as the emulator has it."""

    def __init__(self, unicorn: Any) -> None:
        self._unicorn = unicorn
        self._x86: Any = importlib.import_module("unicorn.x86_const")

    def _engine(self, code: bytes, memory_bytes: int) -> Any:
        engine = self._unicorn.Uc(self._unicorn.UC_ARCH_X86, self._unicorn.UC_MODE_64)
        engine.mem_map(0, memory_bytes)
        engine.mem_write(layout.LOAD_BASE, code)
        return engine

    def turn_ns(self, loop: Loop, turns: int) -> float:
        """What a turn of the loop takes."""
        engine, x86 = self._engine(CALL_BODY_HLT + loop.code, MEMORY_BYTES), self._x86
        for register, value in (
            (x86.UC_X86_REG_RSP, STACK_TOP), (x86.UC_X86_REG_RDI, BUFFER_GPA),
            (x86.UC_X86_REG_RSI, 0), (x86.UC_X86_REG_RDX, 1), (x86.UC_X86_REG_RCX, turns),
        ):  # fmt: skip
            engine.reg_write(register, value)
        start_ns = time.perf_counter_ns()
        engine.emu_start(layout.LOAD_BASE, layout.LOAD_BASE + len(CALL_BODY_HLT) - 1)
        return (time.perf_counter_ns() - start_ns) / turns

    def create_ns(self) -> float:
        """What an engine takes, from its creation by way of an instruction to its end."""
        start_ns = time.perf_counter_ns()
        engine = self._engine(b"\x90\xf4", 1 << 20)
        engine.emu_start(layout.LOAD_BASE, 0, count=1)
        del engine
        return time.perf_counter_ns() - start_ns


@dataclass(frozen=True)
class Prepared:
    """Whoever is here: the C program that runs code on the host, and Unicorn."""

    native: Program | None
    unicorn: _Unicorn | None


@contextmanager
def prepare() -> Iterator[Prepared]:
    """The C program, where the host is an x86-64, and Unicorn, where it is installed."""
    with ExitStack() as stack:
        has_native = program.path("_loop").exists()
        native = stack.enter_context(program.running("_loop")) if has_native else None
        yield Prepared(native, _unicorn())


def _unicorn() -> _Unicorn | None:
    try:
        return _Unicorn(importlib.import_module("unicorn"))
    except ImportError:
        return None


def _image(code: bytes) -> Image:
    return Image("loop", Mode.LONG, layout.LOAD_BASE, ((layout.LOAD_BASE, code),))


def _turn_ns(loop: Loop, turns: int) -> float:
    with Machine(memory=MEMORY_BYTES, devices=(), backend="emu") as machine:
        machine.load(_image(CALL_BODY_HLT + loop.code))
        registers = machine.registers
        registers.rsp, registers.rdi, registers.rsi = STACK_TOP, BUFFER_GPA, 0
        registers.rdx, registers.rcx = 1, turns
        registers.cr4 |= CR4_OSFXSR
        start_ns = time.perf_counter_ns()
        result = machine.run(timeout=60)
        elapsed_ns = time.perf_counter_ns() - start_ns
    if result.outcome is not Outcome.HALT:
        raise PykvmError(f"the loop {loop.name} did not halt: {result.reason}")
    return elapsed_ns / turns


def _create_ns() -> float:
    start_ns = time.perf_counter_ns()
    machine = Machine(memory="1M", devices=(), backend="emu")
    machine.load(_image(b"\xf4"))
    machine.vcpu.enter()
    machine.close()
    return time.perf_counter_ns() - start_ns


def _loop_sides(loop: Loop, prepared: Prepared, stack: ExitStack) -> dict[str, Side]:
    """Million instructions per second of each."""

    def speed(operate: Callable[[int], float], turns: int) -> Side:
        batch = Batch(operate, turns)
        return lambda: 1000 * loop.per_turn / batch()

    native, unicorn = prepared.native, prepared.unicorn
    code = loop.code.hex()
    return {
        "native": _absent(NO_NATIVE) if native is None else speed(
            lambda turns: native.ask(f"{BUFFER_BYTES} {turns} {code}")[0] / turns, 10 * TURNS
        ),
        "ours": speed(partial(_turn_ns, loop), TURNS),
        "unicorn": (
            _absent(NO_UNICORN) if unicorn is None else speed(partial(unicorn.turn_ns, loop), TURNS)
        ),
    }  # fmt: skip


def _create_sides(prepared: Prepared, stack: ExitStack) -> dict[str, Side]:
    """One creation in a turn: what one side gives back to the allocator, the other may take."""
    unicorn = prepared.unicorn
    return {
        "ours": lambda: _create_ns() / 1000,
        "unicorn": (
            _absent(NO_UNICORN) if unicorn is None else lambda: unicorn.create_ns() / 1000
        ),
    }  # fmt: skip


def _absent(why: str) -> Side:
    def turn() -> Any:
        raise Impossible(why)

    return turn


def _loop_contest(loop: Loop) -> Contest:
    of = "native" if loop.name in NATIVE_BARS else "unicorn"
    bar = (NATIVE_BARS | UNICORN_BARS).get(loop.name)
    question = Question(loop.name, of, bar, MORE, reads="M/s", unit=f"x {of}")
    return Contest((question,), partial(_loop_sides, loop))


@dataclass(frozen=True)
class Mean:
    """The geometric mean of four loops, all against Unicorn."""

    group: str = MEAN
    questions: tuple[Question, ...] = (
        Question(MEAN, "unicorn", MEAN_BAR, MORE, reads="M/s", unit="x unicorn"),
    )

    def measure(self, prepared: Any, rounds: int, before: Sequence[Row]) -> Iterator[Row]:
        """One row, of those that were measured before."""
        loops = {row.question.name: row for row in before if not row.why}
        if missing := [name for name in MEAN_OF if name not in loops]:
            yield Row(self.questions[0], why=f"its loops were not: {', '.join(missing)}")
            return
        of = [loops[name] for name in MEAN_OF]
        if alone := [row for row in of if not row.sides.get("unicorn")]:
            yield Row(self.questions[0], note=alone[0].note)
            return
        against = [map(truediv, row.sides["ours"], row.sides["unicorn"]) for row in of]
        means = [math.prod(each) ** (1 / len(each)) for each in zip(*against, strict=False)]
        yield Row(self.questions[0], samples=means)


CONTESTS = (
    *(_loop_contest(loop) for loop in LOOPS),
    Mean(),
    Contest(
        (Question("create, run, close", "unicorn", 1.0, reads="us", unit="x unicorn"),),
        _create_sides,
        times=20,
    ),
)
