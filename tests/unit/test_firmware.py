"""Firmware: where an image lies, the state at the reset vector, and what it can do from there."""

from __future__ import annotations

from pathlib import Path

import pytest

import pykvm
from pykvm import cli, layout
from pykvm.errors import LoadError
from pykvm.loader import firmware
from pykvm.parts import KERNEL_DEVICES

SIZE = 0x2_0000
TOP = 0x1_0000_0000
MAIN = """
    mov dx, 0x3f8
    mov bx, cs # still high up: the image itself, by its place in the segment
    cmp bx, 0xf000
    jne bad
    mov si, text
next:
    cs lodsb
    test al, al
    jz low
    out dx, al
    jmp next
low: # and down below 1 MiB, where it is RAM
    ljmp 0xf000:below
below:
    mov al, 'l'
    out dx, al
    mov word ptr cs:[text], 0x4b4f
    mov ax, 0xf000
    mov ds, ax
    mov al, [text]
    out dx, al
    mov ax, 0 # a stack and an interrupt of its own
    mov ss, ax
    mov sp, 0x7000
    mov ds, ax
    mov word ptr [4 * 0x10], service
    mov word ptr [4 * 0x10 + 2], 0xf000
    int 0x10
    mov dx, 0x604
    mov ax, 0x3400
    out dx, ax
bad:
    hlt
    jmp bad
service:
    mov al, '.'
    out dx, al
    iret
text:
    .asciz "reset "
"""


def image(size: int = SIZE, main: str = MAIN) -> bytes:
    """Firmware whose code is at 0xf000:0 and that is entered 16 bytes before its end."""
    code = pykvm.assemble(main, mode="real", origin=0).pieces[0][1]
    vector = b"\xe9\x0d\x00"  # JMP rel16 to IP 0, behind the end of the segment
    segment = code.ljust(0xFFF0, b"\x90") + vector.ljust(16, b"\0")
    return segment[-size:] if size < 0x1_0000 else segment.rjust(size, b"\xee")


def machine(backend: str, **options: object) -> pykvm.VM:
    return pykvm.VM(
        backend=backend, memory="2M", irqchip="full", pit=True, devices=KERNEL_DEVICES,
        float_unclaimed=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize("size", [0x1_0000, SIZE, 0x4_0000, 0x4_0000 - 8])
def test_it_starts_at_the_reset_vector(pykvm_backend: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "fw"
    path.write_bytes(image(size))
    with machine(pykvm_backend) as vm:
        for _ in range(2):  # the second time over what the first one did
            vm.load_firmware(path)
            assert vm.memory.read(TOP - size, size) == image(size)
            low = min(size, 0x2_0000)
            assert vm.memory.read(0x10_0000 - low, low) == image(size)[-low:]
            special, registers = vm.vcpu.get_special(), vm.vcpu.get_registers()
            assert (special.cs.selector, special.cs.base) == (0xF000, 0xFFFF_0000)
            assert (registers.rip, registers.rflags) == (0xFFF0, 2)
            assert special.cr0 == 0x6000_0010
            assert special.gdt.limit == special.idt.limit == 0xFFFF
            assert vm.run(timeout=20).output[-9:] == b"reset lO."


def test_its_rom_cannot_be_written_and_its_copy_can(pykvm_backend: str, tmp_path: Path) -> None:
    (tmp_path / "fw").write_bytes(image())
    with machine(pykvm_backend) as vm:
        vm.load_firmware(tmp_path / "fw")
        vm.run(timeout=20)
        assert vm.memory.read(TOP - SIZE, SIZE) == image()
        assert vm.memory.read(0xE_0000, SIZE) != image()
        other = tmp_path / "other"
        other.write_bytes(image(0x1_0000))
        vm.load_firmware(other)  # in place of the first one
        assert not vm.memory.contains(TOP - SIZE, 1)
        assert vm.run(timeout=20).output.endswith(b"reset lO.")


def test_the_command_line_runs_it(
    pykvm_backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fw"
    path.write_bytes(image())
    words = ["run", "--backend", pykvm_backend, "--firmware", str(path)]
    assert cli.main([*words, "--timeout", "20s", "--memory", "4M"]) == 0
    assert capfd.readouterr().out == "reset lO."
    for more in (["--append", "x"], ["--kernel", str(path)], [str(path)], ["--module", "x"]):
        assert cli.main([*words, *more]) == 2
        assert "--firmware takes the place of FILE" in capfd.readouterr().err
    path.write_bytes(b"short")
    assert cli.main(words) == 126
    assert "has 5 bytes; firmware ends with a reset vector" in capfd.readouterr().err


def test_what_is_no_firmware_is_refused() -> None:
    with pytest.raises(LoadError, match="larger than 16 MiB"):
        firmware.rom_base(bytes(16 * layout.MIB + 1), "fw")
    assert firmware.rom_base(bytes(16 * layout.MIB), "fw") == 0xFF00_0000
    assert firmware.rom_base(bytes(16), "fw") == 0xFFFF_F000
