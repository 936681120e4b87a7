"""What this host is: its processor, kernel, KVM module, and /dev/kvm; read, not tried.

Nothing here opens a machine (`pykvm.probe` does) or imports anything heavy, so that the
pytest plugin can name the host at the head of every run.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pykvm.errors import KvmUnavailable

DEVICE = Path("/dev/kvm")
DEVICE_NUMBER = os.makedev(10, 232)  # KVM_MINOR, Linux's admin-guide/devices.txt
UDEV_RULE = 'KERNEL=="kvm", GROUP="kvm", MODE="0666"'

KIND_WITHOUT_VIRTUALIZATION = 3
_VENDOR_MODULES = ("kvm_intel", "kvm_amd", "kvm_pvm")
_PARAMETERS = {
    "kvm": ("tdp_mmu", "halt_poll_ns"),
    "kvm_intel": ("ept", "nested", "unrestricted_guest", "vpid", "enable_apicv", "pml"),
    "kvm_amd": ("npt", "nested", "avic", "vnmi"),
    "kvm_pvm": (),
}
_CAPABLE = {"vmx": "kvm_intel", "svm": "kvm_amd"}

KIND_MEANINGS = {
    1: "hardware: guests run on VT-x or AMD-V",
    2: "nested hardware: VT-x or AMD-V inside another virtual machine",
    3: "nested without VT-x or AMD-V: privileged guest code is emulated by the kernel",
}


class HugePages(NamedTuple):
    """One size of huge page.

    Attributes:
        size_bytes: of one page.
        total, free: pages in hugetlbfs's pool.
    """

    size_bytes: int
    total: int
    free: int


class Host(NamedTuple):
    """A host as the kernel describes it.

    Attributes:
        cpu: the processor's model name.
        flags: those of /proc/cpuinfo that matter here: vmx, svm, hypervisor.
        kernel: release.
        modules: KVM's, of those that /sys/module shows.
        parameters: theirs, as "kvm_intel.ept": "Y"; only those that are readable.
        huge_pages: sizes that the kernel knows.
        transparent_huge_pages: "always", "madvise", "never", or "" where there are none.
    """

    cpu: str
    flags: frozenset[str]
    kernel: str
    modules: tuple[str, ...]
    parameters: Mapping[str, str]
    huge_pages: tuple[HugePages, ...]
    transparent_huge_pages: str

    @classmethod
    def read(cls, root: Path = Path("/")) -> Host:
        """This host, or the one whose /proc and /sys lie below `root`."""
        cpu = _cpuinfo(root / "proc/cpuinfo")
        modules = tuple(
            name for name in ("kvm", *_VENDOR_MODULES) if (root / "sys/module" / name).exists()
        )
        return cls(
            cpu=cpu.get("model name", "unknown"),
            flags=frozenset(cpu.get("flags", "").split()) & {"vmx", "svm", "hypervisor"},
            kernel=os.uname().release,
            modules=modules,
            parameters=_parameters(root / "sys/module", modules),
            huge_pages=_huge_pages(root / "sys/kernel/mm/hugepages"),
            transparent_huge_pages=_chosen(root / "sys/kernel/mm/transparent_hugepage/enabled"),
        )

    @property
    def module(self) -> str:
        """The module that runs guests: kvm_intel, kvm_amd, kvm_pvm; "" where none shows."""
        return next((name for name in self.modules if name in _VENDOR_MODULES), "")

    @property
    def nested(self) -> bool:
        """Whether this host is itself a virtual machine."""
        return "hypervisor" in self.flags

    @property
    def kind(self) -> int | None:
        """The kind of host: a key of KIND_MEANINGS; None where there is no virtualization."""
        if self.module == "kvm_pvm" or not self.flags & _CAPABLE.keys():
            return KIND_WITHOUT_VIRTUALIZATION if self.module else None
        return 2 if self.nested else 1

    @property
    def paging(self) -> str:
        """How guest-physical memory is translated: "EPT", "NPT", "shadow"; "" if unknown."""
        names = {"kvm_intel.ept": "EPT", "kvm_amd.npt": "NPT"}
        for parameter, name in names.items():
            if parameter in self.parameters:
                return name if self.parameters[parameter] in ("Y", "1") else "shadow"
        return "shadow" if self.module == "kvm_pvm" else ""

    def suggested_module(self) -> str:
        """The module that this processor needs; "" where it has neither VT-x nor AMD-V."""
        return next((name for flag, name in _CAPABLE.items() if flag in self.flags), "")


@cache
def emulates_cpl0() -> bool:
    """Whether this host's KVM runs CPL 0 in an instruction emulator of its own; read once."""
    return Host.read().kind == KIND_WITHOUT_VIRTUALIZATION


def problem(device: Path = DEVICE) -> KvmUnavailable | None:
    """Why the device cannot be used, as far as opening it tells; None where it can."""
    try:
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return unavailable(device, error)
    try:
        return None if os.fstat(fd).st_rdev == DEVICE_NUMBER else not_kvm(device)
    finally:
        os.close(fd)


def unavailable(device: Path, error: OSError, host: Host | None = None) -> KvmUnavailable:
    """What an error from opening the device means on this host, and what mends it."""
    host = host or Host.read()
    match error.errno:
        case errno.ENOENT:
            return _missing(device, host)
        case errno.EACCES | errno.EPERM:
            return _no_permission(device)
        case errno.ENODEV | errno.ENXIO:
            return KvmUnavailable(
                "no-module", f"{device} exists, but no KVM module answers", _load(host)
            )
    return KvmUnavailable(
        "missing", f"{device} does not open: {error.strerror}", "it should be KVM's device"
    )


def not_kvm(device: Path) -> KvmUnavailable:
    """The device opens, but does not know KVM's requests."""
    return KvmUnavailable(
        "not-kvm",
        f"{device} is not KVM's device",
        "KVM's is character device 10, 232, which its module makes as /dev/kvm",
    )


def _missing(device: Path, host: Host) -> KvmUnavailable:
    if host.module:
        return KvmUnavailable(
            "missing",
            f"{device} does not exist, though {host.module} is loaded",
            "in a container, pass --device /dev/kvm",
        )
    if host.suggested_module():
        return KvmUnavailable("no-module", f"{device} does not exist", _load(host))
    return KvmUnavailable(
        "missing",
        f"{device} does not exist, and the processor shows neither VT-x nor AMD-V",
        "enable virtualization in the firmware or, in a virtual machine, nested "
        "virtualization on its host",
    )


def _load(host: Host) -> str:
    names = host.suggested_module() or "kvm_intel, or kvm_amd on AMD"
    return f"load its module: sudo modprobe {names}"


def _no_permission(device: Path) -> KvmUnavailable:
    message = f"no permission to open {device}"
    try:
        status = device.stat()
    except OSError:
        return KvmUnavailable("permission", message, "a directory above it is closed to this user")
    owner, group = _user_name(status.st_uid), _group_name(status.st_gid)
    message += f" ({owner}:{group}, mode {stat.S_IMODE(status.st_mode):04o})"
    return KvmUnavailable("permission", message, _permission_remedy(status, group))


def _permission_remedy(status: os.stat_result, group: str) -> str:
    readable_by_group = status.st_mode & 0o060 == 0o060
    if os.geteuid() == 0 or (readable_by_group and status.st_gid in os.getgroups()):
        return (
            "its mode allows it, so the container or a security module forbids it: "
            "pass --device /dev/kvm"
        )
    if readable_by_group and group != "root":
        return (
            f"join its group: sudo usermod -aG {group} $USER, then log in again "
            f"(or, for this shell alone, newgrp {group})"
        )
    return (
        f"put the line {UDEV_RULE} into /etc/udev/rules.d/99-kvm.rules, then "
        "sudo udevadm control --reload-rules && sudo udevadm trigger --name-match=kvm"
    )


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


# Reading /proc and /sys.


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's fields."""
    first = _text(path).split("\n\n", 1)[0]
    fields = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}


def _parameters(directory: Path, modules: tuple[str, ...]) -> dict[str, str]:
    values = {
        f"{module}.{name}": _text(directory / module / "parameters" / name)
        for module in modules
        for name in _PARAMETERS[module]
    }
    return {name: value for name, value in values.items() if value}


def _huge_pages(directory: Path) -> tuple[HugePages, ...]:
    return tuple(
        sorted(
            (
                HugePages(
                    int(path.name.removeprefix("hugepages-").removesuffix("kB")) << 10,
                    int(_text(path / "nr_hugepages") or 0),
                    int(_text(path / "free_hugepages") or 0),
                )
                for path in directory.glob("hugepages-*kB")
            ),
            key=lambda pages: pages.size_bytes,
        )
    )


def _chosen(path: Path) -> str:
    """The word in brackets of "always [madvise] never"."""
    return _text(path).partition("[")[2].partition("]")[0]
