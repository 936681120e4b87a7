"""Programs that other people wrote, each by another of the ways to enter one, start and run.

memtest86+ and Xen say so on the serial port, SeaBIOS on its debug port. iPXE and MEMDISK
speak through the BIOS: one of a few lines, which prints letters and knows how much memory there is,
shows what they say.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.debian import unpacked

import pykvm
from pykvm.devices.debugcon import DebugConsole
from pykvm.parts import KERNEL_DEVICES

MULTIBOOT_MAGIC = (0x1BADB002).to_bytes(4, "little")
PATIENCE_S = 240
SEABIOS_DEBUG_PORT = 0x402
BIOS_BASE = 0xF_8000
BIOS = """
print:
    cmp ah, 0x0e
    jne 1f
    out 0xe9, al
1:  iret
    .org 0x20
memory:
    mov ax, 639
    iret
    .org 0x40
services:
    cmp ah, 0x88
    jne nothing
    mov ax, 0x3c00
    push bp
    mov bp, sp
    and byte ptr [bp + 6], 0xfe
    pop bp
    iret
    .org 0x80
nothing:
    push bp
    mov bp, sp
    or byte ptr [bp + 6], 1 # carry: there is no such service
    pop bp
    mov ah, 0x86
    iret
"""
VECTORS = {0x10: 0, 0x12: 0x20, 0x15: 0x40}
NOTHING = 0x80


class Until:
    """Takes a guest's output, and ends the run once all of some words were in it."""

    def __init__(self, *words: bytes) -> None:
        self.words = words
        self.said = b""
        self.machine: pykvm.VM

    def write(self, data: bytes) -> None:
        self.said += data
        if all(word in self.said for word in self.words):
            self.machine.stop()

    def flush(self) -> None:
        """Nothing is kept back."""


def run(
    backend: str, kernel: Path, words: tuple[bytes, ...], initrd: Path | None = None,
    *, bios: bool = False, append: str = "", modules: Sequence[Path] = (), memory: str = "64M",
) -> None:  # fmt: skip
    """Run a program until it has said the words; fails if that never comes."""
    output = Until(*words)
    with pykvm.VM(
        backend=backend, memory=memory, irqchip="full", pit=True, output=output, append=append,
        devices=(*KERNEL_DEVICES, "debugcon"), float_unclaimed=True,
    ) as vm:  # fmt: skip
        output.machine = vm
        vm.load_kernel(kernel, initrd, modules)
        if bios:
            vm.memory.write(BIOS_BASE, pykvm.assemble(BIOS, mode="real", origin=0).pieces[0][1])
            for vector in range(256):
                where = VECTORS.get(vector, NOTHING)
                vm.memory.write(4 * vector, where.to_bytes(2, "little") + b"\x00\xf8")
        vm.run(timeout=PATIENCE_S)
    assert [word for word in words if word not in output.said] == [], output.said[-2000:]


@pytest.mark.parametrize(("name", "bits"), [("ia32", b"x32"), ("x64", b"x64")])
def test_memtest_tests_memory(name: str, bits: bytes) -> None:
    """By its 32-bit and its 64-bit entry, to the first pattern in memory."""
    (kernel,) = unpacked("memtest86+", f"boot/memtest86+{name}.bin")
    words = (b"Memtest86+", bits, b"[Address test, walking ones", b"Status: Testing")
    run("emu", kernel, words, append="console=ttyS0,115200")


def test_ipxe_reads_its_command_line() -> None:
    """By its 16-bit entry: it takes itself apart and tries to execute the line as a script."""
    (kernel,) = unpacked("ipxe", "boot/ipxe.lkrn")
    words = (b"Open Source Network Boot Firmware", b"hello: command not found")
    run("emu", kernel, words, bios=True, append="hello")


def test_memdisk_boots_its_disk(pykvm_backend: str, tmp_path: Path) -> None:
    """By its 16-bit entry, with a disk whose first sector prints a letter."""
    (kernel,) = unpacked("syslinux-common", "usr/lib/syslinux/memdisk")
    disk = tmp_path / "disk"
    sector = pykvm.assemble("mov ax, 0x0e21\nint 0x10\nhere: jmp here", mode="real").pieces[0][1]
    disk.write_bytes((sector.ljust(510, b"\0") + b"\x55\xaa").ljust(1_474_560, b"\0"))
    words = (b"MEMDISK", b"command line: hello", b"Disk is fd0, 1440 K", b"booting...\r\n!")
    run(pykvm_backend, kernel, words, disk, bios=True, append="hello")


@pytest.mark.parametrize("version", [1, 2])
def test_xen_boots_by_multiboot(version: int, tmp_path: Path) -> None:
    """By either version, to what it makes of the command line, the memory map and a module."""
    (packed,) = unpacked("xen-hypervisor-4.17-amd64", "boot/xen-4.17-amd64.gz")
    data = gzip.decompress(packed.read_bytes())
    if version == 2:  # it has both headers, and the first goes before
        data = data.replace(MULTIBOOT_MAGIC, bytes(4), 1)
    kernel, module = tmp_path / "xen", tmp_path / "dom0"
    kernel.write_bytes(data)
    module.write_bytes(bytes(4096))
    words = (
        b"Bootloader: pykvm",
        b"Command line: no-real-mode com1=115200,8n1 console=com1",
        b"[0000000000100000, 000000001fffffff] (usable)",
        b"ACPI: RSDP",
        b"found SMP MP-table at 000f0000",
    )  # fmt: skip
    append = "no-real-mode com1=115200,8n1 console=com1 loglvl=all"
    run("emu", kernel, words, modules=[module], memory="512M", append=append)


def test_seabios_starts_at_the_reset_vector(pykvm_backend: str) -> None:
    """QEMU's firmware for machines without PCI, by its debug port, until it looks for disks."""
    (image,) = unpacked("seabios", "usr/share/seabios/bios-microvm.bin")
    words = (b"SeaBIOS (version", b"RamSize: 0x04000000 [cmos]", b"Found 1 serial ports")
    output = Until(*words)
    with pykvm.VM(
        backend=pykvm_backend, memory="64M", irqchip="full", pit=True, output=output,
        devices=KERNEL_DEVICES, float_unclaimed=True,
    ) as vm:  # fmt: skip
        output.machine = vm
        vm.ports.claim(SEABIOS_DEBUG_PORT, 1, DebugConsole(vm.output.write))
        vm.load_firmware(image)
        vm.run(timeout=PATIENCE_S)
    assert [word for word in words if word not in output.said] == [], output.said[-2000:]
