"""What a guest prints is kept up to a bound, whatever it prints it by."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import pykvm
from pykvm import output

KEPT_BYTES = 64 << 10
PRINTED_BYTES = 2 << 20
GROWTH_BYTES = 1 << 20
PRINTS = "mov dx, 0xe9\nnext: mov esi, 0x60000\nmov ecx, 4096\nrep outsb\njmp next"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def print_beyond(vm: pykvm.VM, size_bytes: int) -> pykvm.Result:
    while vm.output.dropped_bytes < size_bytes:
        result = vm.run(0.1)
        assert result.outcome is pykvm.Outcome.TIMEOUT
    return result


@pytest.mark.timeout(600)
@pytest.mark.skipif("PYKVM_SANITIZED" in os.environ, reason="sanitizers keep what was freed")
@pytest.mark.parametrize("native", [True, False])
def test_a_guest_that_prints_for_ever_takes_no_memory(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps it is the same on KVM, where an exit may take fifty times as long."""
    monkeypatch.setattr(output, "LIMIT_BYTES", KEPT_BYTES)
    with pykvm.VM(memory="1M", backend="emu", native=native) as vm:
        vm.load(pykvm.assemble(PRINTS))
        print_beyond(vm, 1)
        before_bytes = resident_bytes()
        result = print_beyond(vm, PRINTED_BYTES)
        assert resident_bytes() - before_bytes < GROWTH_BYTES
        assert len(result.output) == KEPT_BYTES
        assert result.output_dropped_bytes == vm.output.dropped_bytes >= PRINTED_BYTES


def test_a_stream_gets_all_and_the_result_says_what_it_lacks(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "LIMIT_BYTES", 5)
    stream = io.BytesIO()
    source = "\n".join(f"mov al, {each}\nout 0xe9, al" for each in b"0123456789")
    with pykvm.VM(memory="1M", backend=backend, output=stream) as vm:
        vm.load(pykvm.assemble(f"{source}\nhlt"))
        result = vm.run(60)
    assert (result.output, result.output_dropped_bytes) == (b"01234", 5)
    assert stream.getvalue() == b"0123456789"
