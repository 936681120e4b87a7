"""The stock kernel, a RAM disk for it, and the log that it has under QEMU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from console import PROMPT, Console
from support.debian import installed

from pykvm import host
from pykvm.bench import linux, stock

PROGRAM = Path(__file__).with_name("program.c")
VSOCK = Path(__file__).with_name("vsock.c")
VIRTIO_MODULES = ("*virtio*.ko*", "*failover.ko*", "vsock*.ko*")
QEMU_PATIENCE_S = 120
QEMU_CLOCK = "shift=2,sleep=off"
PROGRAM_FLAGS = ("-O2", "-march=x86-64-v3", "-static", "-pthread")


@pytest.fixture(scope="session")
def kernel() -> stock.Stock:
    """Debian's kernel and busybox; skips where they cannot be had."""
    try:
        return stock.fetch()
    except stock.StockError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled user program; skips where there is no compiler for it."""
    return compiled(PROGRAM, tmp_path_factory.mktemp("program") / "program")


def compiled(source: Path, path: Path) -> Path:
    """A program for a guest."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc)")
    command = ["cc", *PROGRAM_FLAGS, str(source), "-o", str(path), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cc does not build {source.name}: {done.stderr[-200:]}")
    return path


@pytest.fixture(scope="session")
def initrd(kernel: stock.Stock, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RAM disk that gives a shell, with the user program in it."""
    path = tmp_path_factory.mktemp("initrd") / "initrd.img"
    files = {"bin/program": program.read_bytes()}
    path.write_bytes(stock.initramfs(kernel.busybox, files))
    return path


@pytest.fixture(scope="session")
def crypto_initrd(kernel: stock.Stock, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RAM disk that gives a shell, with the kernel's modules in it."""
    path = tmp_path_factory.mktemp("initrd") / "crypto.img"
    path.write_bytes(stock.initramfs(kernel.busybox, modules(kernel, "*.ko*")))
    return path


def modules(kernel: stock.Stock, *patterns: str) -> dict[str, bytes]:
    """The kernel's modules by their place in a RAM disk."""
    above = kernel.modules.parent
    return {
        f"lib/modules/{module.relative_to(above)}": module.read_bytes()
        for pattern in patterns
        for module in kernel.modules.rglob(pattern)
    }


@pytest.fixture(scope="session")
def virtio_initrd(kernel: stock.Stock, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RAM disk that gives a shell, with the modules that drive virtio devices."""
    path = tmp_path_factory.mktemp("initrd") / "virtio.img"
    files = modules(kernel, *VIRTIO_MODULES)
    files["bin/vsock"] = compiled(VSOCK, path.with_name("vsock")).read_bytes()
    path.write_bytes(stock.initramfs(kernel.busybox, files))
    return path


@pytest.fixture(scope="module", params=["emu", "kvm"])
def virtio_backend(request: pytest.FixtureRequest) -> str:
    """Where drivers run: on the emulator, and on a KVM that executes CPL 0 on the processor."""
    if request.param == "kvm" and (why := host.problem()):
        pytest.skip(str(why))
    if request.param == "kvm" and host.emulates_cpl0():
        pytest.skip("KVM emulates CPL 0 here, too slowly for a kernel with drivers")
    return str(request.param)


@pytest.fixture(scope="session")
def reference(kernel: stock.Stock, initrd: Path) -> str:
    """The same kernel's log under QEMU's emulator.

    Its clock counts instructions, as its timers come too late for the kernel on a loaded host:
    so the log is always the same. That goes with one processor only; with more the kernel
    would have more to complain of there, and the comparison would be easier to pass.
    """
    installed(linux.QEMU, "qemu-system-x86")
    command = linux.qemu_command(kernel.kernel, initrd)
    with Console([*command, "-icount", QEMU_CLOCK]) as console:
        console.wait_for(PROMPT, QEMU_PATIENCE_S)
        log = console.run("dmesg")
        console.send("poweroff -f\n")
        console.end()
    return log
