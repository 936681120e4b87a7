"""Traces: one line for each exit, and what observers see."""

from __future__ import annotations

import io
import re

import pykvm
from pykvm.backend.protocol import Vcpu
from pykvm.exits import Exit, MsrRead
from pykvm.trace import RECENT, Trace, _what

LINE = re.compile(
    r" *(?P<number>\d+) +\+\d+(\.\d+)?(us|ms|s)  vcpu (?P<vcpu>\d)  0x(?P<rip>[0-9a-f]{8})  "
    r"(?P<instruction>.{28})  (?P<what>.*)"
)
SOURCE = """
    mov al, 'H'
    out 0xe9, al
    in al, 0xe9
    mov ebx, 0xd0000000
    mov [rbx], eax
    mov ecx, [rbx]
    in al, 0x99
    hlt
"""


def trace(source: str, **options: object) -> list[re.Match[str]]:
    stream = io.StringIO()
    with pykvm.VM(memory="1M", native=False, **options) as vm:
        vm.load(pykvm.assemble(source))
        vm.observer = Trace(vm, stream)
        vm.run(timeout=60)
    matches = [LINE.fullmatch(line) for line in stream.getvalue().splitlines()]
    assert None not in matches
    return [match for match in matches if match]


def test_a_line_says_who_did_what_and_what_the_answer_was() -> None:
    lines = trace(SOURCE, float_unclaimed=True)
    assert [int(line["number"]) for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["instruction"].strip() for line in lines] == [
        "out 0xe9, al", "in al, 0xe9", "mov dword ptr [rbx], eax", "mov ecx, dword ptr [rbx]",
        "in al, 0x99", "hlt",
    ]  # fmt: skip
    assert [line["what"] for line in lines] == [
        "out port 0xe9 size 1 0x48  debugcon",
        "in  port 0xe9 size 1 -> 0xe9  debugcon",
        "mmio write gpa 0xd0000000 size 4 0xe9  scratch",
        "mmio read  gpa 0xd0000000 size 4 -> 0xe9  scratch",
        "in  port 0x99 size 1 -> 0xff  nobody",
        "hlt",
    ]
    assert int(lines[0]["rip"], 16) == 0x1_0002


def test_an_access_that_ends_the_run_has_no_answer() -> None:
    assert trace("in al, 0x99")[-1]["what"] == "in  port 0x99 size 1  nobody"


def test_the_stop_behind_an_exit_port_is_no_line() -> None:
    lines = trace("mov al, 3\nout 0xf8, al")
    assert [line["what"] for line in lines] == ["out port 0xf8 size 1 0x3  exit"]


def test_string_input_shows_its_bytes() -> None:
    source = "mov rdi, 0x20000\nmov dx, 0xe9\nmov ecx, 100\nrep insb\nhlt"
    whats = [line["what"] for line in trace(source)]
    assert re.fullmatch(r"in  port 0xe9 size 1 x\d+ -> (e9){16}\.\.\.  debugcon", whats[0])


def test_every_vcpu_is_traced() -> None:
    stream = io.StringIO()
    with pykvm.VM(memory="1M", cpus=2, native=False) as vm:
        vm.load(pykvm.assemble("out 0xe9, al\nout 0xf8, al"))
        vm.observer = Trace(vm, stream)
        assert vm.run(timeout=60).outcome is pykvm.Outcome.EXIT
    assert len(stream.getvalue().splitlines()) == 2


def test_the_recent_lines_are_few() -> None:
    with pykvm.VM(memory="1M", native=False) as vm:
        vm.load(pykvm.assemble("mov ecx, 100\nnext: out 0xe9, al\nloop next\nhlt"))
        vm.observer = observer = Trace(vm)
        vm.run(timeout=60)
        recent = observer.recent
    assert observer.count == 101
    assert len(recent) == RECENT
    assert recent[-1].endswith("hlt")


def test_a_refused_msr_shows_the_fault() -> None:
    assert _what(MsrRead(0x123), None) == "rdmsr 0x123 -> #GP"
    assert _what(MsrRead(0x123), 5) == "rdmsr 0x123 -> 0x5"


def test_an_observer_sees_what_the_user_answered() -> None:
    seen: list[tuple[Exit, int | bytes | None]] = []

    def note(vcpu: Vcpu, exit: Exit, answer: int | bytes | None) -> None:
        seen.append((exit, answer))

    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("in al, 0x99\nhlt"))
        vm.observer = note
        for exit in vm.exits(timeout=60):
            if exit.is_read:
                vm.answer(0x142)
    assert [answer for _, answer in seen] == [0x42, None]
