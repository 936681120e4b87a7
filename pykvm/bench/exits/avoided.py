"""Writes that spare the way to user space: a doorbell rings, or they are collected."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace

from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.row import guest_row
from pykvm.bench.exits.user import GPA, IO_REASON, MMIO_REASON, PORT, mmio_loop, port_loop
from pykvm.machine import Machine

_SIZE = 4
_RING_SAMPLES = 80  # KVM's ring of collected writes takes 85 before Linux 6.12
_OUT, _WRITE = port_loop("out", _SIZE), mmio_loop("write", _SIZE)


def _ring_at(address: int, *, port: bool) -> Loop:
    def wire(machine: Machine, stack: ExitStack) -> None:
        fd = os.eventfd(0)
        stack.callback(os.close, fd)
        machine.vm.add_ioeventfd(fd, address, _SIZE, port=port)

    return replace(_OUT if port else _WRITE, wire=wire)


def _collect_at(address: int, *, port: bool) -> Loop:
    def wire(machine: Machine, stack: ExitStack) -> None:
        machine.vm.add_coalesced(address, _SIZE, port=port)

    return replace(
        _OUT if port else _WRITE, wire=wire, most=_RING_SAMPLES, repeats=False,
        prepare=lambda machine: machine.vm.take_coalesced(),
    )  # fmt: skip


def _rows() -> tuple[tuple[str, Loop, str, str], ...]:
    rings, collected = "an eventfd is signalled", "the write waits in a ring"
    return (
        ("ioeventfd, port", _ring_at(PORT, port=True), IO_REASON, rings),
        ("ioeventfd, MMIO", _ring_at(GPA, port=False), MMIO_REASON, rings),
        ("coalesced, port", _collect_at(PORT, port=True), IO_REASON, collected),
        ("coalesced, MMIO", _collect_at(GPA, port=False), MMIO_REASON, collected),
    )


ROWS = tuple(
    guest_row(name, "avoided", loop, "RDTSC pair", reason, f"a write of {_SIZE} bytes: {text}")
    for name, loop, reason, text in _rows()
)
