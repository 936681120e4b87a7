"""Instructions have the bytes that GNU as gives them, and capstone reads them back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import capstone
import pytest

from pykvm.asm import assemble

COMMON = """
mov ecx, 20
mov ecx, 010
mov cl, 'A' + 1
add ebx, -1
or eax, 1 << 31
imul ecx, edx, 1000
movzx eax, byte ptr [x]
test byte ptr [x], 0x80
mov word ptr [x], 0xffff
mov ds, [x]
in al, 0x60
in eax, dx
out 0xe9, al
int 0x80
iret
iretd
pushf
popf
push fs
pop gs
push 5
push 500
push -5
ret
ret 8
retf
retf 8
lgdt [x]
lidt [x]
sgdt [x]
rep movsb
repne scasb
stosw
lodsd
fs lodsb
insb
1: dec ecx
jnz 1b
jmp 2f
nop
2: call 1b
jecxz 1b
loop 1b
jmp 3f
.space 200
3: jz 2b
xlatb
fadd st, st(1)
fld dword ptr [x]
addpd xmm0, xmm1
pshufd xmm0, [x], 27
shl eax, 12
shld eax, ebx, cl
bt dword ptr [x], 5
lock inc byte ptr [x]
cmpxchg8b [x]
xchg eax, ebx
rdmsr
vmcall
vmmcall
wbnoinvd
.byte 'a', 10, 0x10, 1 + 2
.long 65536
.ascii "1f;#//"
"""

ONLY = {
    16: """
mov eax, [ebx + ecx * 4 + 8]
mov ax, [bx + si + 4]
mov ax, [bp + 2]
mov al, es:[di]
ljmp 8, 0x1234
data32 lgdt [x]
push ds
jcxz 4f
4: pusha
""",
    32: """
mov eax, [ebx + ecx * 4 + 8]
mov eax, [esp + 4]
mov ax, [bx]
ljmp 8, 0x12345678
push ds
pop es
jcxz 4f
4: pushad
mov al, fs:[ebx]
""",
    64: """
mov rax, 0x1122334455667788
movabs rax, 5
mov rax, -1
mov eax, [rbx + rcx * 8 - 8]
mov eax, [rsp + 8]
mov eax, [r13]
mov rax, gs:[0x28]
lea rdi, [rip + 16]
lea rdi, [rip + 1b]
cmp dword ptr [rip + 1b], 5
and qword ptr [rsp], ~0x100
mov edx, ((1 + 3) << 16) | 5
mov ecx, [-16]
iretq
retfq
sysretq
sysexitq
endbr64
jmp qword ptr [rax]
mov cr0, rax
jmp fword ptr [rax]
jrcxz 4f
4: movsq
cmpxchg16b [rax]
mov sil, r8b
vaddpd ymm0, ymm1, [rax]
""",
}
X = {16: "[bx + 0x1234]", 32: "[ebx + 0x12345]", 64: "[rbx + 0x12345]"}
MODES = {16: "real", 32: "protected", 64: "long"}
DECODERS = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}


def source(bits: int) -> str:
    return (COMMON + ONLY[bits]).replace("[x]", X[bits])


@pytest.mark.skipif(shutil.which("as") is None, reason="GNU as is not installed")
@pytest.mark.parametrize("bits", MODES)
def test_the_bytes_are_those_of_gnu_as(bits: int, tmp_path: Path) -> None:
    file = tmp_path / "same.s"
    file.write_text(f".intel_syntax noprefix\n.code{bits}\n{source(bits)}")
    width = "--64" if bits == 64 else "--32"
    subprocess.run(["as", width, "-o", tmp_path / "same.o", file], check=True)
    subprocess.run(
        ["objcopy", "-O", "binary", "-j", ".text", tmp_path / "same.o", tmp_path / "same.bin"],
        check=True,
    )
    expected = (tmp_path / "same.bin").read_bytes()
    program = assemble(source(bits), mode=MODES[bits], origin=0)
    for line in program.listing:
        end = line.address + len(line.code)
        assert line.code == expected[line.address : end], line
    assert program.code == expected


@pytest.mark.parametrize("bits", MODES)
def test_every_line_of_the_listing_is_one_instruction(bits: int) -> None:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, DECODERS[bits])
    for line in assemble(source(bits), mode=MODES[bits]).listing:
        if "." not in line.text:
            assert [each.size for each in decoder.disasm(line.code, 0)] == [len(line.code)], line


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("ljmp 8:0x1234", "real", "ea 34 12 08 00"),
        ("data32 ljmp 8:0x12345", "real", "66 ea 45 23 01 00 08 00"),
        ("lcall 8:0x1234", "protected", "9a 34 12 00 00 08 00"),
        ("jmp far ptr [eax]", "protected", "ff 28"),
        ("call ax", "real", "ff d0"),
        ("jmp 0x7c00", "real", "eb fe"),
        ("mov eax, [rcx + rax]", "long", "8b 04 01"),
        ("mov eax, [rax + rsp]", "long", "8b 04 04"),
        ("mov eax, [si + bx]", "real", "66 8b 00"),
        ("mov eax, cs:[rbx]", "long", "2e 8b 03"),
        ("sysretl", "long", "0f 07"),
        ("rep movsd", "real", "f3 66 a5"),
        ("mov eax, [fs:rbx]", "long", "64 8b 03"),
    ],
)
def test_forms(text: str, mode: str, expected: str) -> None:
    assert assemble(text, mode=mode).code == bytes.fromhex(expected)
