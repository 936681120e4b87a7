"""Assembling: what comes out, where errors point, and that no typo takes the process down."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import capstone
import pytest

import pykvm
from pykvm import keystone_process, layout
from pykvm.constants import evaluate
from pykvm.errors import AssemblyError

TYPOS = {
    "nop\nnop\nbogus rax": (3, "Invalid mnemonic"),
    "nop\njmp nowhere": (2, "no symbol 'nowhere'"),
    "mov eax, rbx": (1, "Invalid operand"),
    "nop\n.org 0x10": (2, "no directive .org"),
    "x: nop\nx: nop": (2, "redefined"),
    ".macro m\nbogus\n.endm\nnop\nm": (5, "Invalid mnemonic"),
    ".macro m\nnop": (1, "not closed"),
    "nop\n.if 1\nnop": (2, "not closed"),
    "mov rax, [rbx+\nnop": (1, "brackets"),
    'nop\n.byte "x': (2, "quote"),
    "/* nop": (1, "comment"),
    "mov eax, 99999999999999999999": (1, "64 bits"),
    "mov al, 300": (1, "8 bits"),
    ".byte 300": (1, "out of range"),
    "nop\n\\": (2, "backslash"),
    "nop\njmp 5f": (2, "no label 5"),
    ".fill 1 << 40": (1, "at most"),
    'nop\n.include "x.inc"': (2, "did not come from a file"),
    ".macro r\nr\n.endm\nr": (4, "nothing"),
    "nop\n.section .init": (2, "sections"),
}


@pytest.mark.parametrize("source", TYPOS)
def test_an_error_names_file_line_text_and_reason(source: str) -> None:
    line, why = TYPOS[source]
    with pytest.raises(AssemblyError) as caught:
        pykvm.assemble(source, name="typo.S")
    assert (caught.value.path, caught.value.line) == ("typo.S", line)
    assert caught.value.text == source.split("\n")[line - 1]
    assert why in str(caught.value)


def test_what_makes_keystone_loop_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pykvm.asm.TIMEOUT_S", 0.2)
    monkeypatch.setattr("pykvm.asm.SEARCH_TIMEOUT_S", 0.1)
    with pytest.raises(AssemblyError, match="did not finish"):
        pykvm.assemble(".rept 100000\n.rept 100000\nnop\n.endr\n.endr")
    assert pykvm.assemble("nop").code == b"\x90"


def test_what_crashes_keystone_does_not_crash_us() -> None:
    with pytest.raises(keystone_process.KeystoneDiedError, match="crashed"):
        keystone_process.ask(64, 0, ".text\nnop", False, 5.0)
    assert pykvm.assemble("nop").code == b"\x90"


SAME_AS_GNU = """
mov eax, 20
mov ecx, 010
add rax, [rbx + 3*8]
lea rdi, [rip + 16]
and qword ptr [rsp], ~0x100
mov edx, ((1 + 3) << 16) | 5
or eax, 1 << 31
1: dec ecx
jnz 1b
jmp 2f
nop
2: cmp al, 'A' + 1
.byte 'a', 10, 0x10, 1 + 2
.long 65536
.ascii "1f;#//"
iretq
shl eax, 12
movabs rax, 0x1122334455667788
fadd st, st(1)
"""


@pytest.mark.skipif(shutil.which("as") is None, reason="GNU as is not installed")
def test_the_bytes_are_those_of_gnu_as(tmp_path: Path) -> None:
    source = tmp_path / "same.s"
    source.write_text(".intel_syntax noprefix\n" + SAME_AS_GNU)
    subprocess.run(["as", "--64", "-o", tmp_path / "same.o", source], check=True)
    subprocess.run(
        ["objcopy", "-O", "binary", "-j", ".text", tmp_path / "same.o", tmp_path / "same.bin"],
        check=True,
    )
    assert pykvm.assemble(SAME_AS_GNU).code.hex(" ") == (tmp_path / "same.bin").read_bytes().hex(
        " "
    )


def test_the_listing_gives_each_line_its_bytes() -> None:
    program = pykvm.assemble(SAME_AS_GNU)
    assert b"".join(line.code for line in program.listing) == program.code
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for line in program.listing:
        if line.text and "." not in line.text and line.code:
            assert [each.size for each in decoder.disasm(line.code, 0)] == [len(line.code)], line


def test_sections_are_put_in_order_and_symbols_are_told() -> None:
    program = pykvm.assemble(".data\nd: .byte 1\n.text\n_start: nop\n.rodata\nr: .byte 2\n")
    assert program.code == bytes([0x90, 2, 1])
    base = layout.LOAD_BASE
    assert program.symbols == {"_start": base, "r": base + 1, "d": base + 2}
    assert program.entry == base


def test_include_is_relative_and_may_not_include_itself(tmp_path: Path) -> None:
    (tmp_path / "lib.inc").write_text(".macro twice\nnop\nnop\n.endm\n")
    (tmp_path / "loop.inc").write_text('nop\n.include "loop.inc"\n')
    program = pykvm.assemble('.include "lib.inc"\ntwice', include_dir=tmp_path)
    assert program.code == b"\x90\x90"
    with pytest.raises(AssemblyError, match="includes itself") as caught:
        pykvm.assemble('.include "loop.inc"', include_dir=tmp_path)
    assert (caught.value.path, caught.value.line) == (str(tmp_path / "loop.inc"), 2)
    with pytest.raises(AssemblyError, match="No such file"):
        pykvm.assemble('.include "none.inc"', include_dir=tmp_path)


def test_far_jumps_and_returns_that_keystone_lacks() -> None:
    assert pykvm.assemble("ljmp 0x08, 0x1234", mode="real").code.hex() == "ea34120800"
    assert pykvm.assemble("ljmp 0x08, 0x1234", mode="protected").code.hex() == "ea341200000800"
    assert pykvm.assemble("sysretq\nretfq").code.hex() == "480f0748cb"
    assert pykvm.assemble("iret", mode="protected").code.hex() == "cf"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1 << 31", 1 << 31), ("~0", -1), ("'A' + 1", 66), ("7 / 2", 3), ("1 << 99", None),
     ("2 ** 99", None), ("a + 1", None), ("", None), ("1 / 0", None), ("(" * 600, None)],
)  # fmt: skip
def test_expressions(text: str, value: int | None) -> None:
    assert evaluate(text) == value
