"""Machines from end to end: load, run, step, stop."""

from __future__ import annotations

import io

import pytest

import pykvm
from pykvm import layout
from pykvm.errors import UsageError
from pykvm.loader import entry
from pykvm.virtio.net import Net


def test_hello_prints_and_halts() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("mov al, 'H'\nout 0xe9, al\nhlt"))
        result = vm.run(timeout=60)
    assert result.outcome is pykvm.Outcome.HALT
    assert result.output == b"H"
    assert result.exits == {"PortOut": 1, "Halt": 1}


def test_output_that_takes_text_is_refused() -> None:
    with pytest.raises(UsageError, match=r"sys\.stdout\.buffer"):
        pykvm.VM(output=io.StringIO())  # type: ignore[arg-type]


def test_the_first_of_two_failures_is_told() -> None:
    def fail(why: str) -> None:
        raise ValueError(why)

    with pykvm.VM(memory="1M") as vm:
        vm.load(pykvm.assemble("again: jmp again"))
        vm.post(lambda: fail("first"))
        vm.post(lambda: fail("second"))
        with pytest.raises(ValueError, match="first"):
            vm.run(20)


def test_a_machine_can_be_loaded_again_in_another_mode() -> None:
    with pykvm.VM(memory="1M", float_unclaimed=True) as vm:
        for mode in ("long", "real", "user", "protected", "long"):
            vm.load(pykvm.assemble("mov al, 7\nout 0xf4, al", mode=mode))
            assert vm.run(timeout=60).status == 15, mode


def test_loading_into_used_memory_leaves_nothing_of_what_was_there() -> None:
    bitmap_base = layout.TSS_BASE + entry.TSS_FIXED_SIZE
    size_bytes = entry.TSS_SIZE - entry.TSS_FIXED_SIZE
    with pykvm.VM(memory="1M") as vm:
        vm.memory.write(bitmap_base, b"\xff" * size_bytes)
        vm.memory.write(layout.COMMAND_LINE_BASE, b"old")
        vm.load(pykvm.assemble("hlt"))
        assert vm.memory.read(bitmap_base, size_bytes) == bytes(size_bytes)
        assert vm.memory.read(layout.COMMAND_LINE_BASE, 1) == b"\0"


def test_virtio_devices_are_told_of_on_a_command_line() -> None:
    with pykvm.VM(backend="emu", devices=("virtio-entropy", "virtio-entropy")) as vm:
        assert vm.virtio_command_line == (
            "virtio_mmio.device=512@0xd0001000:16:0 virtio_mmio.device=512@0xd0002000:17:1"
        )
    with pykvm.VM(backend="emu") as vm:
        assert vm.virtio_command_line == ""


def test_a_second_network_card_is_refused_and_says_what_to_do() -> None:
    with pykvm.VM(backend="emu", devices=("nic",)) as vm:
        with pytest.raises(UsageError, match=r"one network card .*; give it more by add_virtio"):
            vm.add_nic()
        for number in range(2):
            vm.add_virtio(Net(f"02:00:00:00:00:0{number}"))


def test_a_device_is_locked_from_the_first_call_on_another_thread(backend: str) -> None:
    owned = []

    class Device:
        def read(self, offset: int, size_bytes: int) -> int:
            return 0

        def write(self, offset: int, size_bytes: int, value: int) -> None:
            owned.append(vm._lock._is_owned())  # type: ignore[attr-defined]
            if len(owned) == 5:
                vm.post(lambda: None)

    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.ports.claim(0x300, 1, Device())
        code = "mov ecx, 10\nmov edx, 0x300\nagain: out dx, al\ndec ecx\njnz again\nhlt"
        vm.load(pykvm.assemble(code))
        assert vm.run(timeout=60).outcome is pykvm.Outcome.HALT
    assert not any(owned[1:5])
    assert all(owned[5:])
    assert len(owned) == 10
