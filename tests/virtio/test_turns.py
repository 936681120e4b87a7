"""A queue that is fed for ever, in a machine: the run can end, and nothing is lost."""

from __future__ import annotations

from pykvm import Machine, layout
from pykvm.asm import assemble
from pykvm.result import Outcome
from pykvm.testing import Driver
from pykvm.virtio.device import Device
from pykvm.virtio.mmio import Reg

DONE = 0x3_0000
SIZE = 16
GUEST = f"""
    mov dword ptr [{layout.VIRTIO_BASE + Reg.QUEUE_NOTIFY:#x}], 0
wait:
    cmp dword ptr [{DONE:#x}], 0
    je wait
    mov eax, 0
    out 0xf8, eax
"""


class Fed(Device):
    """As if another processor put in a new request whenever one is taken, and told nobody."""

    device_id = 63
    queue_sizes = (SIZE,)

    def __init__(self, total: int | None) -> None:
        super().__init__()
        self.total = total
        self.taken = 0
        self.driver: Driver | None = None

    def notified(self, index: int) -> None:
        assert self.driver is not None
        for chain in self.queues[index]:
            self.queues[index].push(chain)
            self.taken += 1
            self.driver.queues[0].collect()
            if self.taken != self.total:
                self.driver.queues[0].offer([], [1])
            else:
                self.driver.memory.write_int(DONE, 1, 4)


def _run(backend: str, total: int | None, timeout: float) -> tuple[Outcome, Fed]:
    with Machine(memory="16M", backend=backend) as vm:
        device = Fed(total)
        vm.add_virtio(device)
        later = device.later
        vm.load(assemble(GUEST, mode="long"))
        device.is_attached = False  # the driver's side attaches it once more
        driver = device.driver = Driver(device, vm.memory, first_gpa=0x20_0000)
        device.later = later
        driver.start(0)
        driver.queues[0].offer([], [1])
        return vm.run(timeout=timeout).outcome, device


def test_what_is_left_is_asked_for_again(backend: str) -> None:
    outcome, device = _run(backend, 5 * SIZE + 3, 30)
    assert outcome is Outcome.EXIT
    assert device.taken == 5 * SIZE + 3


def test_a_run_ends_in_time_all_the_same(backend: str) -> None:
    outcome, device = _run(backend, None, 0.3)
    assert outcome is Outcome.TIMEOUT
    assert device.taken % SIZE == 0
