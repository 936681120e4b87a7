"""`pykvm run --kernel`: options, input and exit statuses."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import kernels

import pykvm
from pykvm import cli, host

PYKVM_RUN = (sys.executable, "-c", "import pykvm.cli as c; exit(c.main())", "run")
OFF = "mov dx, 0x604\nmov ax, 0x3400\nout dx, ax\nhlt\n"
ECHO = """
again:
    mov dx, 0x3fd
wait:
    in al, dx
    test al, 1
    jz wait
    mov dx, 0x3f8
    in al, dx
    out dx, al
    cmp al, '.'
    jne again
"""

BACKENDS = [
    pytest.param(
        "kvm", marks=pytest.mark.skipif(host.problem() is not None, reason=str(host.problem()))
    ),
    "emu",
]
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def kernel(source: str, path: Path) -> str:
    program = pykvm.assemble(source, origin=kernels.LOAD + 0x200)
    path.write_bytes(kernels.bzimage(b"".join(data for _, data in program.pieces)))
    return str(path)


@each_backend
def test_stdin_is_the_serial_port(backend: str, tmp_path: Path) -> None:
    path = kernel(ECHO + OFF, tmp_path / "k")
    done = subprocess.run(
        [*PYKVM_RUN, "--backend", backend, "--kernel", path, "--timeout", "20s"],
        input=b"to and fro.", capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"to and fro.", b"")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: who is at it, and what a program has."""
    user, program = os.openpty()
    yield user, program
    os.close(user)
    os.close(program)


def at_terminal(program: int, *args: str) -> subprocess.Popen[bytes]:
    """Run pykvm in a session of its own at a terminal."""
    return subprocess.Popen(
        ["setsid", "--ctty", *PYKVM_RUN, "--backend", "emu", *args],
        stdin=program, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_ctrl_bracket_ends_a_run_whose_guest_takes_no_input(
    tmp_path: Path, terminal: tuple[int, int]
) -> None:
    user, program = terminal
    path = kernel("mov dx, 0x3f8\nmov al, '.'\nout dx, al\nhere: jmp here\n", tmp_path / "k")
    with at_terminal(program, "--kernel", path, "--timeout", "60s") as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        for _ in range(100):
            os.write(user, b"x" * 100)
            time.sleep(0.001)
        os.write(user, b"\x1d")
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"pykvm: Ctrl-] ends the run\n")


def test_every_key_goes_to_the_guest_and_the_terminal_is_given_back(
    tmp_path: Path, terminal: tuple[int, int]
) -> None:
    user, program = terminal
    before = termios.tcgetattr(program)
    with at_terminal(program, "--kernel", kernel(ECHO + OFF, tmp_path / "k")) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"pykvm: Ctrl-] ends the run\n"
        while termios.tcgetattr(program) == before:  # it says so first
            time.sleep(0.001)
        os.write(user, b"abc\x03.")
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"abc\x03.")
    assert termios.tcgetattr(program) == before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT"])
def test_a_signal_leaves_the_terminal_as_it_was(
    name: str, tmp_path: Path, terminal: tuple[int, int]
) -> None:
    _, program = terminal
    before = termios.tcgetattr(program)
    path = kernel("mov dx, 0x3f8\nmov al, '.'\nout dx, al\nhere: jmp here\n", tmp_path / "k")
    with at_terminal(program, "--kernel", path, "--timeout", "60s") as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        assert termios.tcgetattr(program) != before
        process.send_signal(signal.Signals[name])
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.Signals[name], errors
    assert termios.tcgetattr(program) == before


@pytest.mark.parametrize("more", [(), ("--trace",)])
def test_what_is_said_at_a_terminal_begins_at_the_left(
    more: tuple[str, ...], tmp_path: Path, terminal: tuple[int, int]
) -> None:
    user, program = terminal
    path = kernel("mov dx, 0x3f8\nmov al, '.'\nout dx, al\nlidt [zeros]\nint3\nzeros: .quad 0, 0\n",
                  tmp_path / "k")  # fmt: skip
    command = ["setsid", "--ctty", *PYKVM_RUN, "--backend", "emu", "--kernel", path, *more]
    with subprocess.Popen(command, stdin=program, stdout=program, stderr=program) as process:
        said = b""
        while process.poll() is None or select.select([user], [], [], 0)[0]:
            if select.select([user], [], [], 0.1)[0]:
                said += os.read(user, 1 << 16)
    assert process.returncode == 125
    assert b"registers:" in said
    assert said.count(b"\n") == said.count(b"\r\n") > 20
    assert b"\r\r" not in said


def test_a_terminal_that_goes_away_ends_a_run(tmp_path: Path) -> None:
    user, program = os.openpty()
    path = kernel("mov dx, 0x3f8\nmov al, '.'\nout dx, al\nhere: jmp here\n", tmp_path / "k")
    with at_terminal(program, "--kernel", path, "--timeout", "60s") as process:
        os.close(program)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        os.close(user)
        _, errors = process.communicate(timeout=30)
    expected = b"pykvm: Ctrl-] ends the run\npykvm: ended by SIGHUP\n"
    assert (process.returncode, errors) == (129, expected)


@pytest.mark.usefixtures("free_choice")
def test_auto_leaves_kernels_to_the_faster_emulator(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kernel(OFF, tmp_path / "k")
    monkeypatch.setattr(host, "problem", lambda: None)
    monkeypatch.setattr(host, "emulates_cpl0", lambda: True)
    assert cli.main(["run", "--kernel", path]) == 0
    said = capfd.readouterr().err
    assert re.fullmatch(r"pykvm: backend emu: KVM opens, but .*\n", said)
    assert cli.main(["run", "--json", "--kernel", path]) == 0
    found = json.loads(capfd.readouterr().out)
    assert said == f"pykvm: backend emu: {found['backend_why']}\n"


@each_backend
def test_the_initrd_is_where_the_zero_page_says(
    backend: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    source = "mov ecx, [rsi + 0x21c]\nmov esi, [rsi + 0x218]\nmov dx, 0x3f8\nrep outsb\n"
    (tmp_path / "initrd").write_bytes(b"a RAM disk")
    args = ["--kernel", kernel(source + OFF, tmp_path / "k"), "--initrd", str(tmp_path / "initrd")]
    assert cli.main(["run", *args, "--memory", "32M", "--cpus", "2", "--backend", backend]) == 0
    assert capfdbinary.readouterr().out == b"a RAM disk"


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["--kernel", "KERNEL", "GUEST"], 2, "takes the place of FILE"),
        (["--kernel", "KERNEL", "--load", "0x10000"], 2, "takes the place of FILE"),
        (["GUEST", "--initrd", "KERNEL"], 2, "no multiboot kernel: it takes no modules"),
        (["--kernel", "KERNEL", "--module", "KERNEL"], 2, "it takes no modules"),
        (["--kernel", "/nowhere"], 126, "No such file"),
        (["--kernel", "KERNEL", "--initrd", "/nowhere"], 126, "No such file"),
        (["--kernel", "KERNEL", "--memory", "8M"], 126, "--memory 17M has it"),
        (["--kernel", "KERNEL", "--append", "x" * 2048], 126, "2047 bytes at most"),
        (["--kernel", __file__], 126, "neither a bzImage nor an ELF kernel"),
    ],
)
def test_a_mistake_is_one_line(
    args: list[str], status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kernel(OFF, tmp_path / "k")
    given = [path if arg in ("KERNEL", "GUEST") else arg for arg in args]
    assert cli.main(["run", "--backend", "emu", *given]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


RESETS = {
    "port 0xcf9": "mov dx, 0xcf9\nmov al, 6\nout dx, al\nhlt\n",
    "the keyboard controller": "mov al, 0xfe\nout 0x64, al\nhlt\n",
}


@each_backend
@pytest.mark.parametrize("how", RESETS)
def test_a_reset_is_no_success(backend: str, how: str, tmp_path: Path) -> None:
    path = kernel(RESETS[how], tmp_path / "k")
    done = subprocess.run(
        [*PYKVM_RUN, "--backend", backend, "--kernel", path, "--timeout", "20s", "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, text=True,
    )  # fmt: skip
    reason = f"the guest reset the machine by {how}"
    assert done.returncode == 123
    assert done.stderr == f"pykvm: {path}: {reason}\n"
    told = json.loads(done.stdout)
    assert (told["outcome"], told["status"], told["reason"]) == ("reset", 123, reason)


@each_backend
def test_a_power_off_is_told_as_such(backend: str, tmp_path: Path) -> None:
    path = kernel(OFF, tmp_path / "k")
    done = subprocess.run(
        [*PYKVM_RUN, "--backend", backend, "--kernel", path, "--timeout", "20s", "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, text=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (told["outcome"], told["reason"]) == ("exit", "the guest switched the machine off")
