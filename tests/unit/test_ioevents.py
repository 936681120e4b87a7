"""Writes without an exit: eventfds and coalesced zones."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

import pykvm
from pykvm.backend.kvm import System
from pykvm.backend.kvm.vm import KvmVm
from pykvm.errors import PykvmError, UsageError
from pykvm.exits import Exit, MmioWrite, PortOut
from pykvm.machine import Machine

TIMEOUT_S = 60  # never reached: a hang ends there
PORT, MMIO = 0x600, 0xC800_0000
WRITE_PORT = f"mov dx, {PORT}\n"
WRITE_MMIO = f"mov rbx, {MMIO}\n"


@pytest.fixture
def event() -> Iterator[int]:
    """An eventfd that starts at zero."""
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def run(vm: Machine, source: str) -> list[Exit]:
    """The exits of a guest, up to its HLT, which is left out."""
    vm.load(pykvm.assemble(source + "\nhlt"))
    return list(vm.exits(TIMEOUT_S))[:-1]


def machine(backend: str) -> Machine:
    """A machine where writes that nobody claims are harmless."""
    return pykvm.VM(backend=backend, memory="1M", float_unclaimed=True)


def is_signalled(fd: int) -> bool:
    """Whether an eventfd is above zero."""
    return bool(select.select([fd], [], [], 0)[0])


def test_a_port_write_signals_an_eventfd_and_does_not_exit(backend: str, event: int) -> None:
    with machine(backend) as vm:
        vm.vm.add_ioeventfd(event, PORT, 1, port=True)
        assert run(vm, WRITE_PORT + "out dx, al\nout dx, al") == []
        assert os.eventfd_read(event) == 2


def test_an_mmio_write_signals_an_eventfd(backend: str, event: int) -> None:
    with machine(backend) as vm:
        vm.vm.add_ioeventfd(event, MMIO, 4)
        assert run(vm, WRITE_MMIO + "mov dword ptr [rbx], 9") == []
        assert os.eventfd_read(event) == 1


def test_only_the_watched_size_counts(backend: str, event: int) -> None:
    with machine(backend) as vm:
        vm.vm.add_ioeventfd(event, PORT, 2, port=True)
        assert run(vm, WRITE_PORT + "mov al, 1\nout dx, al") == [PortOut(PORT, 1, b"\x01")]
        assert not is_signalled(event)


def test_any_size_counts_where_none_is_given(backend: str, event: int) -> None:
    with machine(backend) as vm:
        vm.vm.add_ioeventfd(event, MMIO)
        source = "mov byte ptr [rbx], 1\nmov dword ptr [rbx], 1\nmov qword ptr [rbx], 1"
        assert run(vm, WRITE_MMIO + source) == []
        assert os.eventfd_read(event) == 3


def test_only_the_matching_value_counts(backend: str, event: int) -> None:
    with machine(backend) as vm:
        vm.vm.add_ioeventfd(event, MMIO, 4, datamatch=7)
        source = "mov dword ptr [rbx], 6\nmov dword ptr [rbx], 7"
        assert run(vm, WRITE_MMIO + source) == [MmioWrite(MMIO, 4, b"\x06\0\0\0")]
        assert os.eventfd_read(event) == 1


def test_a_removed_eventfd_is_an_exit_again(backend: str, event: int) -> None:
    with machine(backend) as vm:
        vm.vm.add_ioeventfd(event, PORT, 1, port=True)
        with pytest.raises(PykvmError, match="has this address"):
            vm.vm.add_ioeventfd(event, PORT, 1, port=True)
        vm.vm.remove_ioeventfd(event, PORT, 1, port=True)
        assert len(run(vm, WRITE_PORT + "out dx, al")) == 1
        with pytest.raises(PykvmError, match="no ioeventfd"):
            vm.vm.remove_ioeventfd(event, PORT, 1, port=True)


def test_impossible_eventfds_are_refused(backend: str, event: int) -> None:
    with machine(backend) as vm:
        with pytest.raises(UsageError):
            vm.vm.add_ioeventfd(event, MMIO, 3)
        with pytest.raises(UsageError):
            vm.vm.add_ioeventfd(event, MMIO, datamatch=1)


def test_coalesced_writes_come_in_order_and_without_exits(backend: str) -> None:
    with machine(backend) as vm:
        vm.vm.add_coalesced(MMIO, 0x1000)
        vm.vm.add_coalesced(PORT, 1, port=True)
        source = "mov dword ptr [rbx], 1\nmov al, 2\nout dx, al\nmov word ptr [rbx + 8], 3"
        assert run(vm, WRITE_PORT + WRITE_MMIO + source) == []
        assert vm.vm.take_coalesced() == [
            MmioWrite(MMIO, 4, b"\x01\0\0\0"),
            PortOut(PORT, 1, b"\x02"),
            MmioWrite(MMIO + 8, 2, b"\x03\0"),
        ]
        assert vm.vm.take_coalesced() == []


def test_a_full_ring_makes_the_next_write_an_exit_and_wraps(backend: str) -> None:
    with machine(backend) as vm:
        vm.vm.add_coalesced(PORT, 1, port=True)
        vm.load(pykvm.assemble(WRITE_PORT + "again: inc al\nout dx, al\njmp again"))
        seen: list[int] = []
        for exit in vm.exits(TIMEOUT_S):
            assert isinstance(exit, PortOut)
            seen += [each.value for each in vm.vm.take_coalesced()]
            seen.append(exit.value)
            if len(seen) > 400:
                break
        assert seen == [n % 256 for n in range(1, len(seen) + 1)]


def test_a_removed_zone_exits_again(backend: str) -> None:
    with machine(backend) as vm:
        vm.vm.add_coalesced(PORT, 1, port=True)
        vm.vm.remove_coalesced(PORT, 1, port=True)
        assert len(run(vm, WRITE_PORT + "out dx, al")) == 1
        assert vm.vm.take_coalesced() == []


def test_without_a_processor_nothing_is_collected() -> None:
    vm = KvmVm(System.shared())
    vm.add_coalesced(MMIO, 0x1000)
    assert vm.take_coalesced() == []
    vm.close()
