"""The stock kernel, a RAM disk for it, and the log that it has under QEMU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from console import PROMPT, Console
from support.debian import installed

from pykvm.bench import linux, stock

PROGRAM = Path(__file__).with_name("program.c")
QEMU_PATIENCE_S = 40
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
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc)")
    path = tmp_path_factory.mktemp("program") / "program"
    command = ["cc", *PROGRAM_FLAGS, str(PROGRAM), "-o", str(path), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cc does not build for x86-64-v3: {done.stderr[-200:]}")
    return path


@pytest.fixture(scope="session")
def initrd(kernel: stock.Stock, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RAM disk that gives a shell, with the user program in it."""
    path = tmp_path_factory.mktemp("initrd") / "initrd.img"
    files = {"bin/program": program.read_bytes()}
    path.write_bytes(stock.initramfs(kernel.busybox, files))
    return path


@pytest.fixture(scope="session")
def reference(kernel: stock.Stock, initrd: Path) -> str:
    """The same kernel's log under QEMU's emulator, with two processors.

    Empty where that hangs: on a loaded host QEMU's timers come too late for the kernel.
    """
    installed(linux.QEMU, "qemu-system-x86")
    with Console(linux.qemu_command(kernel.kernel, initrd, 2)) as console:
        try:
            console.wait_for(PROMPT, QEMU_PATIENCE_S)
        except AssertionError:
            return ""
        log = console.run("dmesg")
        console.send("poweroff -f\n")
        console.end()
    return log
