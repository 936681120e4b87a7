"""`pykvm run`: what goes where, exit statuses, and one clear line for each mistake."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pykvm import backend as backends
from pykvm import cli, host
from pykvm.cli import run
from pykvm.errors import KvmUnavailable

HELLO = "mov al, 'H'\nout 0xe9, al\nhlt"
EXIT_7 = "mov al, 7\nout 0xf8, al"
SPIN = "here: jmp here"
PYKVM_RUN = [sys.executable, "-c", "import pykvm.cli as c; exit(c.main())", "run"]
JSON_KEYS = [
    "schema", "guest", "backend", "backend_why", "host_kind", "outcome", "status", "reason", "exit",
    "vcpu", "instruction", "exits", "native_exits", "wall_ns", "assist", "output", "output_base64",
    "output_dropped_bytes", "registers",
]  # fmt: skip

Write = Callable[..., str]


@pytest.fixture(autouse=True)
def backend(pykvm_backend: str) -> str:
    """Run everything here on the test's backend."""
    PYKVM_RUN[4:] = ["--backend", pykvm_backend]
    return pykvm_backend


def run_main(args: list[str]) -> int:
    """`pykvm run` in this process."""
    return cli.main([*PYKVM_RUN[3:], *args])


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make a guest's file; returns its path."""

    def write(source: str | bytes, name: str = "guest.S", **block: object) -> str:
        path = tmp_path / name
        if isinstance(source, str):
            lines = [f"# {key} = {json.dumps(value)}" for key, value in block.items()]
            head = "\n".join(["# /// pykvm", *lines, "# ///", ""]) if lines else ""
            path.write_text(head + source)
        else:
            path.write_bytes(source)
        return str(path)

    return write


def pykvm_run(*args: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [*PYKVM_RUN, *args]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


# What goes where.


def test_guest_output_and_nothing_else_goes_to_stdout(write: Write) -> None:
    done = pykvm_run(write(HELLO), stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"H", b"")


def test_output_need_not_be_text(write: Write) -> None:
    done = pykvm_run(write("mov al, 0xff\nout 0xe9, al\nhlt"))
    assert done.stdout == b"\xff"


def test_a_reader_that_goes_away_ends_the_run(write: Write) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [*PYKVM_RUN, write(HELLO)]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, timeout=60)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_one_line(write: Write) -> None:
    command = [*PYKVM_RUN, write(HELLO)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (125, b"pykvm: No space left on device\n")


def test_ctrl_c_ends_the_run(write: Write) -> None:
    source = f"mov al, '.'\nout 0xe9, al\n{SPIN}"
    command = [*PYKVM_RUN, write(source), "--timeout", "60s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"pykvm: interrupted\n")


@pytest.mark.parametrize(
    ("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGQUIT", 131), ("SIGXCPU", 152)]
)
def test_other_signals_end_it_in_order(name: str, status: int, write: Write) -> None:
    source = f"mov al, '.'\nout 0xe9, al\n{SPIN}"
    command = [*PYKVM_RUN, write(source), "--timeout", "60s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, f"pykvm: ended by {name}\n".encode())


def test_a_command_leaves_signals_as_they_were(write: Write) -> None:
    numbers = cli.ENDING
    before = [signal.getsignal(each) for each in numbers]
    assert run_main([write(EXIT_7)]) == 7
    assert [signal.getsignal(each) for each in numbers] == before


def test_a_signal_that_is_ignored_stays_ignored(write: Write) -> None:
    done = pykvm_run(
        write(SPIN),
        "--timeout",
        "100ms",
        preexec_fn=lambda: (
            [signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGHUP)]
            and None
        ),
    )
    assert done.returncode == 124


def test_ctrl_c_during_the_first_imports_is_one_line(tmp_path: Path) -> None:
    """A module that the command imports before all others is interrupted as it loads."""
    for name in ("argparse", "logging"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(
            "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "pykvm", "guests"],
            capture_output=True,
            env=os.environ | {"PYTHONPATH": str(folder)},
        )
        assert (done.returncode, done.stderr) == (130, b"pykvm: interrupted\n")


def test_ctrl_c_while_it_starts_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupt)
    assert run_main([]) == 130
    assert capsys.readouterr().err == "pykvm: interrupted\n"


@pytest.mark.parametrize("fd", [0, 2])
def test_a_closed_stream_is_an_empty_one(fd: int, write: Write) -> None:
    path = write(HELLO, devices=["serial", "debugcon"])
    done = pykvm_run(path, preexec_fn=lambda: os.close(fd))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"H", b"")


def test_errors_have_no_other_way_out(write: Write) -> None:
    done = subprocess.run(
        [*PYKVM_RUN, "no-such-file.S"], stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2)
    )
    assert (done.returncode, done.stdout) == (126, b"")


ECHO = """
next:
    mov dx, COM1_PORT + 5
wait:
    in al, dx
    test al, 1
    jz wait
    mov dx, COM1_PORT
    in al, dx
    out dx, al
    cmp al, '\\n'
    jne next
    hlt
"""


def test_stdin_goes_to_a_guest_that_asks_for_the_serial_port(write: Write) -> None:
    text = bytes(range(0x20, 0x7F)) * 100 + b"\n"  # more than the port holds
    done = pykvm_run(write(ECHO, devices=["serial"]), input=text)
    assert done.stdout == text


def test_stdin_is_left_alone_for_others(write: Write) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"not for guests")
    assert pykvm_run(write(HELLO), stdin=read_end).returncode == 0
    time.sleep(0.05)
    assert os.read(read_end, 100) == b"not for guests"
    os.close(read_end)
    os.close(write_end)


# Backends.


@pytest.mark.usefixtures("free_choice")
def test_auto_says_what_it_chose_and_why(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["run", write(EXIT_7)]) == 7
    assert re.fullmatch(r"pykvm: backend (kvm|emu): .+\n", capsys.readouterr().err)
    assert cli.main(["run", write(EXIT_7), "--clock", "instructions"]) == 7
    assert capsys.readouterr().err.startswith("pykvm: backend emu: only the emulator has the clock")
    missing = KvmUnavailable("missing", "/dev/kvm does not exist", "load kvm")
    monkeypatch.setattr("pykvm.backend._kvm", lambda why, assist: raises(missing))
    backends._best.cache_clear()
    assert cli.main(["run", write(EXIT_7)]) == 7
    expected = "pykvm: backend emu: no KVM: /dev/kvm does not exist; load kvm\n"
    assert capsys.readouterr().err == expected


def raises(error: Exception) -> None:
    raise error


def test_kvm_by_name_never_falls_back(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = KvmUnavailable("missing", "/dev/kvm does not exist", "load kvm")
    monkeypatch.setattr("pykvm.backend._kvm", lambda why, assist: raises(missing))
    assert cli.main(["run", write(EXIT_7), "--backend", "kvm"]) == 125
    assert capsys.readouterr().err == (
        "pykvm: /dev/kvm does not exist; load kvm; or take the emulator, which needs no KVM: "
        'backend="emu", --backend emu\n'
    )


# Options.


def test_options_come_before_the_block(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(SPIN, timeout="60s")
    assert run_main([path, "--timeout", "50ms"]) == 124
    assert "no end after 0.05 s; vCPU 0 at 0x10000 <here>: jmp" in capsys.readouterr().err


def test_the_block_is_kept_where_no_option_says_else(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("mov ax, cs\nout 0xf8, al", mode="real", memory="2M")
    assert run_main([path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["registers"]["cr0"] & 1 == 0


def test_append_and_memory(write: Write, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    source = (
        "mov rsi, COMMAND_LINE_BASE\nnext: lodsb\nout 0xe9, al\ntest al, al\njnz next\n"
        "mov rax, [0x1fffff8]\nhlt"
    )
    assert run_main([write(source), "--append", "a b", "--memory", "32M"]) == 0
    assert capfdbinary.readouterr().out == b"a b\0"


def test_a_command_line_of_any_bytes(write: Write) -> None:
    source = "mov rsi, COMMAND_LINE_BASE\nmov al, [rsi]\nout 0xe9, al\nhlt"
    done = pykvm_run(write(source), "--append", os.fsdecode(b"\xfe"))
    assert (done.returncode, done.stdout) == (0, b"\xfe")


def test_float_gives_all_ones(write: Write) -> None:
    path = write("in al, 0x99\nout 0xf8, al")
    assert run_main([path]) == 125
    assert run_main([path, "--float"]) == 0xFF


def test_load_and_mode_of_a_flat_binary(write: Write) -> None:
    path = write(b"\x0e\x58\xe8\x00\x00\x5b\x88\xf8\xe6\xf8", "flat.bin")  # BH of its own address
    assert run_main([path, "--mode", "real", "--load", "0x1200"]) == 0x12


def test_cpus(write: Write) -> None:
    assert run_main([write(EXIT_7), "--cpus", "2", "--cpu", "host"]) == 7


def test_trace_goes_to_stderr(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_main([write(HELLO), "--trace"]) == 0
    captured = capfd.readouterr()
    assert captured.out == "H"
    first, second = captured.err.splitlines()
    assert re.fullmatch(
        r" +1 +\+[\d.]+(us|ms)  vcpu 0  0x00010002  out 0xe9, al +out port 0xe9 size 1 0x48  "
        r"debugcon",
        first,
    )
    assert second.endswith("  hlt")


# Exit statuses.


def test_the_guests_own_status(write: Write) -> None:
    assert run_main([write(EXIT_7)]) == 7
    assert run_main([write("mov eax, 0x103\nout 0xf8, eax")]) == 3


def test_a_guest_that_died_leaves_a_report(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("in al, 0x99")
    assert run_main([path]) == 125
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"pykvm: {path}: 1-byte read at port 0x99")
    for part in ("code:", "registers:", "what to do:"):
        assert part in captured.err


def test_a_backend_that_does_not_open_is_no_wrong_usage(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unavailable(*args: object, **options: object) -> None:
        raise KvmUnavailable("missing", "/dev/kvm does not exist", "load kvm")

    monkeypatch.setattr(run, "Machine", unavailable)
    assert run_main([write(HELLO)]) == 125
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("pykvm: /dev/kvm does not exist; load kvm")


@pytest.mark.pykvm_backends("kvm")
def test_a_missing_feature_is_named(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    if host.Host.read().kind != 3:
        pytest.skip("this host has every feature")
    assert run_main([write("ud2", requires=["user-int"])]) == 125
    assert "needs user-int: " in capsys.readouterr().err


# Mistakes: one line, the right status, nothing on stdout.


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ([], 2, "run takes a guest's FILE, --kernel or --firmware"),
        (["GUEST", "--frobnicate"], 2, "unrecognized arguments: --frobnicate"),
        (["GUEST", "--backend", "vmware"], 2, "invalid choice: 'vmware'"),
        (["GUEST", "--memory", "lots"], 2, "'lots' is not a size"),
        (["GUEST", "--memory", "4K"], 2, "memory is 1M at least"),
        (["GUEST", "--memory", "1025K"], 2, "multiple of 4 KiB"),
        (["GUEST", "--memory", "-16M"], 2, "expected one argument"),
        (["GUEST", "--memory", "1025G"], 2, "and 1024G at most"),
        (["GUEST", "--mode", "virtual"], 2, "there is no mode 'virtual'"),
        (["GUEST", "--load", "here"], 2, "'here' is not an address"),
        (["GUEST", "--load", "-1"], 2, "'-1' is not an address"),
        (["GUEST", "--load", "0x10000000000000"], 126, "not all RAM"),
        (["GUEST", "--cpus", "0"], 2, "'0' is not a number of processors"),
        (["GUEST", "--cpus", "two"], 2, "'two' is not a number of processors"),
        (["GUEST", "--cpus", "65"], 2, "1 to 64 CPUs"),
        (["GUEST", "--cpu", "pentium"], 2, "no CPU model 'pentium'"),
        (["GUEST", "--timeout", "soon"], 2, "'soon' is not a time"),
        (["GUEST", "--timeout", "0s"], 2, "'0s' is not a time"),
        (["GUEST", "--append", "x" * 5000], 2, "the command line is 4095 bytes at most"),
        ([""], 2, "a file's name is missing"),
        (["--kernel", ""], 2, "a file's name is missing"),
        (["no-such-file.S"], 126, "No such file or directory"),
        (["no-such-file.bin"], 126, "No such file or directory"),
        (["no\0file.bin"], 126, "null"),
        (["/proc/1/mem"], 126, ""),
        (["/"], 126, "not a regular file"),
        (["/dev/zero"], 126, "not a regular file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    args: list[str], status: int, message: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(HELLO)
    assert run_main([*[path if arg == "GUEST" else arg for arg in args]]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("pykvm: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mov al, 1\nfrobnicate\n", ":2: "),
        (
            "# /// pykvm\n# mode = 'odd'\n# ///\nhlt",
            "'mode' of the pykvm block: there is no",
        ),
        ("# /// pykvm\n# colour = 1\n# ///\nhlt", "'colour' of the pykvm block: no such key"),
        ("# /// pykvm\n# mode\n# ///\nhlt", "not TOML"),
        (b"\xff\xfe", "not a text in UTF-8"),
        (".fill 0x200000, 1, 0x90", "not all RAM"),
    ],
)
def test_a_guest_that_cannot_be_loaded_is_126(
    source: str | bytes, message: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(source)
    assert run_main([path, "--memory", "1M"]) == 126
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"pykvm: {path}:")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_broken_elf_is_126(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main([write(b"\x7fELF\x02\x01\x01" + bytes(9), "broken")]) == 126
    assert capsys.readouterr().err.count("\n") == 1


# JSON.


def run_json(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, object]:
    run_main([*args, "--json"])
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_json_has_these_keys(
    write: Write, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    path = write(HELLO)
    found = run_json(capsys, path)
    assert list(found) == JSON_KEYS
    registers = found.pop("registers")
    assert isinstance(registers, dict)
    assert all(isinstance(value, int) for value in registers.values())
    assert {"rax", "rip", "rflags", "cs", "cr0", "efer"} <= set(registers)
    assert registers["rax"] == ord("H")
    assert isinstance(found.pop("wall_ns"), int)
    assert found == {
        "schema": 1,
        "guest": path,
        "backend": backend,
        "backend_why": "asked for",
        "host_kind": host.Host.read().kind,
        "outcome": "halt",
        "status": 0,
        "reason": "the guest halted",
        "exit": "Halt",
        "vcpu": 0,
        "instruction": {"address": 0x1_0004, "text": "hlt"},
        "exits": {"PortOut": 1, "Halt": 1},
        "native_exits": 1,
        "assist": {"entries": 0, "instructions": 0},
        "output": "H",
        "output_base64": None,
        "output_dropped_bytes": 0,
    }


def test_json_holds_output_that_is_no_text(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_json(capsys, write("mov al, 0xff\nout 0xe9, al\nmov al, 'x'\nout 0xe9, al\nhlt"))
    assert found["output"] == "\ufffdx"
    assert base64.b64decode(str(found["output_base64"])) == b"\xffx"


@pytest.mark.parametrize(
    ("source", "outcome", "status"),
    [
        (EXIT_7, "exit", 7),
        (SPIN, "timeout", 124),
        ("in al, 0x99", "died", 125),
        ("ud2", "shutdown", 125),
    ],
)
def test_json_outcomes(
    source: str, outcome: str, status: int, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_json(capsys, write(source), "--timeout", "100ms")
    assert (found["outcome"], found["status"]) == (outcome, status)


def test_docs_describe_every_key_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs/running.md").read_text()
    for key in JSON_KEYS:
        assert f"`{key}`" in text
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}:
        assert f"`{option}" in text
