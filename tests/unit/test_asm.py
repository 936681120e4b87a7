"""Sources that assemble: labels, sections, directives, macros, listings."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykvm import layout
from pykvm.asm import Program, assemble
from pykvm.errors import LoadError, UsageError
from pykvm.loader.image import Mode


def data(source: str, mode: str = "long", origin: int | None = None) -> bytes:
    """The bytes of a source."""
    return assemble(source, mode=mode, origin=origin).code


def test_a_program_starts_at_its_modes_address_and_names_its_labels() -> None:
    program = assemble("start: nop\nend: hlt")
    assert isinstance(program, Program)
    assert program.pieces == ((layout.LOAD_BASE, b"\x90\xf4"),)
    assert program.symbols == {"start": layout.LOAD_BASE, "end": layout.LOAD_BASE + 1}
    assert program.entry == layout.LOAD_BASE
    assert assemble("hlt", mode="real").entry == layout.REAL_LOAD_BASE
    assert assemble("hlt", origin=0x2_0000).entry == 0x2_0000


def test_it_is_entered_at_start_if_there_is_such_a_label() -> None:
    assert assemble("nop\n_start: hlt", origin=0x1000).entry == 0x1001


def test_branches_are_as_short_as_they_can_be_and_no_shorter() -> None:
    assert data("jmp x\n.space 127\nx:")[:2] == b"\xeb\x7f"
    assert data("jmp x\n.space 128\nx:")[:5] == b"\xe9\x80\0\0\0"
    assert data("x: .space 126\njz x")[-2:] == b"\x74\x80"
    assert data("x: .space 127\njz x")[-6:] == b"\x0f\x84\x7b\xff\xff\xff"
    # The second is far only because the first is.
    far = data("jmp b\na: .space 124\njmp c\nb: .space 128\nc: jmp a")
    assert far[:5] == b"\xe9" + (129).to_bytes(4, "little")


def test_addresses_relative_to_rip_count_from_the_end_of_the_instruction() -> None:
    source = "mov dword ptr [rip + x], 5\nlea rax, [rip + x - 1]\nmov al, [rip + 3]\nx:"
    code = data(source)
    assert code[2:6] == (len(code) - 10).to_bytes(4, "little")
    assert code[13:17] == (len(code) - 17 - 1).to_bytes(4, "little")
    assert code[-4:] == (3).to_bytes(4, "little")


def test_a_bare_name_is_its_value_and_brackets_are_memory() -> None:
    assert data("mov eax, x\nx:", origin=0x1000) == b"\xb8\x05\x10\0\0"
    assert data("mov eax, offset x\nx:", origin=0x1000) == b"\xb8\x05\x10\0\0"
    assert data("mov ecx, [x]\nx:", origin=0x1000) == b"\x8b\x0c\x25\x07\x10\0\0"


def test_an_address_of_32_bits_is_not_sign_extended() -> None:
    assert data("mov eax, [0xfee00020]") == b"\x67\x8b\x04\x25\x20\0\xe0\xfe"
    assert data("mov eax, [-16]") == b"\x8b\x04\x25\xf0\xff\xff\xff"


def test_sections_follow_each_other_in_one_image() -> None:
    source = (
        '.data\nd: .byte 3\n.text\nnop\n.bss\nb: .zero 2\n.section .rodata.str, "a"\nr: .byte 2'
    )
    program = assemble(source, origin=0)
    assert program.code == b"\x90\x02\x03\0\0"
    assert program.symbols == {"r": 1, "d": 2, "b": 3}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (".byte 1, -1, 'A', '\\n'", "01 ff 41 0a"),
        (".word 0x1234\n.long 1\n.quad -1", "34 12 01 00 00 00 ff ff ff ff ff ff ff ff"),
        (".ascii \"a;#\\\"\\x7f\"", "61 3b 23 22 7f"),
        (".asciz \"a\", \"b\"", "61 00 62 00"),
        (".fill 2, 2, 0x102", "02 01 02 01"),
        (".fill 3", "00 00 00"),
        (".skip 2, 7", "07 07"),
        ("nop\n.balign 4\nnop\n.p2align 1", "90 90 90 90 90 90"),
        (".data\n.byte 1\n.balign 4\n.byte 2", "01 00 00 00 02"),
        ("nop\n.org 3\nhlt", "90 00 00 f4"),
        ("x: nop\n.org x + 2, 5\nhlt", "90 05 f4"),
        ("nop # a comment; still\nhlt // another", "90 f4"),
        ("nop; hlt /* one\nand two */; cli", "90 f4 fa"),
        ("mov al, '#' # hash\nmov al, ';'", "b0 23 b0 3b"),
        ("x = 3\n.set y, x * 2\n.equ z, y - x\n.byte x, y, z", "03 06 03"),
        (".byte end - start\nstart: nop\nend:", "01 90"),
        (".byte . - 0x10000, 1 + 2 * 3, (1 + 2) * 3, 7 / 2, -7 / 2, -7 % 2", "00 07 09 03 fd ff"),
        (".byte 1 << 3 | 1, 6 & 3, 6 ^ 3, ~0, !0, 3 > 2, 1 == 1 && 0", "09 02 05 ff 01 01 00"),
        ("1: jmp 1f\n1: jmp 1b\n1: hlt", "eb 00 eb fe f4"),
        ("a: b: .byte b - a", "00"),
        (".code16\npush 500\n.code32\npush 500\n.code64\npush 500", "68f401 68f4010000 68f4010000"),
        ("MOV EAX, EBX", "89 d8"),
    ],
)  # fmt: skip
def test_statements(source: str, expected: str) -> None:
    assert data(source) == bytes.fromhex(expected)


def test_constants_come_from_the_address_map_and_can_be_taken_over() -> None:
    assert data(".long LAPIC_BASE") == layout.LAPIC_BASE.to_bytes(4, "little")
    assert data("LAPIC_BASE = 5\n.byte LAPIC_BASE") == b"\x05"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (".macro two a, b=9\n.byte \\a, \\b\n.endm\ntwo 1, 2\ntwo 3", "01 02 03 09"),
        (".macro wait_\nx\\@: jmp x\\@\n.endm\nwait_\nwait_", "eb fe eb fe"),
        (".macro a n\n.byte \\n\n.if \\n\na \\n - 1\n.endif\n.endm\na 2", "02 01 00"),
        (".macro j l\njmp \\l\\()_end\n.endm\nj x\nx_end:", "eb 00"),
        (".macro s t\n.ascii \\t\n.endm\ns \"a, b\"", "61 2c 20 62"),
        ("x: .rept 3\n.byte \\+\n.endr", "00 01 02"),
        (".irp r, 7, 8\n.byte \\r\n.endr", "07 08"),
        (".irp r, ax, cx\n.rept 2\npush r\\r\n.endr\n.endr", "50 50 51 51"),
        ("N = 2\n.rept N\nnop\n.endr", "90 90"),
        (".if 0\nbroken here\n.elseif 1\nnop\n.else\nhlt\n.endif", "90"),
        (".if 0\n.if 1\nhlt\n.else\nhlt\n.endif\n.else\nnop\n.endif", "90"),
        (".ifdef COM1_PORT\nnop\n.endif\n.ifndef nothing\nhlt\n.endif", "90 f4"),
    ],
)  # fmt: skip
def test_macros_repetitions_and_conditions(source: str, expected: str) -> None:
    assert data(source) == bytes.fromhex(expected)


def test_includes_are_relative_to_the_file_that_includes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.inc").write_text('.include "b.inc"')
    (tmp_path / "sub" / "b.inc").write_text(".byte 7")
    source = '.include "sub/a.inc"\n.include "sub/a.inc"'
    assert assemble(source, include_dir=tmp_path).code == b"\x07\x07"


def test_the_listing_gives_every_byte_its_line() -> None:
    source = "start:\n  mov eax, 1 # one\n.macro pair\nnop\nhlt\n.endm\npair\n.data\n.long 5"
    program = assemble(source, name="x.S", origin=0)
    assert [(line.address, line.code.hex(), line.line, line.text) for line in program.listing] == [
        (0, "", 1, "start:"),
        (0, "b801000000", 2, "mov eax, 1 # one"),
        (5, "90", 4, "nop"),
        (6, "f4", 5, "hlt"),
        (7, "05000000", 9, ".long 5"),
    ]
    assert {line.path for line in program.listing} == {"x.S"}
    assert b"".join(line.code for line in program.listing) == program.code


def test_arguments_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="no mode"):
        assemble("nop", mode="virtual")
    with pytest.raises(UsageError, match="below"):
        assemble("nop", origin=-1)
    with pytest.raises(UsageError, match="not bytes"):
        assemble(b"nop")  # type: ignore[arg-type]
    with pytest.raises(LoadError, match="1 MiB"):
        assemble("\n" * (1 << 20) + "\n")


def test_an_empty_source_is_an_empty_program() -> None:
    assert assemble("# nothing", mode=Mode.REAL).code == b""
