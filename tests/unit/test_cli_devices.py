"""`pykvm run --disk`, `--vsock`, `--balloon`, `--console`; and what no device option can be."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pykvm.cli import main
from pykvm.net import tap

GUESTS = Path(__file__).parents[2] / "guests"
BLOCK = str(GUESTS / "virtio_block.S")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk,with a comma.img"
    path.write_bytes(bytes(64 << 10))
    return path


def run(*args: str) -> int:
    return main(["run", "--backend", "emu", *args])


def test_a_disk_takes_the_place_of_the_guests_own(
    image: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run("--disk", str(image), BLOCK) == 0
    assert capfdbinary.readouterr().out.startswith(b"128 sectors")
    changed = image.read_bytes()
    assert changed[7 * 512 : 8 * 512] == bytes(each & 0xFF for each in range(1, 513))
    assert changed.count(0) == len(changed) - 510


def test_a_copy_on_write_disk_stays_as_it_was(image: Path) -> None:
    assert run("--disk", f"{image},cow", BLOCK) == 0
    assert image.read_bytes() == bytes(64 << 10)


def test_a_disk_may_be_slow(image: Path) -> None:
    assert run("--disk", f"{image},iops=100,bw=1M", BLOCK) == 0
    assert image.read_bytes() != bytes(64 << 10)


def test_a_read_only_disk_refuses(image: Path) -> None:
    assert run("--disk", f"{image},ro", BLOCK) == 1  # the guest's own complaint
    assert image.read_bytes() == bytes(64 << 10)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--disk", ""], "a file's name is missing"),
        (["--disk", ",ro"], "a file's name is missing"),
        (["--disk", "x,ro,ro"], "ro is there twice"),
        (["--disk", "x,iops=1,iops=2"], "iops is there twice"),
        (["--disk", "/proc/version,ro"], "/proc/version cannot be a disk: Invalid argument"),
        (["--disk", "EMPTY"], "is empty; `truncate"),
        (["--disk", "x,ro,cow"], "either ro or cow"),
        (["--disk", "x,iops=0"], "more than 0 a second"),
        (["--disk", "x,bw=fast"], "not a size"),
        (["--disk", "no-such-image"], "cannot open no-such-image: No such file"),
        (["--disk", "/dev/null"], "neither a file nor a block device"),
        (["--vsock", "/no-such-directory/v"], "cannot be at"),
        (["--vsock", ""], "a file's name is missing"),
        (["--vsock", "EMPTY"], "Address already in use; remove that file"),
        (["--vsock", "x" * 108], "AF_UNIX path too long; it may have 107 bytes"),
        (["--vsock", "v,cid=x"], "'x' is not a guest's number"),
        (["--vsock", "v,cid=2"], "CID"),
        (["--balloon", "1"], "whole pages"),
        (["--balloon", "much"], "not a size"),
        (["--console", "tty"], "invalid choice"),
        (["--net", "nowhere"], "'nowhere' is nowhere to go; write responder"),
        (["--net", ""], "'' is nowhere to go; write responder"),
        (["--net", ",nic"], "'' is nowhere to go; write responder"),
        (["--net", "stream="], "'stream=' is nowhere to go"),
        (["--net", "tap,mac=1"], "'1' is not a station's address"),
        (["--net", "tap,mac=00:00:00:00:00:00"], "is not a station's address"),
        (["--net", "tap,mac=+2:00:00:00:00:00"], "is not a station's address"),
        (["--net", "tap,nic,mac=02:00:00:00:00:00,nic"], "nic is there twice"),
        (["--net", "tap="], "'tap=' is nowhere to go"),
        (["--net", "responder="], "'responder=' is nowhere to go"),
        (["--net", "responder", "--net", "responder,mac=52:54:00:00:00:01"], "two cards cannot"),
        (["--net", "tap=a/b"], "'a/b' is no interface's name"),
        (["--net", "responder=here"], "'here' is not an IPv4 address"),
        (["--net", "stream=/no/such"], "/no/such: No such file or directory; start what"),
        (["--net", "listen=/no/such"], "cannot be at /no/such: No such file"),
        (["--net", "responder,nic", "--net", "responder,nic"], "one network card of this kind"),
        (["--capture", "x"], "add one by --net"),
        (["--capture", ""], "a file's name is missing"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(
    args: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    try:
        status = run(*[str(empty) if each == "EMPTY" else each for each in args], BLOCK)
    except SystemExit as end:  # argparse's own
        status = int(str(end.code))
    error = capsys.readouterr().err
    assert status == 2
    assert why in error
    assert "Traceback" not in error


def test_a_tap_device_that_may_not_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(tap, "DEVICE", os.devnull)
    monkeypatch.setattr(tap.fcntl, "ioctl", refuse)
    assert run("--net", "tap", BLOCK) == 2
    assert "pykvm: TAP device: Operation not permitted; it takes CAP_NET_ADMIN" in (
        capsys.readouterr().err
    )


def test_nine_disks_are_too_many(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disks = [arg for _ in range(9) for arg in ("--disk", f"{image},ro")]
    assert run(*disks, BLOCK) == 2
    assert "8 virtio devices at most" in capsys.readouterr().err
    assert run("--disk", str(image), BLOCK) == 0  # nobody has it open


def test_a_guest_reaches_the_host(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "v_52"))
        listener.listen()

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(100)
                sock.sendall(b"hello from the host\n")

        program = threading.Thread(target=answer)
        program.start()
        assert run("--vsock", f"{tmp_path / 'v'},cid=77", str(GUESTS / "virtio_vsock.S")) == 0
        program.join()
    assert capfdbinary.readouterr().out == b"hello from the host\n"
    assert not (tmp_path / "v").exists()


def test_a_balloon_wants_what_the_option_says(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run("--balloon", "64K", str(GUESTS / "virtio_balloon.S")) == 0
    assert capfdbinary.readouterr().out.startswith(b"16 pages")


def test_a_terminal_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--console", "pty", str(GUESTS / "hello.S")) == 0
    assert "pykvm: console: /dev/pts/" in capsys.readouterr().err


def test_stdin_and_stdout_are_a_console() -> None:
    command = [str(Path(sys.executable).with_name("pykvm")), "run", "--backend", "emu"]
    done = subprocess.run(
        [*command, "--console", "stdio", str(GUESTS / "virtio_console.S")],
        input=b"a line\n", capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"Say something: you said a line\n")
