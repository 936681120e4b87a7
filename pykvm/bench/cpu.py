"""The emulator's speed against the host's own and, where it is installed, Unicorn's.

The same machine code runs on all of them, in turns, so that the ratios hold on a shared
machine. Loops begin with a buffer's address in rdi, 0 in rsi, 1 in rdx and their turns in rcx.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from pykvm import layout
from pykvm.bench import program
from pykvm.bench.program import Program
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
MEAN_OF = ("alu", "mem", "call", "sse")

ROUNDS = 5
HEAD = f"{'native':>10} {'pykvm':>10} {'Unicorn':>10}"
MEAN_BAR = 1.4
UNICORN_BARS = {"mem": 2.0, "call": 2.0, "sse": 2.0}
NATIVE_BARS = {"alu": 0.1}
CREATE_BAR = 1.0


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        native, ours, unicorn: medians over the rounds; None where there is none.
        unit: of the three: "M/s" (million instructions per second), or "us".
        figure: what the bar is about: the median of the rounds' ratios.
        of: what of: "unicorn" or "native".
        bar: the least the figure should be for "M/s", the most for "us".
    """

    name: str
    native: float | None
    ours: float | None
    unicorn: float | None
    unit: str
    figure: float | None = None
    of: str | None = None
    bar: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its bar; None without one of them."""
        if self.figure is None or self.bar is None:
            return None
        return self.figure >= self.bar if self.unit == "M/s" else self.figure <= self.bar

    def cells(self) -> str:
        """The sides and the figure, as HEAD has them."""
        sides = (
            f"{'' if side is None else f'{side:.0f} {self.unit}':>10}"
            for side in (self.native, self.ours, self.unicorn)
        )
        figure = "" if self.figure is None else f"{self.figure:7.3f} x {self.of}"
        return f"{' '.join(sides)} {figure:>17}"


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

    def speed(self, loop: Loop) -> float:
        engine, x86 = self._engine(CALL_BODY_HLT + loop.code, MEMORY_BYTES), self._x86
        for register, value in (
            (x86.UC_X86_REG_RSP, STACK_TOP), (x86.UC_X86_REG_RDI, BUFFER_GPA),
            (x86.UC_X86_REG_RSI, 0), (x86.UC_X86_REG_RDX, 1), (x86.UC_X86_REG_RCX, TURNS),
        ):  # fmt: skip
            engine.reg_write(register, value)
        start_ns = time.perf_counter_ns()
        engine.emu_start(layout.LOAD_BASE, layout.LOAD_BASE + len(CALL_BODY_HLT) - 1)
        return _speed(loop, time.perf_counter_ns() - start_ns)

    def create_us(self) -> float:
        start_ns = time.perf_counter_ns()
        engine = self._engine(b"\x90\xf4", 1 << 20)
        engine.emu_start(layout.LOAD_BASE, 0, count=1)
        del engine
        return (time.perf_counter_ns() - start_ns) / 1000


class _Native:
    """The C program that runs code on the host."""

    def __init__(self, host: Program) -> None:
        self._host = host

    def speed(self, loop: Loop) -> float:
        (elapsed_ns,) = self._host.ask(f"{BUFFER_BYTES} {10 * TURNS} {loop.code.hex()}")
        return 10 * _speed(loop, elapsed_ns)


@contextmanager
def _native() -> Iterator[_Native | None]:
    if not program.path("_loop").exists():  # the host is no x86-64
        yield None
        return
    with program.running("_loop") as host:
        yield _Native(host)


def _unicorn() -> _Unicorn | None:
    try:
        return _Unicorn(importlib.import_module("unicorn"))
    except ImportError:
        return None


def _speed(loop: Loop, elapsed_ns: float) -> float:
    return TURNS * loop.per_turn * 1000 / max(1, elapsed_ns)


def _image(code: bytes) -> Image:
    return Image("loop", Mode.LONG, layout.LOAD_BASE, ((layout.LOAD_BASE, code),))


def _ours(loop: Loop) -> float:
    with Machine(memory=MEMORY_BYTES, devices=(), backend="emu") as machine:
        machine.load(_image(CALL_BODY_HLT + loop.code))
        registers = machine.registers
        registers.rsp, registers.rdi, registers.rsi = STACK_TOP, BUFFER_GPA, 0
        registers.rdx, registers.rcx = 1, TURNS
        registers.cr4 |= CR4_OSFXSR
        start_ns = time.perf_counter_ns()
        result = machine.run(timeout=60)
        elapsed_ns = time.perf_counter_ns() - start_ns
    if result.outcome is not Outcome.HALT:
        raise PykvmError(f"the loop {loop.name} did not halt: {result.reason}")
    return _speed(loop, elapsed_ns)


def _create_us() -> float:
    start_ns = time.perf_counter_ns()
    machine = Machine(memory="1M", devices=(), backend="emu")
    machine.load(_image(b"\xf4"))
    machine.vcpu.enter()
    machine.close()
    return (time.perf_counter_ns() - start_ns) / 1000


def measure(rounds: int = 5) -> list[Row]:
    """Compare the loops, and creating a machine, one instruction, and closing it.

    Args:
        rounds: how often the host, the emulator and Unicorn take turns.

    Raises:
        PykvmError: a loop did not end as it should.
    """
    unicorn = _unicorn()
    with _native() as native:
        rounds_of = {loop.name: _loop_rounds(rounds, native, loop, unicorn) for loop in LOOPS}
    create = _rounds(20 * rounds, None, _create_us, unicorn.create_us if unicorn else None)
    return [
        *(_loop_row(name, found) for name, found in rounds_of.items()),
        _mean_row([rounds_of[name] for name in MEAN_OF]),
        _row("create, run, close", create, "us", "unicorn", CREATE_BAR),
    ]


Measure = Callable[[], float]
Rounds = dict[str, list[float]]


def _rounds(count: int, native: Measure | None, ours: Measure, unicorn: Measure | None) -> Rounds:
    sides = {"native": native, "ours": ours, "unicorn": unicorn}
    found: Rounds = {name: [] for name in sides}
    for turn in range(count + 1):  # the first warms up
        for name, side in sides.items():
            value = side() if side else None
            if turn and value is not None:
                found[name].append(value)
    return found


def _loop_rounds(
    count: int, native: _Native | None, loop: Loop, unicorn: _Unicorn | None
) -> Rounds:
    return _rounds(
        count,
        partial(native.speed, loop) if native else None,
        partial(_ours, loop),
        partial(unicorn.speed, loop) if unicorn else None,
    )


def _ratio(found: Rounds, of: str) -> float | None:
    pairs = list(zip(found["ours"], found[of], strict=False))
    return median(ours / theirs for ours, theirs in pairs) if pairs else None


def _row(name: str, found: Rounds, unit: str, of: str | None, bar: float | None) -> Row:
    native, ours, unicorn = (
        median(found[side]) if found[side] else None for side in ("native", "ours", "unicorn")
    )
    return Row(name, native, ours, unicorn, unit, _ratio(found, of) if of else None, of, bar)


def _loop_row(name: str, found: Rounds) -> Row:
    if name in NATIVE_BARS:
        return _row(name, found, "M/s", "native", NATIVE_BARS[name])
    return _row(name, found, "M/s", "unicorn", UNICORN_BARS.get(name))


def _mean_row(all_found: list[Rounds]) -> Row:
    ratios = [_ratio(found, "unicorn") for found in all_found]
    known = [ratio for ratio in ratios if ratio is not None]
    mean = math.prod(known) ** (1 / len(known)) if known else None
    return Row("geometric mean", None, None, None, "M/s", mean, "unicorn", MEAN_BAR)
