"""Machines from end to end: load, run, step, stop."""

from __future__ import annotations

import pykvm


def test_hello_prints_and_halts() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("mov al, 'H'\nout 0xe9, al\nhlt"))
        result = vm.run(timeout=5)
    assert result.outcome is pykvm.Outcome.HALT
    assert result.output == b"H"
    assert result.exits == {"PortOut": 1, "Halt": 1}


def test_a_machine_can_be_loaded_again_in_another_mode() -> None:
    with pykvm.VM(memory="1M", float_unclaimed=True) as vm:
        for mode in ("long", "real", "user", "protected", "long"):
            vm.load(pykvm.assemble("mov al, 7\nout 0xf4, al", mode=mode))
            assert vm.run(timeout=5).status == 15, mode
