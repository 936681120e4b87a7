"""Debian's own kernel, from its first instruction to a shell and to power-off."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import judge
import pytest
from console import PROMPT, Console

import pykvm
from pykvm import host
from pykvm.bench import linux, stock
from pykvm.machine import KERNEL_DEVICES
from pykvm.result import Outcome

pytestmark = pytest.mark.timeout(300)
KVM_PATIENCE_S = 10
SERIAL_SET_UP_WRITES = 7
LEVEL_3 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}  # beyond x86-64-v2


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_stock_kernel_boots_to_a_shell_and_switches_off(
    cpus: int,
    kernel: stock.Stock,
    initrd: Path,
    program: Path,
    request: pytest.FixtureRequest,
) -> None:
    with Console(linux.pykvm_command(kernel.kernel, initrd, cpus)) as console:
        console.wait_for(re.escape(stock.MARKER))
        console.wait_for(PROMPT)
        assert console.run("echo $((6 * 7 * 1000003))") == "42000126\n"
        cpuinfo = console.run("cat /proc/cpuinfo")
        assert cpuinfo.count("processor\t:") == cpus
        check_sleep(console)
        if set(cpuinfo.split()) >= LEVEL_3:
            check_program(console, program)
        log = console.run("dmesg")
        console.send("poweroff -f\n")
        assert console.end() == 0, console.tail()
    reference = request.getfixturevalue("reference")  # without QEMU all the above is tested
    assert judge.new_complaints(log, reference) == []


def check_sleep(console: Console) -> None:
    """A second is a second inside and outside, as far as a loaded host can tell."""
    start = time.monotonic()
    said = console.run("cat /proc/uptime; sleep 1; cat /proc/uptime")
    outside = time.monotonic() - start
    before, after = (float(found) for found in re.findall(r"^(\d+\.\d+) ", said, re.M))
    assert 0.99 <= after - before <= outside + 0.02
    assert outside >= 0.99


def check_program(console: Console, program: Path) -> None:
    """A user program prints what it prints on the host."""
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:  # else this host is older than x86-64-v3
        assert console.run("program") == done.stdout


@pytest.mark.skipif(host.problem() is not None, reason=str(host.problem()))
def test_a_stock_kernel_starts_under_kvm(kernel: stock.Stock, initrd: Path) -> None:
    """To the shell; but where KVM emulates CPL 0 only into the decompressor, which has then set
    up the serial port. From there it is minutes to the first line of log, and half an hour
    to the first process."""
    if host.Host.read().kind != 3:
        with Console(linux.pykvm_command(kernel.kernel, initrd, backend="kvm")) as console:
            console.wait_for(PROMPT)
            console.send("poweroff -f\n")
            assert console.end() == 0, console.tail()
        return
    with pykvm.VM(
        memory="256M", backend="kvm", irqchip="full", pit=True, devices=KERNEL_DEVICES,
        float_unclaimed=True, append="earlyprintk=ttyS0",
    ) as vm:  # fmt: skip
        vm.load_kernel(kernel.kernel, initrd)
        result = vm.run(timeout=KVM_PATIENCE_S)
    assert result.outcome is Outcome.TIMEOUT, result.reason
    assert result.exits["PortOut"] >= SERIAL_SET_UP_WRITES
