"""Debian's own kernel, from its first instruction to a shell and to power-off."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import judge
import pytest
from console import PROMPT, Console

import pykvm
from pykvm import host
from pykvm.bench import linux, stock
from pykvm.parts import KERNEL_DEVICES
from pykvm.result import Outcome

pytestmark = pytest.mark.timeout(300)
LINUX_PAGE = Path(__file__).parents[2] / "docs" / "linux.md"
KVM_PATIENCE_S, FULL_PATIENCE_S = 120, 3600
EARLY = "x86/fpu: Enabled xstate features"  # decompressed, relocated, and well under way
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


def test_what_the_page_shows_works(kernel: stock.Stock, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", LINUX_PAGE.read_text(), re.S)
    assert len(blocks) == 2
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert stock.MARKER in done.stdout
    assert done.stdout.endswith("\n0\n")


needs_kvm = pytest.mark.skipif(host.problem() is not None, reason=str(host.problem()))


@needs_kvm
@pytest.mark.skipif(host.emulates_cpl0(), reason="KVM emulates CPL 0 here: the next test is for it")
def test_a_stock_kernel_boots_under_kvm(kernel: stock.Stock, initrd: Path) -> None:
    with Console(linux.pykvm_command(kernel.kernel, initrd, backend="kvm")) as console:
        console.wait_for(PROMPT)
        console.send("poweroff -f\n")
        assert console.end() == 0, console.tail()


@needs_kvm
@pytest.mark.skipif(not host.emulates_cpl0(), reason="KVM executes CPL 0 on the processor here")
@pytest.mark.timeout(FULL_PATIENCE_S + 60)
def test_a_stock_kernel_starts_under_a_kvm_that_emulates_cpl_0(
    kernel: stock.Stock, initrd: Path, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """With assist into its log; with --full as far as it comes in an hour."""
    goal, patience_s = (stock.MARKER, FULL_PATIENCE_S) if full else (EARLY, KVM_PATIENCE_S)
    with pykvm.VM(
        memory="256M", backend="kvm", assist=True, irqchip="full", pit=True,
        devices=KERNEL_DEVICES, float_unclaimed=True, append="console=ttyS0 earlyprintk=ttyS0",
    ) as vm:  # fmt: skip
        vm.load_kernel(kernel.kernel, initrd)
        start = time.thread_time()  # what it gets of a busy host, not how long that takes
        while goal.encode() not in vm.output.data and time.thread_time() < start + patience_s:
            result = vm.run(timeout=2)
            if result.outcome is not Outcome.TIMEOUT:
                break
    said = result.output.decode(errors="replace")
    with capsys.disabled():
        print(
            f"\nKVM emulates CPL 0 here: {time.thread_time() - start:.0f} s of CPU time to "
            f"{said.strip().splitlines()[-1:]}, {result.assist_instructions} instructions of "
            f"it in {result.assist_entries} visits to the emulator, the end: {result.reason}"
        )
    assert EARLY in said, said[-2000:]
