"""What a multiboot kernel finds when it runs: its state, modules, and tables of the machine."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import pykvm
from pykvm import cli, layout
from pykvm.errors import LoadError, UsageError
from pykvm.loader.boot import Module
from pykvm.parts import KERNEL_DEVICES

KERNEL = """
    .long 0x1BADB002, 0x10003, 0xE4514FFB
    .long 0x100000, 0x100000, 0, stack, _start
_start:
    mov esp, stack
    mov eax, 0x10 # as kernels do that count on the loader's table
    mov ds, eax
    mov es, eax
    mov ss, eax
    ljmp 0x08:there
there:
    mov esi, [ebx + 16]
    call print
    mov ebp, [ebx + 20]
    test dword ptr [ebx], 8
    jz done
    mov edx, [ebx + 24]
next:
    test ebp, ebp
    jz done
    mov esi, [edx + 8]
    call print
    mov esi, [edx]
    mov ecx, [edx + 4]
    sub ecx, esi
    jz empty
bytes:
    lodsb
    out 0xe9, al
    loop bytes
empty:
    mov al, '.'
    out 0xe9, al
    add edx, 16
    dec ebp
    jmp next
done:
    mov al, 0
    out 0xf8, al
print:
    lodsb
    test al, al
    jz 1f
    out 0xe9, al
    jmp print
1:
    mov al, '|'
    out 0xe9, al
    ret
    .align 4
    .space 64
stack:
"""


def kernel(path: Path) -> str:
    path.write_bytes(pykvm.assemble(KERNEL, mode="protected", origin=0x10_0000).pieces[0][1])
    return str(path)


def test_the_command_line_begins_with_the_kernels_name(pykvm_backend: str, tmp_path: Path) -> None:
    path = kernel(tmp_path / "k")
    for append, line in (("", path), ("quiet a=b", f"{path} quiet a=b")):
        with pykvm.VM(backend=pykvm_backend, append=append) as vm:
            vm.load(path)
            assert vm.run(timeout=60).output == f"{line}|".encode()


def test_modules_are_found_with_their_texts(pykvm_backend: str, tmp_path: Path) -> None:
    path, first, blank = kernel(tmp_path / "k"), tmp_path / "first", tmp_path / "a b"
    first.write_bytes(b"one")
    blank.write_bytes(b"two")
    with pykvm.VM(backend=pykvm_backend) as vm:
        given = [f"{first} its text", first, str(blank), Module("none", b""), Module("m", b"five")]
        vm.load(path, given)
        said = vm.run(timeout=60).output.decode()
        gpas = [vm.memory.read_int(layout.BOOT_LIST_BASE + 16 * n, 4) for n in range(5)]
    expected = f"{path}|{first} its text|one.{first}|one.{blank}|two.none|.m|five."
    assert said == expected
    assert gpas == [0x10_1000, 0x10_2000, 0x10_3000, 0x10_4000, 0x10_4000]


def test_the_command_line_takes_modules_and_an_initrd_is_the_first(
    pykvm_backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, ram_disk, module = kernel(tmp_path / "k"), tmp_path / "i", tmp_path / "m"
    ram_disk.write_bytes(b"disk")
    module.write_bytes(b"mod")
    options = ["--initrd", str(ram_disk), "--module", f"{module} x y", "--module", str(module)]
    kernel_options = ["--devices", "debugcon,exit", "--irqchip", "none"]
    for words in ([path], [*kernel_options, "--kernel", path]):
        assert cli.main(["run", "--backend", pykvm_backend, *options, *words]) == 0
        said = capfd.readouterr().out
        assert said == f"{path}|{ram_disk}|disk.{module} x y|mod.{module}|mod."


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    path = kernel(tmp_path / "k")
    with pykvm.VM(memory="2M", backend="emu") as vm:
        with pytest.raises(LoadError, match=r"does not fit at 0x101000.*--memory 4M"):
            vm.load(path, [Module("big", bytes(1 << 20))])
        with pytest.raises(LoadError, match="No such file"):
            vm.load(path, ["/nowhere with text"])
        with pytest.raises(LoadError, match="too many"):
            vm.load(path, [Module("x" * 1000, b"")] * 60)
        with pytest.raises(UsageError, match="no multiboot kernel: it takes no modules"):
            vm.load(pykvm.assemble("hlt"), [Module("m", b"")])
        vm.append = "x" * 4090
        with pytest.raises(UsageError, match="4095 bytes at most"):
            vm.load(path)


@pytest.mark.parametrize("mode", ["real", "protected", "long", "user"])
def test_the_bios_data_area_tells_where_base_memory_ends(pykvm_backend: str, mode: str) -> None:
    source = """
        mov ax, [0x413]
        out 0xe9, al
        mov al, ah
        out 0xe9, al
        mov ax, [0x40e]
        out 0xe9, al
        mov al, ah
        out 0xe9, al
        mov al, 0
        out 0xf8, al
    """
    with pykvm.VM(backend=pykvm_backend) as vm:
        for _ in range(2):
            vm.load(pykvm.assemble(source, mode=mode))
            assert vm.run(timeout=60).output[-4:] == struct.pack("<HH", 639, 0x9FC0)
            vm.memory.clear(0x400, 0x100)


def test_an_image_may_lie_where_the_bios_keeps_data() -> None:
    with pykvm.VM(backend="emu") as vm:
        image = pykvm.parse_image(b"\xf4" * 0x600, mode="protected", load=0)
        vm.load(image)
        assert vm.memory.read(0, 0x600) == b"\xf4" * 0x600


def found(vm: pykvm.VM, signature: bytes) -> int:
    """Where a kernel finds a table's root: on a multiple of 16 below 1 MiB."""
    area = vm.memory.read(0xE_0000, 0x2_0000)
    return 0xE_0000 + next(n for n in range(0, len(area), 16) if area.startswith(signature, n))


@pytest.mark.parametrize("cpus", [1, 3])
def test_tables_describe_a_machine_with_chips(
    pykvm_backend: str, cpus: int, tmp_path: Path
) -> None:
    with pykvm.VM(backend=pykvm_backend, cpus=cpus, irqchip="full", devices=KERNEL_DEVICES) as vm:
        vm.load(kernel(tmp_path / "k"))
        rsdp = vm.memory.read(found(vm, b"RSD PTR "), 36)
        assert sum(rsdp[:20]) & 0xFF == sum(rsdp) & 0xFF == 0
        names = set()
        for at, form in ((16, "<I"), (24, "<Q")):
            (gpa,) = struct.unpack_from(form, rsdp, at)
            root = vm.memory.read(gpa, vm.memory.read_int(gpa + 4, 4))
            assert sum(root) & 0xFF == 0
            names.add(
                (root[:4], *(vm.memory.read(a, 4) for (a,) in struct.iter_unpack(form, root[36:])))
            )
        assert names == {(b"RSDT", b"FACP", b"APIC"), (b"XSDT", b"FACP", b"APIC")}
        check_mp_table(vm, cpus)


def check_mp_table(vm: pykvm.VM, cpus: int) -> None:
    """MP 1.4 §4."""
    pointer = vm.memory.read(found(vm, b"_MP_"), 16)
    assert sum(pointer) & 0xFF == 0
    assert pointer[8:10] == b"\1\4"
    gpa = int.from_bytes(pointer[4:8], "little")
    table = vm.memory.read(gpa, vm.memory.read_int(gpa + 4, 2))
    assert (table[:4], sum(table) & 0xFF) == (b"PCMP", 0)
    count, lapic = struct.unpack_from("<HI", table, 34)
    assert lapic == 0xFEE0_0000
    rest, entries = table[44:], []
    while rest:
        size_bytes = 20 if rest[0] == 0 else 8
        entries.append(rest[:size_bytes])
        rest = rest[size_bytes:]
    assert len(entries) == count
    assert [each[1:4] for each in entries if each[0] == 0] == [
        bytes((n, 0x14, 3 if n == 0 else 1)) for n in range(cpus)
    ]
    lines = {each[5]: each[7] for each in entries if each[0] == 3}
    assert lines == {n: n for n in range(16) if n != 2}
    assert [each[1:3] for each in entries if each[0] == 1] == [b"\0I"]
    assert [each[4:] for each in entries if each[0] == 2] == [struct.pack("<I", 0xFEC0_0000)]
    assert [(each[1], each[6:]) for each in entries if each[0] == 4] == [
        (3, b"\0\0"),
        (1, b"\xff\1"),
    ]


def test_without_chips_there_are_no_tables_and_without_power_no_fadt(tmp_path: Path) -> None:
    with pykvm.VM(backend="emu") as vm:
        vm.load(kernel(tmp_path / "k"))
        assert vm.memory.read(0xE_0000, 0x2_0000).count(0) == 0x2_0000
    with pykvm.VM(backend="emu", irqchip="full") as vm:
        vm.load(kernel(tmp_path / "k"))
        area = vm.memory.read(0xE_0000, 0x1_0000)
        assert (b"APIC" in area, b"FACP" in area) == (True, False)


def test_tables_are_left_alone_by_the_memory_map_and_by_kernels(tmp_path: Path) -> None:
    with pykvm.VM(backend="emu", irqchip="full") as vm:
        vm.load(kernel(tmp_path / "k"))
        length, gpa = struct.unpack("<II", vm.memory.read(layout.BOOT_INFO_BASE + 44, 8))
        rows = list(struct.iter_unpack("<IQQI", vm.memory.read(gpa, length)))
        assert (20, 0xE_0000, 0x2_0000, 2) in rows
        low = pykvm.assemble(
            KERNEL.replace("0x100000", "0xf0000"), mode="protected", origin=0xF_0000
        )
        with pytest.raises(LoadError, match="overlaps ACPI at 0xf0000"):
            vm.load(low)
