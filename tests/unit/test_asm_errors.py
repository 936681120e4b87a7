"""Sources that do not assemble: each error names its line, and none takes the process down."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykvm.asm import assemble
from pykvm.assembly import keystone_process
from pykvm.errors import AssemblyError

TYPOS = {
    "nop\nbogus rax": (2, "no instruction 'bogus'"),
    "nop\njmp nowhere": (2, "nothing is called 'nowhere'"),
    "loop_end: nop\njmp lop_end": (2, "did you mean 'loop_end'"),
    "mov eax, rbx": (1, "'mov' does not take these operands"),
    "mov [rax], 1": (1, "say how wide the memory is"),
    "x: nop\nx: nop": (2, "'x' is defined at typo.S:1 already"),
    "rax: nop": (1, "word of the syntax"),
    "9x: nop": (1, "cannot be a name"),
    "mov rax, [rbx+\nnop": (1, "missing"),
    "mov rax, [rbx": (1, "']' is missing"),
    "mov rax, rbx]": (1, "before ']'"),
    "mov rax rbx": (1, "'rbx'"),
    "mov rax, [rbx] rcx": (1, "missing before 'rcx'"),
    "mov rax, 5 + rbx": (1, "no place in an expression"),
    "mov eax, table[rbx]": (1, "[table + rbx]"),
    "mov eax, dword [rbx]": (1, "dword ptr"),
    'nop\n.byte "x': (2, "cannot read"),
    "nop\n/* nop": (2, "comment"),
    "mov eax, 99999999999999999999": (1, "32 bits"),
    "mov rax, 99999999999999999999": (1, "64 bits"),
    "mov eax, 08": (1, "cannot read '08'"),
    "mov eax, 10h": (1, "cannot read '10h'"),
    "mov al, 300": (1, "0x12c does not fit in 8 bits"),
    "mov word ptr [rax], -40000": (1, "16 bits"),
    "push 0x80000000": (1, "signed 32-bit"),
    "cmp rax, 0x80000000": (1, "signed 32-bit"),
    "mov eax, [rbx + 0x80000000]": (1, "displacement"),
    "mov eax, [0x123456789]": (1, "register"),
    "mov eax, [rbx + rcx * 3]": (1, "1, 2, 4 or 8"),
    "mov eax, [rbx + rcx + rdx]": (1, "a base and an index at most"),
    "mov eax, [rbx - rcx]": (1, "subtracted"),
    "mov eax, [rbx + rsp * 2]": (1, "index"),
    "mov eax, [eip + 4]": (1, "base"),
    "mov eax, [al]": (1, "base"),
    "mov rax, rip": (1, "lea"),
    "mov ah, r8b": (1, "together"),
    "movzx rax, ah": (1, "together"),
    "add [r8], ah": (1, "together"),
    "mov eax, [rbx + xmm1 * 2]": (1, "only gathers"),
    "vmovdqu64 zmm1, [rbx + 0x80]": (1, "AVX-512"),
    "vaddpd zmm0, zmm1, zmm2": (1, "AVX-512"),
    "movsd [rdi], [rsi]": (1, "string instruction"),
    "lodsb [r12]": (1, "string instruction"),
    "lock [rbx]": (1, "cannot read"),
    "rep": (1, "an instruction is missing"),
    "jmp short x\n.space 200\nx:": (1, "127 is the farthest"),
    "x: .space 200\nloop x": (2, "127 is the farthest"),
    "sysret": (1, "sysretq"),
    "ljmp 8:0x1000": (1, "64-bit code"),
    "mov eax, 8:0x1000": (1, "selector"),
    "nop\n\\": (2, "cannot read"),
    "nop\njmp 5f": (2, "no label 5: after this"),
    "jmp 1b\n1:": (1, "no label 1: before this"),
    ".org": (1, "missing"),
    "nop\nnop\n.org 1": (3, "forward"),
    ".byte 256": (1, "8 bits"),
    ".byte 1 2": (1, "comma"),
    ".byte": (1, "missing"),
    ".byte 1 / 0": (1, "division by zero"),
    ".quad 1 << 200": (1, "shift"),
    ".quad " + "(" * 200: (1, "deep"),
    ".quad " + "+1" * 200: (1, "deep"),
    ".ascii hello": (1, "quotes"),
    '.ascii "a" "b"': (1, "commas"),
    '.ascii "\\q"': (1, "escape"),
    ".fill 1 << 40": (1, "count"),
    ".space -1": (1, "count"),
    ".balign 3": (1, "power of two"),
    ".fill 1 << 24, 8": (1, "16 MiB"),
    ".space 1 << 24\nnop": (2, "16 MiB"),
    "x = x + 1": (1, "depends on itself"),
    "x: .space y - x + 1\ny:": (2, "depends on itself"),
    ".rodatta": (1, "no directive '.rodatta'"),
    ".section .init": (1, "choose from .text"),
    ".intel_syntax prefix": (1, "noprefix"),
    ".macro m\nbogus\n.endm\nnop\nm": (2, "in 64-bit code, used at typo.S:5"),
    ".macro m\nnop": (1, "no .endm"),
    "nop\n.endm": (2, "without its beginning"),
    ".macro m\n.rept 2\n.endm": (3, "without its beginning"),
    ".macro m a\n.endm\nm": (3, "needs an argument for 'a'"),
    ".macro m a\n.endm\nm 1, 2": (3, "takes 1 arguments"),
    ".macro m\n.endm\n.macro m\n.endm": (3, "already"),
    ".macro r\nr\n.endm\nr": (2, "deep"),
    ".rept 1 << 40\n.endr": (1, "rounds"),
    ".rept 100000\n.rept 100000\n.endr\n.endr": (2, "statements at most"),
    ".rept later\n.endr\nlater = 1": (1, "before this line"),
    "nop\n.if 1\nnop": (2, "no .endif"),
    ".else": (1, "without .if"),
    ".if 1\n.else\n.else\n.endif": (3, "after .else"),
    'nop\n.include "x.inc"': (2, "did not come from a file"),
    ".include x": (1, 'write .include "file"'),
}


@pytest.mark.parametrize("source", TYPOS)
def test_an_error_names_file_line_text_and_reason(source: str) -> None:
    line, why = TYPOS[source]
    with pytest.raises(AssemblyError) as caught:
        assemble(source, name="typo.S")
    assert why in str(caught.value)
    assert (caught.value.path, caught.value.line) == ("typo.S", line)
    assert caught.value.text == source.split("\n")[line - 1]


@pytest.mark.parametrize(
    ("source", "mode", "why"),
    [
        ("mov al, [0x12345]", "real", "16 bits"),
        ("push 0x12345", "real", "16 bits"),
        ("mov eax, [ebx * 8 + 4]", "real", "an index needs a base"),
        ("mov eax, [cx]", "real", "16-bit address"),
        ("mov eax, [bx + bp]", "real", "16-bit address"),
        ("mov eax, [bx + si * 2]", "real", "16-bit address"),
        ("inc r10d", "protected", "does not take"),
        ("inc qword ptr [bx]", "real", "64-bit operands"),
        ("mov qword ptr [ebx], 1", "protected", "64-bit operands"),
        ("movsq", "real", "no 64-bit operands"),
        ("jmp 0x17c00", "real", "the distance"),
        ("mov rax, 1", "protected", "does not take"),
        ("mov eax, [rip + x]\nx:", "protected", "64-bit code"),
        ("jrcxz x\nx:", "protected", "no instruction of 32-bit code"),
        ("data32 nop", "protected", "anyway"),
        ("data16 push 5", "protected", "do not go with a value"),
        ("pusha", "long", "no instruction 'pusha' in 64-bit code"),
        ("jcxz x\nx:", "long", "no instruction of 64-bit code"),
    ],
)
def test_what_one_mode_has_and_another_lacks(source: str, mode: str, why: str) -> None:
    with pytest.raises(AssemblyError, match=why):
        assemble(source, mode=mode)


def test_an_error_in_an_include_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.inc").write_text("nop\nnop\nmov al, 300\n")
    with pytest.raises(AssemblyError) as caught:
        assemble('nop\n.include "a.inc"', name="main.S", include_dir=tmp_path)
    assert (caught.value.path, caught.value.line) == (str(tmp_path / "a.inc"), 3)


def test_includes_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "loop.inc").write_text('nop\n.include "loop.inc"\n')
    (tmp_path / "binary.inc").write_bytes(b"\xff\x00")
    for name, why in (("loop", "itself"), ("binary", "UTF-8"), ("none", "No such file")):
        with pytest.raises(AssemblyError, match=why):
            assemble(f'.include "{name}.inc"', include_dir=tmp_path)


def test_a_source_that_grows_without_end_is_stopped() -> None:
    doubling = ".macro d a\nd \\a\\a\n.endm\nd " + "x" * 100
    with pytest.raises(AssemblyError, match="characters long at most"):
        assemble(doubling)


def test_what_crashes_keystone_does_not_crash_us() -> None:
    with pytest.raises(keystone_process.KeystoneDiedError, match="crashed"):
        keystone_process.ask(64, ["nop", "mov ah, r8b"], 5.0)
    with pytest.raises(keystone_process.KeystoneDiedError, match="did not finish"):
        keystone_process.ask(64, ["lock [rbx]"], 0.1)
    assert assemble("nop").code == b"\x90"


def test_one_instruction_that_keystone_dies_of_is_found_among_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pykvm.assembly.encoder.check_operands", lambda instruction: None)
    with pytest.raises(AssemblyError, match="crashed") as caught:
        assemble("nop\nmov eax, ebx\nmov ah, r8b\ninc eax")
    assert caught.value.line == 3
