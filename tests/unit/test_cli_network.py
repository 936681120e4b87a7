"""`pykvm run --net` and `--capture`."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.namespace import in_namespace, ip

from pykvm.cli import main
from pykvm.errors import CaptureError, UsageError
from pykvm.net.capture import Capture
from pykvm.net.port import Port
from pykvm.net.tap import Tap

GUESTS = Path(__file__).parents[2] / "guests"
NET, NIC = str(GUESTS / "net_ping.S"), str(GUESTS / "nic_ping.S")
PYKVM = str(Path(sys.executable).with_name("pykvm"))
ANSWERED = b"4 pings, 4 answers\n"


def run(*args: str) -> int:
    return main(["run", "--backend", "emu", *args])


@pytest.mark.parametrize(
    ("guest", "where"),
    [
        (NET, "responder"),
        (NET, "responder=10.0.0.1,mac=02:00:00:00:00:99"),
        (NIC, "responder,nic"),
    ],
)
def test_a_card_takes_the_place_of_the_guests_own(
    guest: str, where: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run("--net", where, guest) == 0
    assert capfdbinary.readouterr().out == ANSWERED


def test_a_station_that_is_not_there_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--net", "responder=10.0.0.9", "--timeout", "500ms", NET) == 124


def test_two_processes_ping_each_other(tmp_path: Path) -> None:
    path = tmp_path / "cable, of UNIX"
    with subprocess.Popen(
        [PYKVM, "run", "--net", f"listen={path}", "--append", "pong", "--timeout", "60s", NET],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as pong:  # fmt: skip
        assert pong.stdout is not None
        assert pong.stdout.readline() == b"ready\n"
        ping = subprocess.run(
            [PYKVM, "run", "--net", f"stream={path},mac=02:00:00:00:00:02,nic", NIC],
            capture_output=True,
            timeout=60,
        )
        assert (ping.returncode, ping.stdout) == (0, ANSWERED), ping.stderr
        assert pong.communicate(timeout=60)[0] == b"4 pings answered\n"
    assert pong.returncode == 0
    assert not path.exists()


@in_namespace
def test_a_guest_pings_the_host() -> None:
    try:
        Tap().close()
    except UsageError as error:
        pytest.skip(str(error))
    ip("tuntap add dev pykvm0 mode tap")
    ip("addr add 10.0.0.1/24 dev pykvm0")
    ip("link set pykvm0 up")
    done = subprocess.run(
        [PYKVM, "run", "--backend", "emu", "--net", "tap=pykvm0", NET], capture_output=True
    )
    assert (done.returncode, done.stdout) == (0, ANSWERED), done.stderr


def test_what_passes_is_captured(tmp_path: Path) -> None:
    scanner = pytest.importorskip("pcapng").FileScanner
    path = tmp_path / "ping.pcapng"
    assert run("--net", "responder", "--capture", str(path), NET) == 0
    with path.open("rb") as file:
        packets = [each for each in scanner(file) if hasattr(each, "packet_data")]
    assert len(packets) == 10  # ARP and four pings, with their answers


def test_a_capture_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pcapng")
    assert run("--net", "responder", "--capture", "/no/such/file", NET) == 2
    assert "cannot write /no/such/file: No such file" in capsys.readouterr().err


def test_a_capture_is_there_whatever_ends_the_run(tmp_path: Path) -> None:
    scanner = pytest.importorskip("pcapng").FileScanner
    path, cable = tmp_path / "ping.pcapng", tmp_path / "cable"
    command = [PYKVM, "run", "--backend", "emu", "--append", "pong", "--timeout", "60s"]
    nets = ["--net", "responder", "--net", f"listen={cable}", "--capture", str(path)]
    with subprocess.Popen(
        [*command, *nets, NET], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as pong:
        assert pong.stdout is not None
        assert pong.stdout.readline() == b"ready\n"
        with path.open("rb") as file:  # at once
            assert len(list(scanner(file))) >= 3
        pong.send_signal(signal.SIGTERM)
        _, errors = pong.communicate(timeout=60)
    assert (pong.returncode, errors) == (143, b"pykvm: ended by SIGTERM\n")
    assert not cable.exists()
    with path.open("rb") as file:
        assert len(list(scanner(file))) >= 3


def test_a_capture_without_room_ends_with_whole_frames(tmp_path: Path) -> None:
    scanner = pytest.importorskip("pcapng").FileScanner
    path = tmp_path / "ping.pcapng"

    def leave_no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))

    nets = ["--net", "responder", "--capture", str(path)]
    done = subprocess.run(
        [PYKVM, "run", "--backend", "emu", "--json", *nets, NET],
        capture_output=True,
        preexec_fn=leave_no_room,
        env={name: each for name, each in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    assert (done.returncode, json.loads(done.stdout)["output"]) == (125, ANSWERED.decode())
    assert done.stderr == f"pykvm: cannot write {path}: File too large\n".encode()
    with path.open("rb") as file:
        assert 0 < len([each for each in scanner(file) if hasattr(each, "packet_data")]) < 10


def test_a_reader_of_a_capture_that_goes_away_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pcapng")
    read_end, write_end = os.pipe()
    os.close(read_end)
    ports = [Port(lambda *frames: None, "a"), Port(lambda *frames: None, "b")]
    with pytest.raises(UsageError, match="Broken pipe"):
        Capture(f"/dev/fd/{write_end}", ports)
    os.close(write_end)
    read_end, write_end = os.pipe()
    capture = Capture(f"/dev/fd/{write_end}", ports)
    os.close(read_end)
    ports[0].send(bytes(60))
    with pytest.raises(CaptureError, match="Broken pipe"):
        capture.close()
    os.close(write_end)


def test_an_interrupted_frame_leaves_no_half_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcapng = pytest.importorskip("pcapng")
    port, path = Port(lambda *frames: None), tmp_path / "a.pcapng"

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with Capture(path, [port]):
        with monkeypatch.context() as patch:
            patch.setattr("pcapng.blocks.write_bytes_padded", interrupt)
            with pytest.raises(KeyboardInterrupt):
                port.send(bytes(60))
        port.send(bytes(64))
    with path.open("rb") as file:
        packets = [each for each in pcapng.FileScanner(file) if hasattr(each, "packet_data")]
    assert [each.packet_data for each in packets] == [bytes(64)]


def test_a_full_disk_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pcapng")
    assert run("--net", "responder", "--capture", "/dev/full", NET) == 2
    assert "cannot write /dev/full: No space left on device" in capsys.readouterr().err


def test_a_capture_leaves_the_machines_own_files_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pcapng")
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512))
    capture = ["--net", "responder", "--capture", str(path)]
    assert run("--disk", f"{path},ro", *capture, NET) == 2
    assert f"--capture would overwrite {path}" in capsys.readouterr().err
    assert run("--kernel", str(path), *capture) == 126  # no kernel
    assert run("--kernel", "/no/such", *capture) == 126
    assert path.read_bytes() == bytes(512)


def test_a_capture_is_a_new_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pcapng")
    precious, link, dangling = tmp_path / "precious", tmp_path / "link", tmp_path / "dangling"
    precious.write_text("words")
    link.symlink_to(precious)
    dangling.symlink_to(tmp_path / "new")
    for path in (precious, link, dangling, tmp_path):
        assert run("--net", "responder", "--capture", str(path), NET) == 2
        assert f"cannot write {path}: File exists; name a new file" in capsys.readouterr().err
    assert precious.read_text() == "words"
    assert not (tmp_path / "new").exists()


def test_a_capture_into_a_pipe_waits_for_no_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pcapng")
    os.mkfifo(tmp_path / "pipe")
    assert run("--net", "responder", "--capture", str(tmp_path / "pipe"), NET) == 2
    assert "No such device" in capsys.readouterr().err


def test_a_kernel_has_no_use_for_a_card_without_pci(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--kernel", "/no/such", "--net", "responder,nic") == 2
    assert "a kernel finds virtio cards only" in capsys.readouterr().err
