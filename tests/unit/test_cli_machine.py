"""`pykvm run`: options and keys of a head that say what a machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pykvm
from pykvm import cli
from pykvm.errors import BusError

Run = Callable[..., int]

PIC = "mov al, 0x11\nout 0x20, al\nin al, 0x21\nmov al, 3\nout 0xf8, al"
PIT = "in al, 0x40\nmov al, 4\nout 0xf8, al"
LAPIC = "mov ebx, 0xfee00030\nmov eax, [rbx]\nmov al, 5\nout 0xf8, al"
SERIAL = "mov dx, 0x3fd\nin al, dx\nmov al, 6\nout 0xf8, al"


@pytest.fixture
def run(pykvm_backend: str, tmp_path: Path) -> Run:
    """Run a source with options; gives the status."""

    def run(source: str, *options: str, head: str = "") -> int:
        path = tmp_path / "guest.S"
        block = f"# /// pykvm\n# {head}\n# ///\n" if head else ""
        path.write_text(f"{block}{source}\nhlt\n")
        return cli.main(["run", "--backend", pykvm_backend, *options, str(path)])

    return run


@pytest.mark.parametrize(
    ("source", "options", "without", "status"),
    [
        (PIC, ["--irqchip", "full"], 125, 3),
        (PIT, ["--pit"], 125, 4),
        (PIC, ["--pit"], 125, 3),
        (LAPIC, ["--irqchip", "split"], 125, 5),
    ],
)
def test_chips_come_by_options(
    run: Run, source: str, options: list[str], without: int, status: int
) -> None:
    assert run(source) == without
    assert run(source, *options) == status


def test_an_option_goes_before_the_head(run: Run) -> None:
    assert run(PIC, "--irqchip", "none", head='irqchip = "full"') == 125
    assert run(SERIAL, "--devices", "exit,serial", head='devices = ["exit"]') == 6


def test_devices_are_those_that_are_named(run: Run) -> None:
    assert run(SERIAL) == 6
    assert run(SERIAL, "--devices", "exit") == 125
    assert run("mov al, 6\nout 0xf8, al", "--devices", "") == 125


def test_a_hint_names_the_option(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(PIC)
    assert "--irqchip full" in capsys.readouterr().err
    run(PIT)
    assert "--pit (pit=True)" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0x501", "0xf4", "0x600", "0x1234", "0xfffc"])
def test_an_exit_port_of_choice_is_qemus(run: Run, port: str) -> None:
    source = f"mov dx, {port}\nmov al, 0x10\nout dx, al"
    assert run(source, "--exit-port", port) == 0x21
    assert run(source, head=f"exit_port = {port}") == 0x21
    assert run(source, "--exit-port", port, "--devices", "scratch,power") == (
        0x21 if port != "0x600" else 2
    )


def test_the_usual_exit_ports_stay_and_0xf8_is_the_plain_one(run: Run) -> None:
    source = "mov al, 9\nout 0xf8, al"
    assert run(source, "--exit-port", "0x501") == 9
    assert run(source, "--exit-port", "0xf8", "--devices", "") == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "exit,toaster"], "there is no 'toaster'; choose from"),
        (["--exit-port", "0xffff"], "outside the space"),
        (["--exit-port", "0x70"], "overlaps"),
        (["--exit-port", "x"], "not an address"),
        (["--irqchip", "split", "--pit"], "PIT needs the full irqchip"),
    ],
)
def test_a_machine_that_cannot_be_is_one_line(
    run: Run, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = run("hlt", *options)
    except SystemExit as error:  # from argparse
        status = int(error.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_machine_in_python_takes_the_same(pykvm_backend: str) -> None:
    with pykvm.VM(backend=pykvm_backend, exit_port=0x501, devices=()) as vm:
        vm.load(pykvm.assemble("mov dx, 0x501\nmov eax, 0\nout dx, eax\nhlt"))
        assert vm.run(timeout=20).status == 1
    with pytest.raises(BusError, match=r"serial.* overlaps exit"):
        pykvm.VM(backend=pykvm_backend, exit_port=0x3F6)
