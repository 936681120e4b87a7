"""What is read of the host, from trees like those of each kind, and what each failure says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pykvm import host
from pykvm.backend.kvm import system
from pykvm.backend.kvm.system import System
from pykvm.errors import KvmUnavailable
from pykvm.host import Host, HugePages


def make_root(root: Path, flags: str, parameters: dict[str, str] | None = None) -> Path:
    """A tree with /proc/cpuinfo, and /sys/module/NAME/parameters for "module.parameter"."""
    files = {"proc/cpuinfo": f"model name\t: Some CPU\nflags\t\t: {flags}\n\nmodel name\t: Other\n"}
    for name, value in (parameters or {}).items():
        module, _, parameter = name.partition(".")
        files[f"sys/module/{module}/parameters/{parameter}"] = value + "\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def count_fds() -> int:
    """How many file descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("flags", "parameters", "kind", "module", "paging"),
    [
        ("fpu vmx", {"kvm_intel.ept": "Y", "kvm.tdp_mmu": "Y"}, 1, "kvm_intel", "EPT"),
        ("fpu svm", {"kvm_amd.npt": "1"}, 1, "kvm_amd", "NPT"),
        ("fpu vmx hypervisor", {"kvm_intel.ept": "N"}, 2, "kvm_intel", "shadow"),
        ("fpu hypervisor", {"kvm_pvm.force": "N"}, 3, "kvm_pvm", "shadow"),
        ("fpu", {}, None, "", ""),
    ],
)
def test_the_kind_of_host(
    tmp_path: Path,
    flags: str,
    parameters: dict[str, str],
    kind: int | None,
    module: str,
    paging: str,
) -> None:
    found = Host.read(make_root(tmp_path, flags, parameters))
    assert (found.kind, found.module, found.paging) == (kind, module, paging)
    assert found.cpu == "Some CPU"
    assert found.nested == ("hypervisor" in flags)


def test_huge_pages_are_read(tmp_path: Path) -> None:
    pool = tmp_path / "sys/kernel/mm/hugepages/hugepages-2048kB"
    pool.mkdir(parents=True)
    (pool / "nr_hugepages").write_text("8\n")
    (pool / "free_hugepages").write_text("3\n")
    transparent = tmp_path / "sys/kernel/mm/transparent_hugepage"
    transparent.mkdir(parents=True)
    (transparent / "enabled").write_text("always [madvise] never\n")
    found = Host.read(tmp_path)
    assert found.huge_pages == (HugePages(2 << 20, 8, 3),)
    assert found.transparent_huge_pages == "madvise"


def test_a_host_without_proc_and_sys_is_unknown_and_no_error(tmp_path: Path) -> None:
    found = Host.read(tmp_path)
    assert found.cpu == "unknown"
    assert found.kind is None


@pytest.mark.parametrize(
    ("flags", "parameters", "problem", "remedy"),
    [
        ("vmx", {}, "no-module", "sudo modprobe kvm_intel"),
        ("svm", {}, "no-module", "sudo modprobe kvm_amd"),
        ("vmx", {"kvm_intel.ept": "Y"}, "missing", "--device /dev/kvm"),
        ("fpu", {}, "missing", "firmware"),
    ],
)
def test_a_missing_device_is_explained(
    tmp_path: Path, flags: str, parameters: dict[str, str], problem: str, remedy: str
) -> None:
    error = OSError(errno.ENOENT, "no such file")
    found = host.unavailable(
        tmp_path / "kvm", error, Host.read(make_root(tmp_path, flags, parameters))
    )
    assert found.problem == problem
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("mode", "group", "remedy"),
    [
        (0o660, "kvm", "usermod -aG kvm $USER"),
        (0o600, "kvm", host.UDEV_RULE),
        (0o660, "root", host.UDEV_RULE),
    ],
)
def test_the_remedy_for_no_permission_follows_owner_and_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: str, remedy: str
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    device.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1000])
    monkeypatch.setattr(host, "_group_name", lambda gid: group)
    found = host.unavailable(device, OSError(errno.EACCES, "denied"))
    assert found.problem == "permission"
    assert f":{group}, mode {mode:04o}" in str(found)
    assert remedy in found.remedy


def test_no_permission_in_spite_of_the_mode_points_to_the_container(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is refused in spite of the mode")
    device = tmp_path / "kvm"
    device.touch()
    found = host.unavailable(device, OSError(errno.EPERM, "not permitted"))
    assert "--device /dev/kvm" in found.remedy


def test_a_device_without_a_driver_needs_its_module(tmp_path: Path) -> None:
    intel = Host.read(make_root(tmp_path, "vmx"))
    found = host.unavailable(Path("/dev/kvm"), OSError(errno.ENODEV, "no device"), intel)
    assert found.problem == "no-module"
    assert "modprobe kvm_intel" in found.remedy


def test_a_problem_is_found_without_asking_kvm(tmp_path: Path) -> None:
    for device in (tmp_path / "absent", Path("/dev/null")):
        found = host.problem(device)
        assert found is not None
        assert str(device) in str(found)


def test_a_device_that_cannot_be_opened_is_one_error_and_leaks_nothing(tmp_path: Path) -> None:
    before = count_fds()
    for device, problem in [(tmp_path / "absent", None), (Path("/dev/null"), "not-kvm")]:
        with pytest.raises(KvmUnavailable) as caught:
            System(device)
        assert problem in (None, caught.value.problem)
        assert str(device) in str(caught.value)
    assert count_fds() == before


def test_a_device_that_may_not_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(KvmUnavailable, match="no permission to open /dev/zero") as caught:
        System(Path("/dev/zero"))
    assert caught.value.problem == "permission"


def test_another_version_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "call", lambda fd, request, argument: 11)
    before = count_fds()
    with pytest.raises(KvmUnavailable, match="speaks version 11 of KVM's API, not 12") as caught:
        System(Path("/dev/null"))
    assert caught.value.problem == "version"
    assert count_fds() == before
