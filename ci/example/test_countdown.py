"""A guest of your own, tested: `pytest test_countdown.py` where pykvm is installed."""

from pathlib import Path

import pytest

import pykvm

HERE = Path(__file__).parent


def test_a_guest_from_a_file(guest):
    result = guest(HERE / "countdown.S")
    assert result.output == b"321\n"
    assert result.status == 7


@pytest.mark.parametrize(("number", "square"), [(2, 4), (12, 144)])
def test_a_guest_from_text(guest, number, square):
    result = guest(f"mov eax, {number}\nmul eax\nout 0xf8, eax")
    assert result.status == square
    assert guest.vm.registers.rdx == 0


def test_a_machine_exit_by_exit(vm):
    machine = vm(memory="1M", native=False)
    machine.load(pykvm.assemble("in al, 0x99\nout 0xe9, al\nhlt"))
    seen = []
    for exit in machine.exits(timeout=2):
        seen.append(exit.kind)
        if exit.kind == "PortIn":
            machine.answer(ord("!"))
    assert seen == ["PortIn", "PortOut", "Halt"]
    assert machine.result.output == b"!"
