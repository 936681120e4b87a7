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
