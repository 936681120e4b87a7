"""Reports of guests that died: what is in them, and what they advise."""

from __future__ import annotations

import pytest

import pykvm
from pykvm import host
from pykvm.errors import UnclaimedAccess
from pykvm.hints import hints
from pykvm.loader.image import Mode
from pykvm.report import place, render
from pykvm.state import MpState
from pykvm.trace import Trace


def report(source: str, mode: str = "long", timeout: float = 5, **options: object) -> str:
    with pykvm.VM(memory="1M", **options) as vm:
        vm.load(pykvm.assemble(source, mode=mode, name="guest.S"))
        return render(vm, vm.run(timeout=timeout))


def test_an_unclaimed_access_says_where_and_by_whom() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("mov al, 5\nout 0x99, al\nhlt"))
        error = vm.run(timeout=60).error
    assert isinstance(error, UnclaimedAccess)
    assert (error.space, error.address, error.size_bytes, error.value) == ("port", 0x99, 1, 5)
    assert (error.rip, error.instruction) == (0x1_0002, "out 0x99, al")
    assert str(error) == (
        "1-byte write of 0x5 at port 0x99: no device claims it (rip 0x10002: out 0x99, al)"
    )


def test_targets_in_16_bit_code_have_16_bits() -> None:
    text = report("in al, 0x99\n.byte 0xe9, 0, 0x80", "real")
    target = Mode.REAL.load_base + 5 - 0x8000 & 0xFFFF
    assert f"jmp {target:#x}\n" in text


def test_a_report_has_the_exit_the_code_the_registers_and_advice() -> None:
    text = report("start: mov eax, 0x1234\nhere: in al, 0x99\nhlt")
    lines = text.splitlines()
    assert lines[0].startswith("guest.S: 1-byte read at port 0x99: no device claims it")
    assert "64-bit code at CPL 0" in lines[1]
    assert lines[2:7] == [
        "code:",
        "     0x00010000  b8 34 12 00 00                 mov eax, 0x1234",
        "  -> 0x00010005  e4 99                          in al, 0x99",
        "     0x00010007  f4                             hlt",
        "  from <here> guest.S:2: here: in al, 0x99",
    ]
    for register in ("rax 0000000000001234", "rip 0000000000010005", "cs 0010", "cr0", "idt"):
        assert register in text
    assert "debugcon 0xe9..0xe9" in text
    assert "--float" in text


BOOT = "mov ah, 0x0e\nmov si, text\n1: lodsb\nor al, al\njz 2f\nint 0x10\njmp 1b\n"
SECTOR = '.ascii "Hello\\0"\n.org 510\n.byte 0x55, 0xaa'


@pytest.mark.parametrize("end", ["2: jmp 2b", "2: in al, 0x99"])
def test_a_call_of_the_bios_is_named(end: str) -> None:
    text = report(f"{BOOT}{end}\ntext: {SECTOR}", mode="real", timeout=0.5)
    assert "the guest called INT 10h at 0x0:0x7c0a; there is no BIOS" in text


def test_an_interrupt_that_the_guest_serves_is_no_call_of_the_bios() -> None:
    serve = "mov word ptr [0x40], serve\nint 0x10\n2: in al, 0x99\nserve: jmp 2b\n"
    assert "BIOS" not in report(serve, mode="real")


def test_a_boot_sector_in_another_mode_is_named() -> None:
    text = report(f"in al, 0x99\n{SECTOR}")
    assert "looks like a boot sector (55 AA at byte 510): --mode real" in text
    assert "boot sector" not in report(f"in al, 0x99\n{SECTOR}", mode="real")


def test_traced_exits_are_in_the_report() -> None:
    with pykvm.VM(memory="1M", native=False) as vm:
        vm.load(pykvm.assemble("out 0xe9, al\nud2"))
        vm.observer = Trace(vm)
        text = render(vm, vm.run(timeout=60))
    assert "last exits:" in text
    assert "out port 0xe9 size 1" in text


def test_a_machine_without_a_device_says_so() -> None:
    text = report("mov dx, 0x3f8\nin al, dx", devices=["exit"])
    assert "not in this machine: debugcon, scratch, serial, cmos" in text


def test_an_access_beyond_ram_says_where_it_ends() -> None:
    assert "RAM ends at 0x100000" in report("mov eax, [0x200000]", "protected")


@pytest.mark.parametrize(
    ("source", "mode", "expected"),
    [
        ("ud2", "long", "the first exception was #UD"),
        ("xor ecx, ecx\ndiv ecx", "user", "the first exception was #DE"),
        ("hlt", "user", "the first exception was #GP"),
        ("ud2", "protected", "no IDT is loaded"),
    ],
)
def test_a_triple_fault_names_the_exception(source: str, mode: str, expected: str) -> None:
    assert expected in report(source, mode)


def test_a_triple_fault_looks_into_the_idt() -> None:
    lidt = "lidt [rip + table]\nud2\n.balign 8\ntable: .word {limit}\n.quad 0x20000\n"
    assert "the IDT at 0x20000 has no gate for vector 6" in report(lidt.format(limit=0xFFF))
    assert "the IDT at 0x20000 ends before vector 6" in report(lidt.format(limit=0xF))


def test_an_instruction_that_kvm_cannot_emulate_is_named() -> None:
    if host.Host.read().kind != 3:
        pytest.skip("CPL 0 runs on this host's processor")
    text = report("fld1\nhlt", backend="kvm")
    assert "neither VT-x nor AMD-V" in text
    assert "cannot do `fld1`" in text


def test_a_timeout_says_where_the_guest_was() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("here: jmp here"))
        result = vm.run(timeout=0.1)
        assert place(vm, result) == "vCPU 0 at 0x10000 <here>: jmp 0x10000"
        assert "a longer --timeout" in render(vm, result)


def test_a_guest_that_sleeps_for_ever_is_found_at_its_hlt() -> None:
    with pykvm.VM(memory="1M", cpus=2) as vm:
        vm.load(pykvm.assemble("cli\nhlt\nnop"))
        while vm.vcpu.get_mp_state() is not MpState.HALTED:
            result = vm.run(timeout=0.2)
        assert place(vm, result) == "vCPU 0 at 0x10001: hlt"
        assert "IF is clear: no interrupt can wake it" in render(vm, result)


def test_a_jump_to_nowhere_is_reported() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("mov rax, 0x100000000\njmp rax"))
        result = vm.run(timeout=60)
        assert place(vm, result) == "vCPU 0 at 0x100000000, where nothing is mapped"
        text = render(vm, result)
    assert "0x100000000 is not mapped" in text
    assert "#PF at 0x100000000" in text


def test_a_run_that_ended_well_needs_no_advice() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("hlt"))
        assert hints(vm, vm.run(timeout=60)) == []
