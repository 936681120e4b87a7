"""A KVM that opens and then fails: `auto` takes the emulator and says so; `kvm` says what to do.

A library before the C library lets one kind of ioctl fail, TIMES times after AFTER good ones; it
is compiled here.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pykvm import host

pytestmark = [
    pytest.mark.skipif(host.problem() is not None, reason=str(host.problem())),
    pytest.mark.skipif("PYKVM_SANITIZED" in os.environ, reason="preloads a library itself"),
]

KVM_CREATE_VM, KVM_CREATE_VCPU, KVM_SET_MEMORY, KVM_RUN = 0xAE01, 0xAE41, 0xAE46, 0xAE80
KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2, KVM_GET_API_VERSION = 0xAE60, 0xAE77, 0xAE00
PROGRAM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

int ioctl(int fd, unsigned long request, ...)
{
    int (*next)(int, unsigned long, ...);
    *(void **)&next = dlsym(RTLD_NEXT, "ioctl");
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    static int seen;
    if ((request & 0xffff) == strtoul(getenv("FAILING"), NULL, 0) &&
        seen++ >= atoi(getenv("AFTER")) && seen <= atoi(getenv("AFTER")) + atoi(getenv("TIMES"))) {
        errno = atoi(getenv("ERROR"));
        return -1;
    }
    return next(fd, request, argument);
}
"""
GUEST = "mov al, 5\nout 0xf8, al\n"
TEST = f"def test_five(guest):\n    assert guest({GUEST!r}).status == 5\n"
MACHINE = "import pykvm; vm = pykvm.VM(); print(vm.backend.name)"
TWO_CPUS = f"""
import pykvm
with pykvm.VM(cpus=2, pit=True) as vm:
    vm.load(pykvm.assemble({GUEST!r}))
    print(vm.backend.name, vm.run(60).status)
"""
BY_NAME = """
import pykvm
from pykvm.errors import PykvmError
try:
    pykvm.VM(backend="kvm")
except PykvmError as error:
    print(str(error).count('backend="emu"'), error.__class__.__name__)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What fails in place of KVM."""
    place = tmp_path_factory.mktemp("failing")
    source, library = place / "failing.c", place / "failing.so"
    source.write_text(PROGRAM)
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("no C compiler (cc)")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def run(
    *words: str, library: Path, request: int, error: int, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYKVM_BACKEND"}
    failing = {
        "LD_PRELOAD": str(library), "FAILING": hex(request), "ERROR": str(error),
        "AFTER": "0", "TIMES": "1000000",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *words], env=clean | failing | dict(more or {}),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture
def guest(tmp_path: Path) -> str:
    path = tmp_path / "five.S"
    path.write_text(GUEST)
    return str(path)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (KVM_CREATE_VM, errno.EBUSY), (KVM_CREATE_VM, errno.ENOMEM), (KVM_CREATE_VM, errno.ENODEV),
        (KVM_CREATE_VCPU, errno.ENOMEM), (KVM_CREATE_VCPU, errno.EINVAL),
        (KVM_SET_MEMORY, errno.EINVAL), (KVM_RUN, errno.EPERM), (KVM_RUN, errno.ENOMEM),
    ],
)  # fmt: skip
def test_auto_takes_the_emulator_and_says_so(
    request_: int, error: int, guest: str, library: Path
) -> None:
    name = errno.errorcode[error]
    done = run("-m", "pykvm", "run", guest, library=library, request=request_, error=error)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 5
    assert line.startswith("pykvm: backend emu: no KVM: ")
    assert f"({name})" in line
    done = run("-c", MACHINE, library=library, request=request_, error=error)
    (line,) = done.stderr.splitlines()
    assert (done.stdout, f"({name})" in line) == ("emu\n", True)


def test_the_plugin_takes_the_emulator_and_says_so(tmp_path: Path, library: Path) -> None:
    path = tmp_path / "test_five.py"
    path.write_text(TEST)
    words = ("-m", "pytest", "-p", "no:cacheprovider", str(path))
    done = run(*words, library=library, request=KVM_RUN, error=errno.EPERM)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("pykvm: ")]
    assert any(line.startswith("pykvm: no kvm: KVM_RUN: ") for line in lines)
    assert "pykvm: guests ran on emu (1 tests)" in lines


@pytest.mark.parametrize(
    ("request_", "good"),
    [
        (KVM_CREATE_IRQCHIP, 0), (KVM_CREATE_PIT2, 0), (KVM_CREATE_VM, 1), (KVM_SET_MEMORY, 1),
        (KVM_CREATE_VCPU, 1), (KVM_CREATE_VCPU, 2),
    ],
)  # fmt: skip
def test_auto_takes_it_where_only_the_trial_succeeds(
    request_: int, good: int, library: Path
) -> None:
    more = {"AFTER": str(good)}
    error = errno.ENOMEM
    done = run("-c", TWO_CPUS, library=library, request=request_, error=error, more=more)
    assert done.stdout == "emu 5\n", done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("backend emu: no KVM: KVM_")
    assert "(ENOMEM)" in line


def test_a_signal_in_the_trial_is_no_failure(library: Path) -> None:
    more = {"TIMES": "1"}
    done = run("-c", MACHINE, library=library, request=KVM_RUN, error=errno.EINTR, more=more)
    assert (done.stdout, done.returncode) == ("kvm\n", 0), done.stderr


def test_kvm_by_name_names_the_emulator_in_python(library: Path) -> None:
    done = run("-c", BY_NAME, library=library, request=KVM_CREATE_VM, error=errno.EBUSY)
    assert done.stdout == "1 KvmError\n", done.stderr
    done = run("-c", BY_NAME, library=library, request=KVM_GET_API_VERSION, error=errno.ENOTTY)
    assert done.stdout == "1 KvmUnavailable\n", done.stderr


@pytest.mark.parametrize("how", ["option", "variable"])
def test_kvm_by_name_names_the_emulator(how: str, guest: str, library: Path) -> None:
    words: tuple[str, ...] = ("--backend", "kvm") if how == "option" else ()
    more = {"PYKVM_BACKEND": "kvm"} if how == "variable" else {}
    done = run(
        "-m", "pykvm", "run", *words, guest,
        library=library, request=KVM_CREATE_VM, error=errno.EBUSY, more=more,
    )  # fmt: skip
    assert done.returncode == 125
    assert done.stderr.startswith("pykvm: KVM_CREATE_VM: ")
    assert done.stderr.count("--backend emu") == 1


def test_the_variable_holds_everywhere(guest: str, library: Path) -> None:
    def asked(backend: str, *words: str) -> subprocess.CompletedProcess[str]:
        more = {"PYKVM_BACKEND": backend}
        return run(*words, library=library, request=KVM_CREATE_VM, error=errno.EBUSY, more=more)

    done = asked("emu", "-m", "pykvm", "run", guest)
    assert done.stderr == "pykvm: backend emu: PYKVM_BACKEND asks for it\n"
    done = asked("emu", "-c", MACHINE)
    assert (done.stdout, done.stderr) == ("emu\n", "")
    done = asked("xen", "-c", MACHINE)
    assert "PYKVM_BACKEND is 'xen'" in done.stderr


def limited(limit: int, value: int, *words: str) -> subprocess.CompletedProcess[str]:
    """`pykvm run` where a limit of the process is so low."""
    clean = {name: value for name, value in os.environ.items() if name != "PYKVM_BACKEND"}
    return subprocess.run(
        [sys.executable, "-m", "pykvm", "run", *words], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)), env=clean, timeout=300,
    )  # fmt: skip


def test_too_few_signals_are_a_limit_that_is_named(guest: str) -> None:
    done = limited(resource.RLIMIT_SIGPENDING, 0, "--backend", "kvm", guest)
    assert (done.returncode, "ulimit -i" in done.stderr) == (125, True), done.stderr
    assert limited(resource.RLIMIT_SIGPENDING, 0, guest).returncode == 5


@pytest.mark.parametrize("backend", ["auto", "kvm", "emu"])
@pytest.mark.parametrize(
    ("limit", "value", "words", "name"),
    [
        (resource.RLIMIT_NOFILE, 8, [], "ulimit -n"),
        (resource.RLIMIT_AS, 512 << 20, ["--memory", "1G"], "ulimit -v"),
    ],
)
def test_other_limits_are_named(
    guest: str, backend: str, limit: int, value: int, words: list[str], name: str
) -> None:
    done = limited(limit, value, "--backend", backend, *words, guest)
    assert done.returncode in (2, 125)
    (line,) = done.stderr.splitlines()
    assert line.startswith("pykvm: ")
    assert name in line
