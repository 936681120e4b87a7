"""`pykvm doctor`: what it finds, what it prints, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pykvm import cli, doctor, host, probe
from pykvm.cli import doctor as command
from pykvm.errors import KvmUnavailable, ProbeError
from pykvm.loader.image import Mode

needs_kvm = pytest.mark.skipif(host.problem() is not None, reason=str(host.problem()))


def examine_absent(tmp_path: Path) -> doctor.Examination:
    return doctor.examine(tmp_path / "absent")


@needs_kvm
def test_a_host_where_guests_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["backends", "kvm,", "emu"]
    assert lines[1].split() == ["device", "/dev/kvm", "opens;", "API", "version", "12"]
    assert lines[-1].startswith("verdict         guests run here (host kind ")
    labels = {line.split()[0] for line in lines}
    assert {"kernel", "processor", "module", "paging", "capabilities", *probe.FEATURES} <= labels


@needs_kvm
def test_json_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == doctor.SCHEMA
    assert found["ok"] is True
    assert found["device"]["api_version"] == 12
    assert found["host"]["kernel"]
    assert found["backends"]["kvm"] == {"ok": True, "why": ""}
    assert found["backends"]["emu"]["instructions_per_s"] > 0
    assert [each["cpl"] for each in found["measured"]] == [0, 3]
    assert found["features"].keys() == probe.FEATURES.keys()
    assert all(name.startswith("KVM_CAP_") for name in found["capabilities"])


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_host_without_the_device(
    tmp_path: Path,
    option: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "examine", lambda: examine_absent(tmp_path))
    assert cli.main(["doctor", *option]) == 1
    out = capsys.readouterr().out
    assert f"{tmp_path / 'absent'} does not exist" in out
    if option:
        found = json.loads(out)
        assert found["ok"] is False
        assert found["device"]["problem"] in ("missing", "no-module")
        assert found["device"]["remedy"] in found["verdict"]
    else:
        assert out.splitlines()[-1].startswith(
            "verdict         KVM runs no guests here, backend emu does: "
        )


def test_a_device_that_is_not_kvm() -> None:
    found = doctor.examine(Path("/dev/null"))
    assert isinstance(found.problem, KvmUnavailable)
    assert found.problem.problem == "not-kvm"


@needs_kvm
def test_a_guest_that_does_not_run_is_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = probe.measure

    def refuse(mode: Mode, backend: str = "kvm") -> probe.Pace:
        if backend == "emu":
            return measure(mode, backend)
        raise ProbeError("a loop did not end")

    monkeypatch.setattr(probe, "measure", refuse)
    found = doctor.examine()
    assert found.api_version == 12
    assert found.verdict == "KVM runs no guests here, backend emu does: a loop did not end"
    assert not found.ok


def test_where_code_runs_follows_from_its_pace() -> None:
    emulated = probe.Pace(cpl=0, instructions=10_000, wall_ns=5_000_000)
    native = probe.Pace(cpl=3, instructions=10_000_000, wall_ns=5_000_000)
    assert (emulated.per_s, native.per_s) == (2e6, 2e9)
    found = doctor.Examination(host.DEVICE, host.Host.read(), paces=(emulated, native))
    assert (found.place(emulated), found.place(native)) == (
        "in the kernel's emulator",
        "on the CPU",
    )


def test_a_slow_cpu_is_not_taken_for_the_kernels_emulator() -> None:
    paces = (probe.Pace(0, 10_000, 5_000_000), probe.Pace(3, 12_000, 5_000_000))
    found = doctor.Examination(host.DEVICE, host.Host.read(), paces=paces)
    assert [found.place(pace) for pace in paces] == ["on the CPU"] * 2


def test_a_closed_pipe_is_no_traceback() -> None:
    script = f"{sys.executable} -c 'import pykvm.cli; exit(pykvm.cli.main())' doctor --json | true"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert done.stderr == ""
