"""What a host inside QEMU is made of: QEMU, a root with Python and a kernel, pykvm, its tests.

All of it comes by Debian's and Python's package clients and stays in build/nested. Nothing is
installed on the host but mmdebstrap, where that may be.

Sources: apt.conf(5), mmdebstrap(1), mke2fs(8).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.debian import installed

from pykvm.bench.stock import initramfs

SUITE = "bookworm"  # with kernel 6.1, and with QEMU 10 in its backports; 7.2 has more faults
ROOT_PACKAGES = "python3,python3-distutils,libstdc++6,linux-image-amd64,kmod,busybox-static"
SITE_PACKAGES = ("pytest>=8", "pytest-timeout>=2.3", "hypothesis>=6.100", "mpmath>=1.3")
MODULES = (
    "virtio_pci", "virtio_blk", "ext4", "9pnet_virtio", "9p", "kvm", "kvm-amd", "irqbypass", "ccp",
)  # fmt: skip
ROOT_SIZE, WORK_SIZE = "1500M", "600M"
PATIENCE_S = 1800

PROJECT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BUILD = PROJECT / "build" / "nested"


@dataclass(frozen=True)
class Host:
    """The files that a host boots from; `library_path` is for QEMU's own libraries."""

    qemu: Path
    library_path: str
    firmware: tuple[Path, ...]
    kernel: Path
    initrd: Path
    root: Path
    work: Path


def build() -> Host:
    """Make what is not there yet; pykvm and its tests always anew."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a root directory by mmdebstrap")
    mirror = _mirror()
    installed("mmdebstrap", "mmdebstrap")
    installed("mke2fs", "e2fsprogs")
    BUILD.mkdir(parents=True, exist_ok=True)
    qemu, tree = BUILD / "qemu", BUILD / "root"
    _once(qemu, lambda partial: _unpack_qemu(partial, mirror))
    _once(tree, lambda partial: _make_root(partial, mirror))
    root = BUILD / "root.ext4"
    _once(root, lambda partial: _image(partial, tree, ROOT_SIZE))
    kernel = next((tree / "boot").glob("vmlinuz-*"))
    initrd = BUILD / "initrd.img"
    initrd.write_bytes(_initrd(tree, kernel.name.removeprefix("vmlinuz-")))
    work = BUILD / "work.ext4"
    _image(work, _make_work(BUILD / "work", tree), WORK_SIZE)
    libraries = [qemu / each / "x86_64-linux-gnu" for each in ("lib", "usr/lib")]
    return Host(
        qemu / "usr/bin/qemu-system-x86_64",
        ":".join(map(str, libraries)),
        (qemu / "usr/share/qemu", qemu / "usr/share/seabios"),
        kernel,
        initrd,
        root,
        work,
    )


def _once(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file or directory unless it is there whole."""
    if path.exists():
        return
    partial = path.with_name(path.name + ".partial")
    if partial.is_dir():
        shutil.rmtree(partial)
    partial.unlink(missing_ok=True)
    make(partial)
    partial.rename(path)


def _run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=PATIENCE_S,
        env=os.environ | environment,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"`{command[0]} ...` failed: {done.stderr.strip()[-500:]}", pytrace=False)
    return done.stdout


def _mirror() -> str:
    """Where this host gets Debian's packages from; skips where it is no Debian of this suite."""
    if shutil.which("apt-get") is None:
        pytest.skip("this is not Debian: its packages make the host inside QEMU")
    listing = _run("apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)")
    for line in listing.splitlines():
        suite, component, uri = line.split()
        if (suite, component) == (SUITE, "main"):
            return uri
    pytest.skip(f"the host inside QEMU is made on Debian's {SUITE}, which this is not")


def _unpack_qemu(partial: Path, mirror: str) -> None:
    """QEMU of the backports, and what of its libraries this host lacks, unpacked."""
    apt = BUILD / "apt"
    (apt / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (apt / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    sources = apt / "sources.list"
    keys = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
    suites = (SUITE, f"{SUITE}-backports")
    sources.write_text("".join(f"deb [{keys}] {mirror} {suite} main\n" for suite in suites))
    settings = {
        "Dir::State::lists": apt / "lists", "Dir::Cache": apt, "Debug::NoLocking": 1,
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null",
    }  # fmt: skip
    client = ["apt-get", *(f"-o{name}={value}" for name, value in settings.items()), "-qq"]
    _run(*client, "update")
    wanted = ("-t", f"{SUITE}-backports", "--no-install-recommends", "--download-only", "-y")
    _run(*client, "install", *wanted, "qemu-system-x86")
    for package in sorted((apt / "archives").glob("*.deb")):
        _run("dpkg-deb", "-x", package, partial)


def _make_root(partial: Path, mirror: str) -> None:
    source = f"deb {mirror} {SUITE} main"
    options = ("--mode=root", "--variant=extract", f"--include={ROOT_PACKAGES}")
    _run("mmdebstrap", *options, SUITE, partial, source)
    for name in ("proc", "sys", "mnt", "pykvm", "tmp"):
        (partial / name).mkdir(exist_ok=True)
    version = next((partial / "lib" / "modules").iterdir()).name
    _run("chroot", partial, "/sbin/depmod", version)


def _image(path: Path, tree: Path, size: str) -> None:
    """An ext4 image of a directory."""
    path.unlink(missing_ok=True)
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, path, size)


def _initrd(tree: Path, version: str) -> bytes:
    """busybox, the modules in the order in which they are loaded, and the first process."""
    paths = [line for name in MODULES for line in _insmods(tree, version, name)]
    order = list(dict.fromkeys(paths))
    files = {f"modules/{Path(path).name}": (tree / path.lstrip("/")).read_bytes() for path in order}
    files["order"] = "".join(f"/modules/{Path(path).name}\n" for path in order).encode()
    files["init"] = (HERE / "init.sh").read_bytes()
    files["newroot/keep"] = b""
    return initramfs(tree / "bin" / "busybox", files)


def _insmods(tree: Path, version: str, module: str) -> Iterable[str]:
    said = _run("chroot", tree, "/sbin/modprobe", "-S", version, "--show-depends", module)
    return [line.split()[1] for line in said.splitlines() if line.startswith("insmod ")]


def _make_work(work: Path, tree: Path) -> Path:
    """pykvm as a wheel with what it needs, and what the tests need."""
    shutil.rmtree(work, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    _run(*pip, "wheel", "--no-deps", "-w", work / "wheel", PROJECT)
    tell = "import sys; print(*sys.version_info[:2], sep='.')"
    version = _run("chroot", tree, "/usr/bin/python3", "-c", tell)
    target = ("--target", work / "site", "--only-binary=:all:", "--python-version", version.strip())
    _run(*pip, "install", *target, next((work / "wheel").glob("*.whl")), *SITE_PACKAGES)
    for name in ("tests", "guests", "docs"):
        shutil.copytree(PROJECT / name, work / "repo" / name)
    shutil.copy(PROJECT / "pyproject.toml", work / "repo")
    shutil.copy(HERE / "run.sh", work)
    return work
