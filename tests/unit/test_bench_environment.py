"""The environment record: what it reads, and what it warns of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pykvm.bench.environment import Environment, pin
from pykvm.errors import UsageError

CPU = """processor\t: {number}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: An invented Xeon
stepping\t: 4
microcode\t: 0x2006e05
flags\t\t: fpu vmx tsc constant_tsc nonsense
vmx flags\t: ept vpid
"""


def host(root: Path, **files: str) -> Path:
    """A root with a host of two processors in it; other files by path, with __ for /."""
    cpu = min(os.sched_getaffinity(0))
    found = {
        "proc/cpuinfo": "\n".join(CPU.format(number=number) for number in range(2)),
        "proc/loadavg": "0.10 0.20 0.30 1/100 1",
        "proc/stat": f"cpu 0 0 0 0 0 0 0 0 0 0\ncpu{cpu} 100 0 0 900 0 0 0 0 0 0",
        "sys/module/kvm_intel/parameters/ept": "Y",
        "sys/devices/system/cpu/vulnerabilities/meltdown": "Mitigation: PTI",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
        "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet",
        **{name.replace("__", "/"): text for name, text in files.items()},
    }
    for name, text in found.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_the_record_holds_what_a_result_depends_on(tmp_path: Path) -> None:
    record = Environment("kvm", host(tmp_path)).as_dict()
    cpu = record["cpu"]
    assert (cpu["model"], cpu["stepping"], cpu["microcode"]) == (
        "An invented Xeon",
        "4",
        "0x2006e05",
    )
    assert cpu["flags"] == ["constant_tsc", "ept", "vmx", "vpid"]
    assert record["mitigations"] == {"meltdown": "Mitigation: PTI"}
    assert record["kvm"] == {
        "module": "kvm_intel", "parameters": {"kvm_intel.ept": "Y"}, "paging": "EPT"
    }  # fmt: skip
    assert record["host"]["kind"] == 1
    assert record["clock"]["source"] == "tsc"
    assert record["backend"] == "kvm"
    assert record["time"].endswith("Z")


def test_a_hypervisor_is_named_by_firmware_and_clock(tmp_path: Path) -> None:
    clock = "sys__devices__system__clocksource__clocksource0__available_clocksource"
    files = {clock: "tsc kvm-clock", "sys__class__dmi__id__sys_vendor": "QEMU"}
    root = host(tmp_path, **files)
    assert Environment("kvm", root).as_dict()["host"]["hypervisor"] == ""
    cpuinfo = root / "proc/cpuinfo"
    cpuinfo.write_text(cpuinfo.read_text().replace("fpu", "fpu hypervisor"))
    record = Environment("kvm", root).as_dict()["host"]
    assert (record["kind"], record["hypervisor"]) == (2, "QEMU KVM")


def test_this_host_has_a_record() -> None:
    record = Environment().as_dict()
    assert record["kernel"] == os.uname().release
    assert record["python"] == sys.version.split()[0]
    assert record["clock"]["step_ns"] > 0


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"sys__devices__system__cpu__smt__active": "1"}, "SMT is on"),
        ({"proc__loadavg": "1.5 0 0 1/1 1"}, "the load was 1.5 on 2 processors"),
        ({"sys__devices__system__clocksource__clocksource0__current_clocksource": "hpet"},
         "the clock hpet is coarse"),
        ({f"sys__devices__system__cpu__cpu{min(os.sched_getaffinity(0))}__cpufreq__"
          "scaling_governor": "powersave"}, "governor is 'powersave'"),
    ],
)  # fmt: skip
def test_what_spoils_figures_is_warned_of(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    environment = Environment("kvm", host(tmp_path, **files))
    assert any(words in warning for warning in environment.warnings())
    assert environment.as_dict()["warnings"] == environment.warnings()


def test_time_that_the_hypervisor_took_is_warned_of(tmp_path: Path) -> None:
    environment = Environment("kvm", host(tmp_path))
    assert not any("hypervisor" in each for each in environment.warnings())
    stat = tmp_path / "proc/stat"
    stat.write_text(stat.read_text().replace("900 0 0 0 0", "980 0 0 0 20"))
    environment.end()
    assert environment.steal_percent == 20
    assert any("took 20.0 %" in warning for warning in environment.warnings())


def test_a_quiet_pinned_host_is_not_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = min(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {cpu})
    environment = Environment("kvm", host(tmp_path))
    environment._clock["step_ns"] = 50
    assert environment.pinned
    assert environment.warnings() == []


@pytest.mark.parametrize("cpu", [100_000, -1])
def test_a_processor_that_is_not_there_is_named(cpu: int) -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(UsageError, match=rf"cannot pin to processor {cpu}: .*; this process may"):
        pin(cpu)
    assert os.sched_getaffinity(0) == before


def test_measuring_creation_loads_no_more_than_it_needs() -> None:
    """Each library that a process has mapped makes KVM_CREATE_VM slower."""
    code = (
        "import sys, pykvm.bench.environment as e, pykvm.bench.floor; e.Environment().end();"
        "heavy = {'numpy', 'matplotlib', 'rich', 'subprocess', 'statistics', 'tempfile', 'json',"
        " '_datetime'}; print(*sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
