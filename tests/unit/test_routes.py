"""Accesses that were answered before: how many there are, and what devices raise, matters not."""

from __future__ import annotations

import pytest

import pykvm
from pykvm import layout
from pykvm.result import Outcome

FIRST_PORT, PORTS = 0x2000, 400  # more than there are routes


class Recorder:
    """Keeps what is written, and gives it back plus one."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, int, int]] = []

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self.writes.append((offset, size_bytes, value))

    def read(self, offset: int, size_bytes: int) -> int:
        return self.writes[-1][2] + 1


def test_more_accesses_than_routes_are_all_answered(backend: str) -> None:
    source = f"""
        mov ebx, 3
    again:
        mov edx, {FIRST_PORT:#x}
    next:
        mov eax, edx
        or eax, 0x89000000
        out dx, al
        out dx, ax
        out dx, eax
        in eax, dx
        sub eax, 0x89000001
        cmp eax, edx
        jne wrong
        inc edx
        cmp edx, {FIRST_PORT + PORTS:#x}
        jne next
        dec ebx
        jnz again
        hlt
    wrong:
        mov al, 1
        out {layout.EXIT_PORT:#x}, al
    """
    with pykvm.VM(backend=backend) as vm:
        device = Recorder()
        vm.ports.claim(FIRST_PORT, PORTS + 4, device, "recorder")
        vm.load(pykvm.assemble(source, mode="long"))
        result = vm.run(60)
    assert result.outcome is Outcome.HALT, result.reason
    expected = [
        (offset, size_bytes, (0x8900_0000 | FIRST_PORT + offset) & (1 << 8 * size_bytes) - 1)
        for offset in range(PORTS)
        for size_bytes in (1, 2, 4)
    ]
    assert device.writes == expected * 3


@pytest.mark.parametrize("error", [KeyError, IndexError, TypeError])
def test_what_a_device_raises_late_is_its_own(backend: str, error: type[Exception]) -> None:
    class Weak(Recorder):
        def write(self, offset: int, size_bytes: int, value: int) -> None:
            super().write(offset, size_bytes, value)
            if len(self.writes) == 3:
                raise error("a device's own")

    with pykvm.VM(backend=backend) as vm:
        vm.ports.claim(FIRST_PORT, 1, device := Weak(), "weak")
        vm.load(
            pykvm.assemble(f"mov dx, {FIRST_PORT:#x}\nagain: out dx, al\njmp again", mode="long")
        )
        with pytest.raises(error, match="a device's own"):
            vm.run(60)
    assert len(device.writes) == 3
