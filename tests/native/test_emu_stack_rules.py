"""What the stack's size, its limit and its alignment decide. Intel SDM vol. 1 §6.2, vol. 2."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import kernel
import pytest
from asm import assemble
from emulib import CS, SS, Machine
from kernel import CODE32, CODE64, DATA, START, protected

HLT = b"\xf4"
CR0_AM, FLAG_AC = 1 << 18, 1 << 18


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(4 << 20) as machine:
        yield machine


def on_stack(machine: Machine, code: bytes, *, base: int = 0, limit: int = 0xFFFF, db: int) -> str:
    """Run 32-bit code whose SS has this base, limit and size; registers are set already."""
    machine.write(START, code + HLT)
    state = machine.state()
    ss = state.segment[SS]
    ss.base, ss.limit, ss.g, ss.db = base, limit, 0, db
    machine.set_state(state)
    return machine.run()


def moved(esp: int, by: int) -> int:
    """ESP with the stack pointer of 16 bits moved."""
    return esp & ~0xFFFF | (esp + by) & 0xFFFF


@pytest.mark.parametrize("esp", [0x5432_0100, 0x1_FFFC, 0xFFFF_8000, 0x1_0010])
@pytest.mark.parametrize(("prefix", "size"), [(b"", 4), (b"\x66", 2)])
@pytest.mark.parametrize("level", [0, 1, 3])
def test_enter_copies_all_of_esp_to_ebp(
    machine: Machine, esp: int, prefix: bytes, size: int, level: int
) -> None:
    protected(machine, "nop", rsp=esp, rbp=0x7777_0300)
    machine.write(0x200, bytes(range(256)))
    code = prefix + b"\xc8\x08\x00" + bytes([level])
    assert on_stack(machine, code, db=0) == "HALT"
    frame = moved(esp, -size)
    mask = 2 ** (8 * size) - 1
    assert machine.reg("rbp") == frame & mask | 0x7777_0300 & ~mask
    assert machine.reg("rsp") == moved(esp, -size * (1 + level) - 8)
    if level:  # the copy of the frame pointer behind those of the outer frames
        at = moved(esp, -size * (1 + level)) & 0xFFFF
        assert int.from_bytes(machine.read(at, size), "little") == frame & mask


@pytest.mark.parametrize("upper", [0, 0x1234_0000])
@pytest.mark.parametrize("sp", [0xFFFC, 0xB000, 0xBFE])
def test_pop_to_esp_takes_the_moved_pointer(machine: Machine, upper: int, sp: int) -> None:
    protected(machine, "nop", user=True, rsp=upper | sp)
    machine.write(sp, b"\x11\x22\x33\x44")
    assert on_stack(machine, b"\x8f\x44\x24\x04", limit=0x1FFFF, db=0) == "HALT"
    fault = kernel.fault(machine)
    if upper:  # the address has 32 bits, and lies beyond the limit
        assert (fault.vector, fault.rip, fault.rsp) == (12, START, upper | sp)
        return
    new = moved(sp, 4)
    assert (fault.vector, fault.rip, fault.rsp) == (13, START + 4, new)  # HLT
    assert machine.read(new + 4, 4) == b"\x11\x22\x33\x44"


@pytest.mark.parametrize("count", range(9))
def test_popa_that_faults_has_loaded_the_first_registers(machine: Machine, count: int) -> None:
    protected(
        machine, "nop", user=True, rsp=0x2_0000 - 4 * count, rbp=1, rsi=2, rdi=3, rcx=4, rdx=5
    )
    words = [0x1000_0000 + index for index in range(count)]
    machine.write(0x2_0000 - 4 * count, struct.pack(f"<{count}I", *words))
    assert on_stack(machine, b"\x61", limit=0x1FFFF, db=1) == "HALT"
    fault = kernel.fault(machine)
    assert (fault.vector, fault.rip - START) == ((12, 0) if count < 8 else (13, 1))
    before = {"rdi": 3, "rsi": 2, "rbp": 1, "esp": 0, "rbx": 0, "rdx": 5, "rcx": 4, "rax": 0}
    for index, (name, value) in enumerate(before.items()):
        if name != "esp":
            assert machine.reg(name) == (words[index] if index < count else value), name


@pytest.mark.parametrize("code", ["ffd0", "66ffd0", "e8fbff0100", "66e8fc17"])
def test_a_call_beyond_the_limit_has_written_the_return_address(
    machine: Machine, code: str
) -> None:
    protected(machine, "nop", user=True, rsp=0x2_0000, rax=0x2_C000)
    machine.write(START, bytes.fromhex(code))
    state = machine.state()
    state.segment[CS].limit, state.segment[CS].g = 0x8FFF, 0
    machine.set_state(state)
    assert machine.run() == "HALT"
    fault = kernel.fault(machine)
    assert (fault.vector, fault.error, fault.rip, fault.rsp) == (13, 0, START, 0x2_0000)
    size = 2 if code.startswith("66") else 4
    behind = int.from_bytes(machine.read(0x2_0000 - size, size), "little")
    assert behind == START + len(code) // 2


@pytest.mark.parametrize("code", ["ffd0", "ff13"])
@pytest.mark.parametrize("target", [1 << 47, 0x8000_0000_0000_1234, 2**64 - 1 - (1 << 47)])
def test_a_call_to_no_canonical_address_has_written_the_return_address(
    machine: Machine, code: str, target: int
) -> None:
    machine.write(START, bytes.fromhex(code))
    machine.write(0x2_1000, target.to_bytes(8, "little"))
    kernel.long_mode(machine, START, user=True, rsp=0x2_0000, rax=target, rbx=0x2_1000)
    assert machine.run() == "HALT"
    fault = kernel.fault(machine)
    assert (fault.vector, fault.error, fault.rip, fault.rsp) == (13, 0, START, 0x2_0000)
    assert int.from_bytes(machine.read(0x1_FFF8, 8), "little") == START + 2


@pytest.mark.parametrize("code", ["0fa1", "0fa9", "660fa1"])
@pytest.mark.parametrize("rsp", [0x1_FFFE, 0x1_FF02, 0x1_FFFA])
def test_pop_of_a_segment_register_reads_two_bytes(machine: Machine, code: str, rsp: int) -> None:
    """The page at 0x20000 is absent, and alignment is checked."""
    machine.write(START, bytes.fromhex(code) + HLT)
    kernel.long_mode(machine, START, user=True, rsp=rsp, rflags=2 | FLAG_AC)
    machine.write(rsp, (kernel.USER_DATA | 3).to_bytes(2, "little"))
    kernel.map_small(machine, 0x2_0000, 0)
    state = machine.state()
    state.cr0 |= CR0_AM
    machine.set_state(state)
    assert machine.run() == "HALT"
    fault = kernel.fault(machine)  # HLT at CPL 3
    assert (fault.vector, fault.rip) == (13, START + len(code) // 2)
    assert fault.rsp == rsp + (2 if code.startswith("66") else 8)


def far_pointer(machine: Machine, at: int, offset: int, selector: int, wide: bool) -> None:
    machine.write(at, struct.pack("<QH" if wide else "<IH", offset, selector))


@pytest.mark.parametrize("offset", [0x9000, 0x1_0000_9000, 0xFFFF_8000_0000_9000])
@pytest.mark.parametrize("form", ["jmp", "call", "retf"])
def test_far_branches_of_64_bits_to_32_bit_code_cut_the_offset(
    machine: Machine, offset: int, form: str
) -> None:
    machine.write(0x9000, HLT)
    code = {"jmp": "48ff2b", "call": "48ff1b", "retf": "48cb"}[form]
    machine.write(START, bytes.fromhex(code))
    kernel.long_mode(machine, START, rsp=0x2_0000, rbx=0x2_1000)
    far_pointer(machine, 0x2_1000, offset, CODE32, True)
    far_pointer(machine, 0x2_0000, offset, CODE32, True)
    assert machine.run() == "HALT"
    assert (machine.reg("rip"), machine.state().segment[CS].selector) == (0x9001, CODE32)
    assert machine.reg("rsp") == 0x2_0000 + {"jmp": 0, "call": -16, "retf": 16}[form]
    if form == "call":
        assert struct.unpack("<QQ", machine.read(0x1_FFF0, 16)) == (START + 3, CODE64)


@pytest.mark.parametrize("offset", [0x1_0000, 0x1_0001_0000])
def test_the_cut_offset_must_be_within_the_limit(machine: Machine, offset: int) -> None:
    machine.write(START, bytes.fromhex("48ff2b"))
    kernel.long_mode(machine, START, rbx=0x2_1000)
    kernel.define(machine, CODE32, kernel.descriptor(0, 0xFFFF, 0x9A, 4))
    far_pointer(machine, 0x2_1000, offset, CODE32, True)
    assert machine.run() == "HALT"
    fault = kernel.fault(machine)
    assert (fault.vector, fault.error, fault.rip) == (13, 0, START)


BASE = 0x3_0000


@pytest.mark.parametrize(("prefix", "size"), [("", 4), ("66", 2)])
def test_a_far_call_to_64_bit_code_pushes_without_ss(
    machine: Machine, prefix: str, size: int
) -> None:
    offset = (0x9000).to_bytes(size, "little").hex()
    code = bytes.fromhex(prefix + "9a" + offset) + struct.pack("<H", CODE64)
    machine.write(START, code)
    machine.write(0x9000, HLT)
    kernel.long_mode(machine, START, rsp=0x2_0000)
    state = machine.state()
    cs, ss = state.segment[CS], state.segment[SS]
    cs.selector, cs.l, cs.db = CODE32, 0, 1
    ss.base, ss.selector = BASE, DATA
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert (machine.reg("rip"), machine.reg("rsp")) == (0x9001, 0x2_0000 - 2 * size)
    behind = (START + len(code)) & (2 ** (8 * size) - 1)
    frame = behind.to_bytes(size, "little") + CODE32.to_bytes(size, "little")
    assert machine.read(0x2_0000 - 2 * size, 2 * size) == frame
    assert machine.read(BASE + 0x2_0000 - 8, 8) == bytes(8)


@pytest.mark.parametrize("rsp", [0x2_0000, 0x70_0002_0000])
@pytest.mark.parametrize("db", [0, 1])
def test_a_far_call_to_32_bit_code_pushes_on_ss(machine: Machine, rsp: int, db: int) -> None:
    machine.write(START, bytes.fromhex("ff1b"))
    machine.write(0x9000, HLT)
    kernel.long_mode(machine, START, rsp=rsp + 0x80, rbx=0x2_1000)
    far_pointer(machine, 0x2_1000, 0x9000, CODE32, False)
    state = machine.state()
    ss = state.segment[SS]
    ss.base, ss.db = BASE, db
    machine.set_state(state)
    assert machine.run() == "HALT"
    assert machine.reg("rip") == 0x9001
    offset = (rsp + 0x78) & (0xFFFF_FFFF if db else 0xFFFF)
    assert struct.unpack("<II", machine.read(BASE + offset, 8)) == (START + 2, CODE64)
    expected = offset if db else (rsp + 0x80) & ~0xFFFF | offset
    assert machine.reg("rsp") & 0xFFFF_FFFF == expected & 0xFFFF_FFFF


@pytest.mark.parametrize("selector", [0, 1, 2, 3, DATA])
def test_a_return_outward_nulls_segments_and_keeps_their_bases(
    machine: Machine, selector: int
) -> None:
    text = f"""
        mov eax, {selector}; mov gs, eax; mov fs, eax; mov ecx, 0xc0000101; mov eax, 0x20008
        xor edx, edx; wrmsr; mov ecx, 0xc0000100; mov eax, 0x20018; wrmsr
        push {kernel.USER_DATA | 3}; push 0x7000; push 2; push {kernel.USER_CODE64 | 3}
        push 0x9000; iretq
    """
    machine.write(START, assemble(text, START))
    user = "xor ebx, ebx; mov eax, gs; mov ecx, fs; mov rdx, gs:[rbx]; mov rsi, fs:[rbx + 8]; hlt"
    machine.write(0x9000, assemble(user, 0x9000))
    machine.write(0x2_0000, struct.pack("<8Q", *range(8)))
    kernel.long_mode(machine, START)
    assert machine.run() == "HALT"
    assert kernel.fault(machine).vector == 13
    assert [machine.reg(name) for name in ("rax", "rcx", "rdx", "rsi")] == [0, 0, 1, 4]
