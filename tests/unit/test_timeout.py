"""A guest that leaves at every instruction ends in time, and loses nothing by it."""

from __future__ import annotations

import pytest

import pykvm
from pykvm.backend import BACKENDS
from pykvm.result import Outcome

SOURCE = """
    mov dx, 0x70f
again:
    in al, dx
    inc rbx
    jmp again
"""


class _Port:
    reads = 0

    def read(self, offset: int, size_bytes: int) -> int:
        self.reads += 1
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        raise AssertionError("nothing writes here")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.timeout(120)
def test_a_storm_of_exits_ends_in_time_and_each_read_counts_once(backend: str) -> None:
    port = _Port()
    with pykvm.VM(memory="1M", backend=backend) as vm:
        vm.ports.claim(0x70F, 1, port)
        vm.load(pykvm.assemble(SOURCE))
        for _ in range(3):
            assert vm.run(timeout=0.02).outcome is Outcome.TIMEOUT
        assert vm.registers.rbx in (port.reads, port.reads - 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.timeout(120)
def test_one_element_of_a_string_is_read_once(backend: str) -> None:
    port = _Port()
    with pykvm.VM(memory="1M", backend=backend) as vm:
        vm.ports.claim(0x70F, 1, port)
        vm.load(pykvm.assemble("mov dx, 0x70f\nmov edi, 0x60000\ninsb\nhlt"))
        assert vm.run(timeout=60).outcome is Outcome.HALT
        assert (port.reads, vm.registers.rdi) == (1, 0x60001)
