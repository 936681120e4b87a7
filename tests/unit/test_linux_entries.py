"""The entries of a bzImage, in 64, 32 and 16 bits, by every version of the boot protocol."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support import kernels

import pykvm
from pykvm import cli, layout
from pykvm.errors import LoadError, UsageError
from pykvm.loader import linux
from pykvm.loader.image import Image, Mode
from pykvm.loader.memory_map import MapEntry
from pykvm.parts import KERNEL_DEVICES
from pykvm.result import Outcome

MAP = [MapEntry(0, 0x9_FC00, True), MapEntry(layout.MIB, 31 * layout.MIB, True)]
BOOT = linux.Boot(MAP, b"quiet", b"ramdisk", tables=((0xE_0000, b""),))
OFF = "mov dx, 0x604\nmov ax, 0x3400\nout dx, ax\nhlt\n"
SAY = """
    mov dx, 0x3f8
say:
    {load}
    test al, al
    jz done
    out dx, al
    jmp say
done:
"""
CODE32 = f"""
    mov eax, cs
    cmp eax, 0x10
    jne bad
    mov eax, ds
    cmp eax, 0x18
    jne bad
    mov eax, ebp
    or eax, edi
    or eax, ebx
    jnz bad
    mov eax, 0x18 # as kernels do that count on the loader's table
    mov ss, eax
    mov esp, 0x90000
    ljmp 0x10:there
there:
    mov esi, [esi + 0x228]
    {SAY.format(load="lodsb")}
    {OFF}
bad:
    int3
"""
CODE16 = f"""
    mov ax, cs
    mov bx, ds
    sub ax, bx
    cmp ax, 0x20
    jne bad
    mov ax, ss
    cmp ax, bx
    jne bad
    mov ax, es
    cmp ax, bx
    jne bad
    push ds # there is a stack
    pop fs
    xor si, si
    mov bx, [0x206]
    cmp bx, 0x202
    jae by_pointer
    cmp word ptr [0x20], 0xa33f
    jne bad
    mov si, [0x22]
    jmp go
by_pointer:
    mov eax, [0x228]
    shr eax, 4
    mov fs, ax
go:
    {SAY.format(load="mov al, fs:[si]" + chr(10) + "    inc si")}
    {OFF}
bad:
    int3
"""


def assembled(source: str, mode: str, origin: int) -> bytes:
    return pykvm.assemble(source, mode=mode, origin=origin).pieces[0][1]


def kernel(**fields: int) -> bytes:
    return kernels.bzimage(
        assembled(SAY.format(load="lodsb").replace("say:", "say:", 1) + OFF, "long", 0x10_0200),
        assembled(CODE32, "protected", int(fields.get("pref_address", 0x10_0000))),
        assembled(CODE16, "real", kernels.HEADER_END),
        **({"pref_address": 0x10_0000} | fields),
    )


def run(backend: str, data: bytes, path: Path, mode: str | None = None) -> bytes:
    path.write_bytes(data)
    with pykvm.VM(
        backend=backend, memory="32M", irqchip="full", pit=True, devices=KERNEL_DEVICES,
        append="hello", float_unclaimed=True,
    ) as vm:  # fmt: skip
        vm.load_kernel(path, mode=mode)
        result = vm.run(timeout=60)
        assert result.outcome is Outcome.EXIT, result.reason
        return result.output


@pytest.mark.parametrize("version", [0x20A, 0x20B, 0x20C, 0x20F])
def test_a_kernel_without_64_bits_is_entered_in_32(
    pykvm_backend: str, version: int, tmp_path: Path
) -> None:
    data = kernel(version=version, xloadflags=0)
    assert run(pykvm_backend, data, tmp_path / "k") == b"hello"


@pytest.mark.parametrize("version", range(0x200, 0x20A))
def test_older_ones_are_entered_in_16_bits(
    pykvm_backend: str, version: int, tmp_path: Path
) -> None:
    assert run(pykvm_backend, kernel(version=version), tmp_path / "k") == b"hello"


@pytest.mark.parametrize("version", [0x200, 0x201, 0x202, 0x20F])
@pytest.mark.parametrize("mode", ["real", "protected"])
def test_an_entry_can_be_chosen(
    pykvm_backend: str, version: int, mode: str, tmp_path: Path
) -> None:
    assert run(pykvm_backend, kernel(version=version), tmp_path / "k", mode) == b"hello"


def test_a_zimage_lies_below_its_setup(pykvm_backend: str, tmp_path: Path) -> None:
    data = kernel(version=0x200, loadflags=0)
    assert run(pykvm_backend, data, tmp_path / "k") == b"hello"
    image = linux.kernel_image(data, "k", BOOT)
    assert [gpa for gpa, _ in image.pieces] == [0x9_0000, 0x1_0000, 0x1FF_F000, 0x9_9800]


def real_setup(**fields: int) -> tuple[Image, bytes]:
    image = linux.kernel_image(kernels.bzimage(**fields), "k", BOOT, Mode.REAL)
    return image, image.pieces[0][1]


def test_the_header_of_a_16_bit_entry_is_filled_in() -> None:
    image, setup = real_setup()
    assert image.pieces[0][0] == 0x1_0000
    assert (setup[0x210], setup[0x211]) == (0xFF, 0x81)
    assert struct.unpack_from("<II", setup, 0x218) == (0x1FF_F000, 7)
    assert struct.unpack_from("<H", setup, 0x224) == (0xDE00,)
    assert struct.unpack_from("<I", setup, 0x228) == (layout.COMMAND_LINE_BASE,)
    assert image.registers == {"rsp": 0xE000}
    image, setup = real_setup(version=0x200)
    assert image.pieces[0][0] == 0x9_0000
    assert (setup[0x210], setup[0x211]) == (0xFF, 1)
    assert struct.unpack_from("<HH", setup, 0x20) == (0xA33F, 0xE000)
    assert struct.unpack_from("<H", setup, 0x212) == (0xE006,)
    assert image.pieces[-1] == (0x9_E000, b"quiet\0")


def test_syssize_has_two_bytes_before_2_04_and_means_little() -> None:
    for version in (0x200, 0x203):
        linux.kernel_image(kernels.bzimage(version=version, syssize=0), "k", BOOT)
    with pytest.raises(LoadError, match="truncated"):
        linux.kernel_image(kernels.bzimage(version=0x204, syssize=0), "k", BOOT)


def test_an_old_initrd_lies_below_its_limit() -> None:
    boot = linux.Boot([MapEntry(layout.MIB, 2047 * layout.MIB, True)], b"", b"ramdisk")
    image = linux.kernel_image(kernels.bzimage(version=0x202), "k", boot)
    assert image.pieces[2] == (0x37FF_F000, b"ramdisk")


@pytest.mark.parametrize(
    ("fields", "mode", "why"),
    [
        ({"xloadflags": 0}, Mode.LONG, "no entry in long mode"),
        ({"version": 0x20B}, Mode.LONG, "no entry in long mode"),
        ({"loadflags": 0}, Mode.PROTECTED, "no entry in protected mode"),
        ({}, Mode.USER, "no entry in user mode"),
        ({"version": 0x205}, None, "255 bytes at most"),
    ],
)
def test_an_entry_that_is_not_there_is_refused(
    fields: dict[str, int], mode: Mode | None, why: str
) -> None:
    line = b"x" * 256 if "255" in why else b""
    with pytest.raises(LoadError, match=why):
        linux.kernel_image(kernels.bzimage(**fields), "k", linux.Boot(MAP, line), mode)


def test_a_zimage_that_is_too_large_is_refused() -> None:
    data = kernels.bzimage(bytes(0x8_0000), version=0x203, loadflags=0)
    with pytest.raises(LoadError, match="zImage that ends at"):
        linux.kernel_image(data, "k", BOOT)


def test_the_command_line_takes_a_mode_for_a_kernel(
    pykvm_backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "k"
    path.write_bytes(kernel())
    words = ["run", "--backend", pykvm_backend, "--kernel", str(path), "--append", "hi"]
    for mode in ("protected", "real"):
        assert cli.main([*words, "--mode", mode]) == 0
        assert capfd.readouterr().out == "hi"
    assert cli.main([*words, "--mode", "user"]) == 126
    path.write_bytes(kernels.pvh(b"\xf4"))
    assert cli.main([*words, "--mode", "long"]) == 2
    assert "no bzImage: it has one entry" in capfd.readouterr().err


def test_a_mode_is_one_of_a_machines() -> None:
    with pykvm.VM(backend="emu") as vm, pytest.raises(UsageError, match="no mode"):
        vm.load_kernel(__file__, mode="virtual")
