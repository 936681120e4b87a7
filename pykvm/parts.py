"""What a machine is made of, and what is put into it: devices, a guest, a kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pykvm import layout, wiring
from pykvm.acpi import mp, tables
from pykvm.backend.protocol import Vcpu, Vm
from pykvm.bus import Bus
from pykvm.devices import power, serial
from pykvm.devices.debugcon import IDENT, DebugConsole
from pykvm.devices.exit import ExitPort, IsaDebugExit
from pykvm.devices.scratch import Scratch
from pykvm.errors import ClosedError, LoadError, UsageError
from pykvm.loader import (
    entry,
    firmware,
    linux,
    multiboot,
    parse_image,
    read_file,
    read_image,
    read_module,
)
from pykvm.loader.boot import Boot, Module, bios_data, encode
from pykvm.loader.image import Image, Mode
from pykvm.loader.memory_map import memory_map
from pykvm.loader.place import place
from pykvm.memory import Backing, GuestMemory
from pykvm.output import Output
from pykvm.registers import RegisterFile
from pykvm.result import SWITCHED_OFF, Ending, exited, was_reset
from pykvm.state import DebugRegisters, Events, MpState
from pykvm.turn import Backlog
from pykvm.virtio import spec
from pykvm.virtio.board import Board
from pykvm.virtio.device import Device
from pykvm.worker import Worker

if TYPE_CHECKING:
    from pykvm.devices.cmos import Cmos
    from pykvm.devices.nic.card import Nic82540em
    from pykvm.virtio.console import Console

DEVICES = ("debugcon", "exit", "scratch", "serial", "cmos")
KERNEL_DEVICES = ("serial", "cmos", "power")  # what a stock kernel gets
EXIT_PORT_SIZE = 4
ALL_DEVICES = (*DEVICES, "power", "nic", *wiring.VIRTIO_DEVICES)


class Parts:
    """The part of a machine that has memory, processors and devices, and loads guests.

    Attributes:
        memory, ports, mmio: RAM, and the two buses.
        vm, vcpus: what the backend made.
        output: what the guest has printed.
        append: the command line.
        image: what was loaded last.
        serial, console, cmos: the devices of that kind, where the machine has them.
    """

    memory: GuestMemory
    ports: Bus
    mmio: Bus
    vm: Vm
    vcpus: tuple[Vcpu, ...]
    output: Output
    append: str
    clock: str
    image: Image | None = None
    serial: serial.Serial | None = None
    console: Console | None = None
    cmos: Cmos | None = None
    _native: bool
    _board: Board
    _backlog: Backlog
    _clock_ns: Callable[[], int]
    _worker: Worker
    _is_shared: bool
    _take_console: Callable[[], bytes] | None = None
    _ending: Ending | None = None
    _closed = True
    _maker = 0  # the process that made it

    def _add_memory(self, size_bytes: int, backing: Backing) -> None:
        low_bytes = min(size_bytes, layout.RAM_HOLE_BASE)
        self.memory.add(0, low_bytes, backing)
        if size_bytes > low_bytes:
            self.memory.add(layout.RAM_HIGH_BASE, size_bytes - low_bytes, backing)

    def _wire(self, name: str) -> None:
        match name:
            case "debugcon":
                if self._native:
                    self._take_console = self.vm.add_console(layout.DEBUGCON_PORT, IDENT)
                self.ports.claim(layout.DEBUGCON_PORT, 1, DebugConsole(self.output.write), name)
            case "exit":
                pass  # _wire_exits
            case "scratch":
                self._wire_scratch()
            case "serial":
                irq = partial(self.vm.set_irq_line, layout.COM1_IRQ)
                self.serial = serial.Serial(self.output.write, irq)
                self.ports.claim(layout.COM1_PORT, serial.SIZE, self.serial, name)
            case "cmos":
                self._wire_cmos()
            case "power":
                self._wire_power()
            case "nic":
                wiring.answer(self.add_nic().port)
            case _:
                self.add_virtio(wiring.VIRTIO_DEVICES[name]())

    def _wire_exits(self, chosen: int | None, *, is_usual: bool) -> None:
        """The ports that end the run: the usual ones, the chosen one, or both."""
        ports = [layout.EXIT_PORT, layout.ISA_DEBUG_EXIT_PORT] if is_usual else []
        if chosen is not None and chosen not in ports:
            ports.append(chosen)
        for port in ports:
            kind = ExitPort if port == layout.EXIT_PORT else IsaDebugExit
            self.ports.claim(port, EXIT_PORT_SIZE, kind(self._end), "exit")

    def _wire_scratch(self) -> None:
        """Its ports give way to an exit port that was chosen among them, as QEMU's usual one is."""
        self.mmio.claim(
            layout.SCRATCH_BASE, layout.SCRATCH_SIZE, Scratch(layout.SCRATCH_SIZE), "scratch"
        )
        base, size_bytes = layout.SCRATCH_PORT, layout.SCRATCH_PORT_COUNT
        if not any(
            claim.name == "exit" and base < claim.end and claim.base < base + size_bytes
            for claim in self.ports.claims
        ):
            self.ports.claim(base, size_bytes, Scratch(size_bytes))

    def _wire_power(self) -> None:
        def reset(how: str) -> Callable[[], None]:
            return partial(self._end_by, was_reset(how))

        control = power.Pm1Control(tables.SLEEP_TYPE_S5, partial(self._end_by, SWITCHED_OFF))
        for port, size_bytes, device in (
            (layout.PM1_EVENT_PORT, power.EVENT_SIZE, power.Pm1Event()),
            (layout.PM1_CONTROL_PORT, power.CONTROL_SIZE, control),
            (layout.PM_TIMER_PORT, power.TIMER_SIZE, power.PmTimer()),
            (layout.RESET_PORT, 1, power.ResetControl(reset(f"port {layout.RESET_PORT:#x}"))),
            (layout.KEYBOARD_PORT, 1, power.KeyboardReset(reset("the keyboard controller"))),
        ):
            self.ports.claim(port, size_bytes, device)

    def _wire_cmos(self) -> None:
        from pykvm.devices import cmos, rtc  # bring libraries, which make KVM_CREATE_VM longer

        low, *high = (region.size_bytes for region in self.memory.regions)
        line = partial(self.vm.set_irq_line, layout.CMOS_IRQ)
        alarm = rtc.Alarm(self._post_shared)
        clock, look_after = rtc.clock(None), alarm.after
        if self.clock != "wall":
            clock, look_after = rtc.clock(self.vm.now_ns), self._raise_cmos_line
        if self.vm.irqchip == "none":
            self.cmos = cmos.Cmos(low, sum(high), clock)
        else:
            self.cmos = cmos.Cmos(low, sum(high), clock, line, look_after)
            alarm.call = self.cmos.look
        self.ports.claim(layout.CMOS_PORT, cmos.SIZE, self.cmos, "cmos")

    def _post_shared(self, call: Callable[[], None], delay_s: float) -> None:
        """On the machine's thread, which comes to the devices from now on."""
        self._share()
        self._worker.post(call, delay_s)

    def _share(self) -> None:
        raise NotImplementedError

    def _raise_cmos_line(self, delay_ns: int | None) -> None:
        at_ns = None if delay_ns is None else self.vm.now_ns() + delay_ns
        self.vm.raise_line_at(layout.CMOS_IRQ, at_ns)

    def _end(self, status: int) -> None:
        self._end_by(exited(status))

    def _end_by(self, ending: Ending) -> None:
        """The guest has ended the run: stop every vCPU at its next entry."""
        self._ending = ending
        self._stop_all()

    def add_nic(self, mac: str = wiring.NIC_MAC) -> Nic82540em:
        """Give the machine an 82540EM network card at layout.NIC_BASE; its `port` wants a cable.

        Raises:
            UsageError: it has one.
        """
        self._check_open()
        if self.mmio.find(layout.NIC_BASE, 4) is not None:
            raise UsageError(
                "a machine has one network card of this kind; give it more by "
                "add_virtio(Net(mac)), from pykvm.virtio.net"
            )
        line = partial(self.vm.set_irq_line, layout.NIC_IRQ)
        card = wiring.nic(
            self.memory, line, self._worker.post, mac, self._board.put_off, self._backlog.work_off
        )
        card.turn.clock_ns = self._clock_ns
        self.mmio.claim(layout.NIC_BASE, layout.NIC_SIZE, card, "nic")
        self._is_shared = True
        return card

    def add_virtio(self, device: Device) -> None:
        """Give the machine a virtio device, in the next place from layout.VIRTIO_BASE on.

        Guests find it by the table at layout.VIRTIO_TABLE_BASE, kernels by ACPI: add it before
        they are loaded.

        Raises:
            UsageError: the machine has layout.VIRTIO_COUNT of them, or one has this device.
        """
        self._check_open()
        from pykvm.virtio.console import Console  # brings libraries, as the CMOS clock does

        self._board.add(device)
        device.output = self.output.write
        if isinstance(device, Console) and self.console is None:
            self.console = device
        self._is_shared |= self._board.is_shared

    # What a user holds.

    @property
    def virtio(self) -> list[Device]:
        """The virtio devices in their places; `add_virtio` adds one."""
        return self._board.devices

    @property
    def virtio_command_line(self) -> str:
        """`virtio_mmio.device=` for each, for a kernel that reads it and knows no ACPI."""
        return self._board.command_line()

    @property
    def vcpu(self) -> Vcpu:
        """The first processor."""
        return self.vcpus[0]

    @property
    def registers(self) -> RegisterFile:
        """The first processor's registers by name, readable and writable between exits."""
        self._check_process()
        return RegisterFile(self.vcpu)

    def load(self, image: Image | Path | str, modules: Sequence[Module | Path | str] = ()) -> None:
        """Put a guest into memory and the first processor at its entry.

        Args:
            image: an assembled program, what `read_image` gives, or the path of a binary.
            modules: files that a multiboot kernel finds in memory: paths, or texts such as
                "FILE arguments".

        Raises:
            LoadError: a file cannot be read, or the guest does not fit into this machine.
            UsageError: the command line is too long, or the guest takes no modules.
        """
        self._check_open()
        if not isinstance(image, Image | Path | str):
            raise UsageError(f"a guest is an image or a file's path, not {image!r}")
        if not isinstance(image, Image):
            image = read_image(image)
        if image.multiboot:
            self._load_multiboot(image, [read_module(each) for each in modules])
        else:
            _refuse(modules, image.name)
            if image.mode is Mode.LONG and image.pieces and linux.is_bzimage(image.pieces[0][1]):
                remedy = "--kernel runs it, and load_kernel in Python"
                raise LoadError(image.name, f"is a Linux kernel: {remedy}")
            self._load(image, self.append)

    def _load_multiboot(self, image: Image, modules: Sequence[Module]) -> None:
        """A kernel with its information, its modules, and the tables that describe the machine."""
        text = multiboot.command_line(image, self.append)
        boot = self._boot(text, modules=modules, has_tables=self.vm.irqchip == "full")
        self._load(image, text, [*boot.tables, *multiboot.pieces(boot, image)])

    def _load(
        self, image: Image, command_line: str, owed: Sequence[tuple[int, bytes]] = ()
    ) -> None:
        """Write an image and what it is owed.

        Args:
            owed: (gpa, bytes) that none of the image may overlap.
        """
        is_new = self.memory.is_new  # zeros need not be written then: a page that is costs a fault
        text = _command_line(command_line) if command_line or not is_new else b""
        bios = (layout.BIOS_DATA_BASE, self._bios_data)
        if not is_new:
            self._reset_processors()
        place(image, self.memory, beneath=[bios], owed=owed)
        if text:
            self.memory.write(layout.COMMAND_LINE_BASE, text)
        if self.virtio or not is_new:
            self.memory.write(layout.VIRTIO_TABLE_BASE, self._board.table())
        self._enter(image, is_new=is_new)

    def _enter(self, image: Image, *, is_new: bool) -> None:
        entry.enter(
            self.memory, self.vcpu, image.mode, image.entry, state=image.state, is_new=is_new
        )
        if image.registers:
            registers = self.registers
            for name, value in image.registers.items():
                registers[name] = value
        self.image = image

    def _reset_processors(self) -> None:
        """Leave nothing of what the last guest was about: its exit, events, debugging, sleep."""
        for vcpu in self.vcpus:
            vcpu.abandon()
            vcpu.set_events(Events())
            vcpu.set_debug_registers(DebugRegisters())
            vcpu.set_mp_state(MpState.RUNNABLE if vcpu is self.vcpu else MpState.UNINITIALIZED)

    @property
    def _bios_data(self) -> bytes:
        return bios_data() if self.serial is None else bios_data(layout.COM1_PORT)

    def _boot(
        self, command_line: str, initrd: bytes = b"", modules: Sequence[Module] = (),
        *, has_tables: bool = True,
    ) -> Boot:  # fmt: skip
        """What this machine gives a kernel.

        Args:
            has_tables: whether ACPI and MP tables are part of it.
        """
        return Boot(
            memory_map(self.memory.regions, acpi=has_tables),
            _command_line(command_line)[:-1],
            initrd,
            modules,
            self._tables() if has_tables else (),
        )

    def _tables(self) -> tuple[tuple[int, bytes], ...]:
        """What describes the machine: ACPI's tables, the root first, and the MP table."""
        cpus = len(self.vcpus)
        virtio = [
            tables.virtio_mmio(number, gpa, spec.MMIO_SIZE, gsi)
            for number, (gpa, gsi) in enumerate(self._board.places)
        ]
        has_power = self.ports.find(layout.PM1_CONTROL_PORT, power.CONTROL_SIZE) is not None
        acpi = tables.build(cpus, virtio, has_power=has_power)
        return (acpi.rsdp, acpi.data), (layout.MP_TABLE_BASE, mp.table(cpus))

    def load_kernel(
        self, kernel: Path | str, initrd: Path | str | None = None,
        modules: Sequence[Module | Path | str] = (), mode: Mode | str | None = None,
    ) -> None:  # fmt: skip
        """Load a kernel: a bzImage, an ELF kernel with a PVH entry, or a multiboot kernel.

        The command line is `append`; ACPI tables describe the machine, which needs the devices
        of KERNEL_DEVICES, the full irqchip and the PIT.

        Args:
            initrd: the initial RAM disk; a multiboot kernel finds it as its first module.
            modules: for a multiboot kernel, see `load`.
            mode: which entry of a bzImage to take: long, protected or real; None for the best one.

        Raises:
            LoadError: a file cannot be read, is no kernel, has no such entry, or does not fit into
                this machine.
            UsageError: a Linux kernel takes no modules.
        """
        self._check_open()
        name, data = str(kernel), read_file(Path(kernel))
        mode = None if mode is None else Mode.parse(mode)
        if mode is not None and not linux.is_bzimage(data):
            raise UsageError(f"{name} is no bzImage: it has one entry, whatever mode is asked for")
        if not linux.is_kernel(data, name) and (image := parse_image(data, name=name)).multiboot:
            self.load(image, [*([] if initrd is None else [initrd]), *modules])
            return
        _refuse(modules, name)
        boot = self._boot(self.append, b"" if initrd is None else read_file(Path(initrd)))
        self._load(linux.kernel_image(data, name, boot, mode), self.append, boot.tables)

    def load_firmware(self, path: Path | str) -> None:
        """Put firmware into ROM that ends at 4 GiB, and the first processor into its reset state.

        Raises:
            LoadError: the file cannot be read, or is no firmware.
        """
        self._check_open()
        name, data = str(path), read_file(Path(path))
        base = firmware.rom_base(data, name)
        there = self.memory.region_of(layout.RAM_HIGH_BASE - 1, 1)
        if there is not None and there.gpa != base:
            self.vm.unmap(there)
            self.memory.remove(there)
            there = None
        if there is None:
            size_bytes = layout.RAM_HIGH_BASE - base
            self.vm.map(self.memory.add(base, size_bytes, readonly=True))
        image = firmware.load(data, name)
        if not self.memory.is_new:
            self._reset_processors()
        place(image, self.memory)
        self._enter(image, is_new=False)

    def _stop_all(self) -> None:
        self._backlog.is_stopped = True
        for vcpu in self.vcpus:
            vcpu.stop()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("machine")
        self._check_process()

    def _check_process(self) -> None:
        """KVM serves the process alone that made the machine, and threads stay behind there."""
        if os.getpid() != self._maker:
            raise UsageError(
                f"this machine was made in another process, {self._maker}: make one in this process"
            )


def _refuse(modules: Sequence[object], name: str) -> None:
    if modules:
        raise UsageError(f"{name} is no multiboot kernel: it takes no modules")


def _command_line(text: str) -> bytes:
    data = encode(text)
    if len(data) > layout.COMMAND_LINE_SIZE:
        raise UsageError(f"the command line is {layout.COMMAND_LINE_SIZE - 1} bytes at most")
    return data
