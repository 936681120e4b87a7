"""x87 and the state instructions: what needs privilege or other modes than the oracle has."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from asm import assemble
from emulib import Machine

START, AREA = 0x8000, 0x20000
CR0_NE, CR0_TS, CR0_EM, CR0_MP = 0x20, 8, 4, 2
CR4_OSXSAVE = 1 << 18
MF, NM, UD, GP = 16, 7, 6, 13


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(4 << 20) as machine:
        yield machine


def prepare(machine: Machine, text: str, mode: str = "long", **registers: int) -> None:
    """The program, and an interrupt table whose handlers halt with the vector in RAX."""
    bits = {"real": 16, "protected": 32}.get(mode, 64)
    machine.write(START, assemble(text, START, bits))
    machine.enter(mode, START, **registers)
    if mode != "long":
        return
    gate = b"".join(
        struct.pack("<HHBBHIxxxx", 0x9000 + 16 * vector, 0x10, 0, 0x8E, 0, 0)
        for vector in range(32)
    )
    machine.write(0x6000, gate)
    machine.write(0x6800, struct.pack("<3Q", 0, 0, 0x00AF9B000000FFFF))
    for vector in range(32):
        machine.write(0x9000 + 16 * vector, assemble(f"mov eax, {vector}; hlt", 0x9000))
    state = machine.state()
    state.idt.base, state.idt.limit = 0x6000, 0x1FF
    state.gdt.base, state.gdt.limit = 0x6800, 23
    state.cr4 |= CR4_OSXSAVE
    state.xcr0 = 7
    machine.set_state(state)


def run(machine: Machine, text: str, mode: str = "long", **registers: int) -> int:
    prepare(machine, text, mode, **registers)
    assert machine.run() == "HALT"
    return machine.reg("rax")


@pytest.mark.parametrize("ne", [0, CR0_NE])
def test_a_pending_exception_is_reported_by_the_next_waiting_instruction(
    machine: Machine, ne: int
) -> None:
    prepare(
        machine,
        f"mov word ptr [{AREA}], 0x37b; fldcw [{AREA}]; fld1; fldz; fdivp st(1), st;"
        f"fnstsw [{AREA + 2}]; mov ebx, 1; fwait; mov ebx, 2; hlt",
    )
    state = machine.state()
    state.cr0 = state.cr0 & ~CR0_NE | ne
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rax") == MF
    assert machine.reg("rbx") == 1
    assert machine.read(AREA + 2, 2) == struct.pack("<H", 0x8080 | 4 | 6 << 11)


@pytest.mark.parametrize(
    ("text", "cr0", "vector"),
    [
        ("fld1", CR0_TS, NM),
        ("fld1", CR0_EM, NM),
        ("fwait", CR0_TS, 1),
        ("fwait", CR0_TS | CR0_MP, NM),
        ("emms", CR0_EM, UD),
        (f"fxsave [{AREA}]", CR0_TS, NM),
        (f"xsave [{AREA}]", CR0_TS, NM),
    ],
)
def test_units_that_are_switched_off(machine: Machine, text: str, cr0: int, vector: int) -> None:
    prepare(machine, f"mov eax, 1; {text}; hlt")
    state = machine.state()
    state.cr0 |= cr0
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rax") == vector


@pytest.mark.parametrize(("mode", "size"), [("real", 14), ("protected", 28)])
def test_environments_in_real_and_protected_mode(machine: Machine, mode: str, size: int) -> None:
    at = 0x4000
    run(machine, f"fninit; fld1; fld dword ptr [0x4800]; fnstenv [{at}]; hlt", mode)
    step = size // 7
    words = [int.from_bytes(machine.read(at + step * i, step), "little") for i in range(7)]
    start = START + 4  # of FLD with its operand
    assert words[0] & 0xFFFF == 0x37F
    assert words[1] & 0xFFFF == 6 << 11
    assert words[2] & 0xFFFF == 0x1FFF
    assert words[3] & 0xFFFF == start
    assert words[5] & 0xFFFF == 0x4800
    opcode = 0x106 if mode == "real" else 0x105
    assert words[4] == (opcode if mode == "real" else opcode << 16)


def test_save_and_restore_of_the_whole_unit(machine: Machine) -> None:
    text = f"""
        fninit; fldpi; fldl2e; fld1
        fnsave [{AREA}]
        fnstsw ax; mov ebx, eax
        frstor [{AREA}]
        fstp qword ptr [{AREA + 200}]
        fstp qword ptr [{AREA + 208}]
        fstp qword ptr [{AREA + 216}]
        fnstsw ax
        hlt
    """
    assert run(machine, text) & 0x3800 == 0  # TOP
    assert machine.reg("rbx") & 0xFFFF == 0
    values = struct.unpack("<3d", machine.read(AREA + 200, 24))
    assert values == (1.0, 1.4426950408889634, 3.141592653589793)


def test_xsave_and_xrstor_in_the_compacted_form(machine: Machine) -> None:
    text = f"""
        mov eax, 7; xor edx, edx
        fldpi
        xsavec [{AREA}]
        fninit
        mov eax, 7
        xrstor [{AREA}]
        fstp qword ptr [{AREA + 0x1000}]
        xor eax, eax; mov ecx, 1; xgetbv
        hlt
    """
    prepare(machine, text)
    state = machine.state()
    state.vec[3][2] = 0x1122334455667788
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.read(AREA + 512, 16) == struct.pack("<QQ", 5, 1 << 63 | 7)
    assert machine.read(AREA + 576 + 48, 8) == struct.pack("<Q", 0x1122334455667788)
    assert struct.unpack("<d", machine.read(AREA + 0x1000, 8)) == (3.141592653589793,)
    assert machine.state().vec[3][2] == 0x1122334455667788
    assert machine.reg("rax") & ~1 == 4


@pytest.mark.parametrize(
    ("what", "header", "area"),
    [
        ("xrstor", (8, 0, 0), AREA),  # a component that XCR0 has not
        ("xrstor", (1, 1, 0), AREA),  # compaction mask without the form's bit
        ("xrstor", (1, 0, 1), AREA),  # reserved
        ("xrstor", (4, 1 << 63 | 3, 0), AREA),  # marked, but not in the mask
        ("xrstor", (1, 1 << 63 | 9, 0), AREA),
        ("xrstor", (0, 0, 0), AREA + 16),
        ("xrstors", (1, 0, 0), AREA),  # not compacted
        ("xsave", (0, 0, 0), AREA + 32),
        ("fxsave", (0, 0, 0), AREA + 8),
    ],
)
def test_images_that_are_refused(
    machine: Machine, what: str, header: tuple[int, int, int], area: int
) -> None:
    prepare(machine, f"mov eax, 7; xor edx, edx; {what} [{area}]; hlt")
    machine.write(area + 512, struct.pack("<3Q", *header))
    assert machine.run() == "HALT"
    assert machine.reg("rax") == GP


@pytest.mark.parametrize("what", ["fxrstor", "xrstor"])
def test_reserved_bits_of_mxcsr_are_refused(machine: Machine, what: str) -> None:
    prepare(machine, f"mov eax, 7; xor edx, edx; {what} [{AREA}]; hlt")
    machine.write(AREA + 24, struct.pack("<I", 0x10000))
    assert machine.run() == "HALT"
    assert machine.reg("rax") == GP


@pytest.mark.parametrize("value", [0, 2, 5, 8 | 7])
def test_values_that_xcr0_cannot_have(machine: Machine, value: int) -> None:
    assert run(machine, f"mov eax, {value}; xor edx, edx; xor ecx, ecx; xsetbv; hlt") == GP


def test_state_passes_through_the_owner_as_through_an_image(machine: Machine) -> None:
    prepare(machine, f"fxrstor64 [{AREA}]; hlt")
    image = struct.pack("<HHBxHQQII", 0x27F, 0x2841, 0b11100000, 0x123, 0x456, 0x789, 0x1F80, 0)
    image += b"".join(struct.pack("<QQ", 1 << 63 | i, 0x3FFF + i) for i in range(8))
    machine.write(AREA, image.ljust(512, b"\5"))
    assert machine.run() == "HALT"
    state = machine.state()
    assert (state.fcw, state.fsw, state.ftw, state.fop) == (0x27F | 0x40, 0x2841, 0b11100000, 0x123)
    assert (state.fip, state.fdp) == (0x456, 0x789)
    assert [state.st[i][0] & 15 for i in range(8)] == list(range(8))
    with Machine(1 << 20) as other:
        other.write(START, assemble(f"fxsave64 [{AREA}]; hlt", START))
        other.enter("long", START)
        state = other.state()
        before = machine.state()
        for name in ("fcw", "fsw", "ftw", "fop", "fip", "fdp", "mxcsr"):
            setattr(state, name, getattr(before, name))
        other.ffi.memmove(state.st, before.st, other.ffi.sizeof(state.st))
        other.ffi.memmove(state.vec, before.vec, other.ffi.sizeof(state.vec))
        other.set_state(state)
        assert other.run() == "HALT"
        saved = other.read(AREA, 416)
        assert saved[:24] == image[:24]
        assert saved[32:160] == image[32:160]
        assert saved[160:] == b"\5" * 256


def test_an_image_that_ends_on_a_page_that_is_absent_changes_nothing(machine: Machine) -> None:
    prepare(machine, "mov eax, 7; xor edx, edx; xsave [0x3ffe00]; hlt")
    machine.write(0x1000 + 0, (0x2007).to_bytes(8, "little"))
    machine.write(0x3000 + 16, (0).to_bytes(8, "little"))  # 0x400000 up is not mapped
    machine.write(0x3FFE00, b"\xaa" * 512)
    state = machine.state()
    state.fcw = 0x27F
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 14
    assert machine.read(0x3FFE00, 512) == b"\xaa" * 512
    assert machine.state().cr2 & ~0xFFF == 0x400000
