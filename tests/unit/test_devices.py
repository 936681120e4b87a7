"""The small devices: debug console, exit ports, scratch memory, byte-wide registers."""

from __future__ import annotations

from pykvm.devices.bytewise import Bytewise
from pykvm.devices.debugcon import IDENT, DebugConsole
from pykvm.devices.exit import ExitPort, IsaDebugExit
from pykvm.devices.scratch import Scratch


def test_console_outputs_every_byte_of_a_wide_write_low_first() -> None:
    output = bytearray()
    DebugConsole(output.extend).write(0, 4, 0x44434241)
    assert output == b"ABCD"


def test_console_is_known_by_what_it_reads() -> None:
    console = DebugConsole(lambda data: None)
    assert console.read(0, 1) == IDENT
    assert console.read(0, 2) == IDENT << 8 | IDENT


def test_exit_port_gives_the_value_as_status() -> None:
    ended: list[int] = []
    port = ExitPort(ended.append)
    port.write(0, 4, 7)
    assert ended == [7]
    assert port.read(0, 4) == 0


def test_isa_debug_exit_doubles_the_value_and_adds_one() -> None:
    ended: list[int] = []
    IsaDebugExit(ended.append).write(0, 1, 0x10)
    assert ended == [0x21]


def test_scratch_keeps_what_is_written_at_any_width() -> None:
    scratch = Scratch(16)
    scratch.write(8, 8, 0x1122_3344_5566_7788)
    assert scratch.read(8, 1) == 0x88
    assert scratch.read(10, 2) == 0x5566
    assert scratch.read(0, 8) == 0
    assert len(scratch.data) == 16


class _Recorder(Bytewise):
    def __init__(self) -> None:
        self.written: list[tuple[int, int]] = []

    def read_byte(self, offset: int) -> int:
        return 0x10 + offset

    def write_byte(self, offset: int, value: int) -> None:
        self.written.append((offset, value))


def test_wide_access_to_byte_registers_is_one_access_per_byte() -> None:
    device = _Recorder()
    device.write(1, 2, 0xBBAA)
    assert device.written == [(1, 0xAA), (2, 0xBB)]
    assert device.read(1, 4) == 0x14131211
