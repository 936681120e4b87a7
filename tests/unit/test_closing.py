"""Whatever threads do with a machine while one of them closes it completes, or is ClosedError."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

import pykvm
from pykvm.backend.types import HardwareBreakpoint, MsrTrap, default_routes
from pykvm.devices.scratch import Scratch
from pykvm.errors import ClosedError, KvmError, PykvmError, UsageError
from pykvm.loader.image import Image, Mode
from pykvm.virtio.entropy import Entropy

Action = Callable[[pykvm.VM], object]

LIVES = 12 if os.environ.get("PYKVM_SANITIZED") else 40  # of each crew
SPINS = Image("<jmp .>", Mode.LONG, 0x1_0000, ((0x1_0000, b"\xeb\xfe"),))
EXITS = Image("<out in a loop>", Mode.LONG, 0x1_0000, ((0x1_0000, b"\xe6\x80\xeb\xfc"),))
FORBIDDEN = {errno.EBADF, errno.EFAULT, errno.EIO, errno.ENOTTY}  # another file, other memory


def save_and_load(vm: pykvm.VM) -> None:
    vcpu = vm.vcpu
    vcpu.set_xsave(vcpu.get_xsave())
    vcpu.set_events(vcpu.get_events())
    vcpu.set_debug_registers(vcpu.get_debug_registers())
    vcpu.set_lapic(vcpu.get_lapic())
    vcpu.set_msrs(vcpu.get_msrs([0xC000_0081]))
    vcpu.set_mp_state(vcpu.get_mp_state())


def debug(vm: pykvm.VM) -> None:
    with suppress(UsageError):
        vm.vcpu.set_guest_debug(single_step=True)
        vm.vcpu.set_guest_debug(hardware=[HardwareBreakpoint(0x5000)])
    vm.vcpu.set_guest_debug()
    vm.vcpu.get_cpuid()


def log(vm: pykvm.VM) -> None:
    region = next(iter(vm.memory.regions), None)
    if region is None:
        return
    vm.vm.set_dirty_logging(region, True)
    vm.vm.dirty_log(region)
    vm.vm.set_dirty_logging(region, False)


def map_and_unmap(vm: pykvm.VM) -> None:
    region = vm.memory.add(0x4000_0000, 0x1000)
    vm.vm.map(region)
    vm.vm.unmap(region)
    vm.memory.remove(region)


def events(vm: pykvm.VM) -> None:
    fd = os.eventfd(0)
    try:
        vm.vm.add_ioeventfd(fd, 0x5000_0000, 4)
        vm.vm.add_irqfd(fd, 5)
        vm.vm.remove_irqfd(fd, 5)
        vm.vm.remove_ioeventfd(fd, 0x5000_0000, 4)
        vm.vm.add_coalesced(0x6000_0000, 4)
        vm.vm.take_coalesced()
        vm.vm.remove_coalesced(0x6000_0000, 4)
        vm.vm.set_routes(default_routes())
        vm.vm.trap_msrs([MsrTrap(range(0x10, 0x11))])
    finally:
        os.close(fd)


def chips(vm: pykvm.VM) -> None:
    vm.vm.set_irq_line(5, True)
    vm.vm.signal_msi(0xFEE0_0000, 0x40)
    vm.vm.set_irqchip(vm.vm.get_irqchip())
    vm.vm.set_clock(vm.vm.get_clock())
    vm.vm.now_ns()


def general(vm: pykvm.VM) -> None:
    vm.registers.rbx = vm.registers.rax
    vm.registers.fs = vm.registers.gs
    vm.registers.as_dict()


def memory(vm: pykvm.VM) -> None:
    vm.memory.write(0x4_0000, b"abcdefgh" * 64)
    vm.memory.write(0x4_0000, bytearray(b"abcdefgh"))
    vm.memory.clear(0x4_0000, 0x3000)
    vm.memory.view(0x4_0000, 8)[:] = bytes(8)
    vm.memory.read(0x4_0000, 512)


def work(vm: pykvm.VM) -> None:
    done = threading.Event()
    vm.post(done.set)
    vm.post(lambda: vm.memory.write_int(0x4_0000, 1, 4))
    done.wait(0.001)


def exit_by_exit(vm: pykvm.VM) -> None:
    for _ in vm.exits(0.002):
        vm.vcpu.complete()


CREWS: dict[str, tuple[Action, ...]] = {
    "attack": (memory, chips, general, lambda vm: vm.run(0.002)),
    "state": (save_and_load, general, lambda vm: vm.run(0.002)),
    "debug": (debug, general, lambda vm: vm.run(0.002)),
    "layout": (map_and_unmap, log, memory, lambda vm: vm.run(0.002)),
    "events": (events, chips, work, lambda vm: vm.run(0.002)),
    "life": (lambda vm: vm.load(SPINS), lambda vm: vm.stop(), lambda vm: vm.run(0.002)),
    "steps": (exit_by_exit, memory, lambda vm: vm.feed(b"x"), lambda vm: vm.vcpu.exit_counts()),
}


class Crew:
    """Threads that repeat each its action until the machine is closed, and some time beyond."""

    def __init__(self, vm: pykvm.VM, actions: tuple[Action, ...]) -> None:
        self.vm = vm
        self.closed = threading.Event()
        self.wrong: list[BaseException] = []
        self.begun = threading.Barrier(len(actions) + 1)
        self.threads = [threading.Thread(target=self._repeat, args=(each,)) for each in actions]

    def _repeat(self, action: Action) -> None:
        self.begun.wait()
        is_last = False
        while not is_last:
            is_last = self.closed.is_set()
            try:
                action(self.vm)
            except KvmError as error:
                if error.errno in FORBIDDEN:
                    self.wrong.append(error)
            except PykvmError:
                time.sleep(0)
            except BaseException as error:
                self.wrong.append(error)


@contextmanager
def crew(vm: pykvm.VM, actions: tuple[Action, ...]) -> Iterator[Crew]:
    found = Crew(vm, actions)
    for thread in found.threads:
        thread.start()
    found.begun.wait()
    try:
        yield found
    finally:
        vm.close()
        found.closed.set()
        for thread in found.threads:
            thread.join()


@pytest.mark.parametrize("assist", [False, True])
@pytest.mark.parametrize("name", CREWS)
def test_threads_that_use_a_machine_while_it_closes(name: str, assist: bool, backend: str) -> None:
    if assist and backend == "emu":
        pytest.skip("the emulator needs no help")
    for number in range(LIVES):
        vm = pykvm.VM(memory="1M", backend=backend, irqchip="full", assist=assist)
        vm.load(EXITS if name == "steps" else SPINS)
        vm.ports.float_unclaimed = True
        with crew(vm, CREWS[name]) as found:
            time.sleep(0.001 * (number % 5))
        assert found.wrong == []


@pytest.mark.parametrize("assist", [False, True])
def test_a_run_that_is_closed_under_way_is_a_closed_error(assist: bool, backend: str) -> None:
    if assist and backend == "emu":
        pytest.skip("the emulator needs no help")
    vm = pykvm.VM(memory="1M", backend=backend, assist=assist)
    vm.load(pykvm.assemble("next: popcnt eax, ebx\njmp next") if assist else SPINS)
    caught: list[BaseException] = []

    def run() -> None:
        try:
            vm.run(60)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.02)
    vm.close()
    thread.join()
    assert [type(each) for each in caught] == [ClosedError]


def test_what_was_held_of_a_closed_machine_does_no_harm(backend: str) -> None:
    vm = pykvm.VM(memory="1M", backend=backend, irqchip="full")
    vm.add_virtio(Entropy())
    vm.load(SPINS)
    view, registers, vcpu, lowest = vm.memory.view(0, 8), vm.registers, vm.vcpu, vm.vm
    enter, native = vcpu.entry
    vm.close()
    enter(native)
    view[:] = b"whatever"  # the mapping goes with the view
    vcpu.stop()
    vcpu.end()
    held: list[Callable[[], object]] = [
        lambda: registers.rax, lambda: registers.as_dict(), vcpu.get_xsave,
        lambda: vcpu.begin(1), lambda: lowest.set_irq_line(5, True), lowest.get_irqchip,
        lambda: vm.memory.read(0, 1), lambda: vm.memory.view(0, 1), lambda: vm.run(1),
        lambda: vm.memory.write(0, b"x"), lambda: vm.load(SPINS), lambda: vm.post(print),
    ]  # fmt: skip
    for each in held:
        with pytest.raises(ClosedError):
            each()


def test_mapped_memory_is_not_taken_away(backend: str) -> None:
    with pykvm.VM(memory="1M", backend=backend) as vm:
        vm.load(SPINS)
        (region,) = vm.memory.regions
        refusals: list[Callable[[], None]] = [
            lambda: vm.memory.remove(region), vm.memory.close, region.close,
        ]  # fmt: skip
        for refused in refusals:
            with pytest.raises(UsageError, match="the machine sees the memory at 0x0"):
                refused()
        vm.memory.write(0, b"still there")
        vm.vm.unmap(region)
        vm.memory.remove(region)
        assert vm.memory.regions == []
    vm.memory.close()


def test_a_handler_may_close_its_machine(backend: str) -> None:
    vm = pykvm.VM(memory="1M", backend=backend)

    class Closes(Scratch):
        def write(self, offset: int, size_bytes: int, value: int) -> None:
            vm.close()

    vm.ports.claim(0x80, 1, Closes(1))
    vm.load(EXITS)
    with pytest.raises(ClosedError):
        vm.run(60)
