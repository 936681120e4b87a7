"""Debian's own kernel, from its first instruction to a shell and to power-off."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import judge
import pytest
from console import PROMPT, Console

from pykvm import host
from pykvm.bench import linux, stock

pytestmark = pytest.mark.timeout(300)
KVM_PATIENCE_S = 45


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_stock_kernel_boots_to_a_shell_and_switches_off(
    cpus: int, kernel: stock.Stock, initrd: Path, program: Path, reference: str
) -> None:
    with Console(linux.pykvm_command(kernel.kernel, initrd, cpus)) as console:
        console.wait_for(re.escape(stock.MARKER))
        console.wait_for(PROMPT)
        assert console.run("echo $((6 * 7 * 1000003))") == "42000126\n"
        assert console.run("cat /proc/cpuinfo").count("processor\t:") == cpus
        check_sleep(console)
        check_program(console, program)
        log = console.run("dmesg")
        console.send("poweroff -f\n")
        assert console.end() == 0, console.tail()
    assert judge.new_complaints(log, reference) == []
    assert "alg: self-tests for CTR-KDF (hmac(sha256)) passed" in log


def check_sleep(console: Console) -> None:
    """A second is a second inside and outside, as far as a loaded host can tell."""
    start = time.monotonic()
    said = console.run("cat /proc/uptime; sleep 1; cat /proc/uptime")
    outside = time.monotonic() - start
    before, after = (float(line.split()[0]) for line in said.splitlines())
    assert 0.99 <= after - before <= outside + 0.02
    assert outside >= 0.99


def check_program(console: Console, program: Path) -> None:
    """A user program prints what it prints on the host."""
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:  # else this host is older than x86-64-v3
        assert console.run("program") == done.stdout


def test_the_kernel_starts_under_kvm(kernel: stock.Stock, initrd: Path) -> None:
    """Where the kernel of the host emulates CPL 0, decompressing takes minutes and the first
    process is far: the first lines are what a test can wait for."""
    if (problem := host.problem()) is not None:
        pytest.skip(str(problem))
    if host.Host.read().kind == 3:
        pytest.skip(
            f"KVM emulates CPL 0 on this host: no line of log comes within {KVM_PATIENCE_S} s"
        )
    with Console(linux.pykvm_command(kernel.kernel, initrd, backend="kvm")) as console:
        console.wait_for(re.escape(stock.MARKER))
        console.wait_for(PROMPT)
        console.send("poweroff -f\n")
        assert console.end() == 0, console.tail()
