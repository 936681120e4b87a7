"""A machine: its life from first to last, and the loop that takes exits and goes on."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import BinaryIO
from weakref import WeakMethod

from pykvm import layout
from pykvm.backend import after_failure, exitkeys, open_backend
from pykvm.backend.protocol import Backend, Vcpu, Vm
from pykvm.backend.routes import NUMBER_MASK, VALUE_SHIFT, Route, Routes, Unrouted
from pykvm.bus import Bus
from pykvm.culprit import culprit
from pykvm.dispatch import Dispatch, HypercallHandler
from pykvm.errors import KvmError, LayoutError, PykvmError, UnclaimedAccess, UsageError
from pykvm.exits import (
    Exit,
    MsrWrite,
)
from pykvm.interrupt import HeldInterrupt
from pykvm.memory import Backing, GuestMemory, Region, parse_size
from pykvm.output import Output
from pykvm.parts import ALL_DEVICES, DEVICES, Parts
from pykvm.result import STATUS_DIED, Outcome, Result, ending
from pykvm.turn import Backlog
from pykvm.virtio.board import Board
from pykvm.worker import READ, Worker

EVENTS = ("exit", "eventfd")  # how virtio devices are notified and interrupt
MAX_CPUS = 64
MAX_TIMEOUT_S = 1e9
NS_PER_S = 1_000_000_000
_BACKINGS = {each.value: each for each in Backing}
RESET_RIP = 0xFFF0  # Intel SDM vol. 3A, table 9-1

# Sees each exit after it was handled and before the guest goes on: the processor, the exit,
# and what a read was answered with (None for other exits, and where the guest takes a fault).
Observer = Callable[[Vcpu, Exit, int | bytes | None], None]


class Machine(Parts):
    """A virtual machine with memory, processors, buses and devices.

    Args:
        memory: RAM in bytes or as "1M"; at least 1 MiB, whole pages.
        backend: "auto", "kvm" or "emu", or what `open_backend` gave; `machine.backend` tells
            which it is, and why.
        cpus: number of vCPUs; more than one brings the full irqchip.
        cpu: CPU model: "host" for what the host's KVM supports, or one of
            `pykvm.cpumodel.MODELS`, which is the same everywhere ("x86-64-v3,vendor=amd" as AMD's).
        irqchip: "none", "full" (PIC, I/O APIC, local APICs) or "split" (local APICs).
        pit: the 8254 timer; brings the full irqchip.
        backing: "anonymous", "memfd" or "huge".
        devices: which of DEVICES to wire, and "power": ACPI's registers and reset.
        output: a stream that the guest's output goes to as it comes.
        append: the command line.
        clock: "wall", or "instructions": the guest's time is what it executes, so that two
            runs are the same. Only the emulator can do that.
        assist: let the emulator execute what KVM refuses; None: where backend is "auto".
        exit_port: a port that ends the run, besides those of the device "exit": with status
            2 * value + 1, as QEMU's isa-debug-exit does (its own is 0x501); layout.EXIT_PORT
            gives the value itself.
        float_unclaimed: accesses that nobody claims read all ones, as on a PC, instead
            of ending the run.
        virtio_events: how virtio devices are notified and interrupt: by "exit", or by "eventfd"
            on the machine's own thread; docs/devices/virtio.md has what either costs.
        native: let consoles be answered in C; without it Python sees each of their exits.

    Raises:
        UsageError, LayoutError: an argument that cannot be.
        KvmUnavailable, MissingCapability, KvmError: the host cannot do it.
    """

    observer: Observer | None = None
    _pending: Exit | None = None
    _answered = False
    _result: Result | None = None
    _failure: BaseException | None = None
    _started_ns = 0

    def __init__(
        self,
        memory: int | str = "16M",
        *,
        backend: str | Backend = "auto",
        cpus: int = 1,
        cpu: str = "host",
        irqchip: str = "none",
        pit: bool = False,
        backing: str = "anonymous",
        devices: Sequence[str] = DEVICES,
        output: BinaryIO | None = None,
        append: str = "",
        clock: str = "wall",
        assist: bool | None = None,
        float_unclaimed: bool = False,
        native: bool = True,
        virtio_events: str = "exit",
        exit_port: int | None = None,
    ) -> None:
        if not isinstance(backend, str) and not hasattr(backend, "create_vm"):
            raise UsageError(f"a backend is a name, or what open_backend gave, not {backend!r}")
        _check_names(cpu=cpu, irqchip=irqchip, backing=backing, clock=clock, append=append)
        size_bytes = _check(memory, cpus, devices)
        if exit_port is not None and type(exit_port) is not int:
            raise UsageError(f"an exit port is a number, not {exit_port!r}")
        self._maker = os.getpid()
        self._native = native
        self.memory = GuestMemory()
        self.ports = Bus("port", 0x1_0000)
        self.mmio = Bus("mmio", 1 << 52)
        self.ports.float_unclaimed = self.mmio.float_unclaimed = float_unclaimed
        self._dispatch = Dispatch(self.ports, self.mmio)
        self.output = Output(output)
        self.append = append
        self.clock = clock
        self._lock = threading.RLock()
        self._runs = threading.Lock()
        self._routes: list[Route] = []  # of the one vCPU, while no other thread comes
        self._worker = Worker(self._lock, WeakMethod(self._fail))
        self._is_shared = cpus > 1  # more threads than one come to the devices
        eventfds = _by_eventfd(virtio_events, clock)

        self.backend = open_backend(backend, clock, assist) if isinstance(backend, str) else backend
        chips = irqchip != "none" or pit or cpus > 1
        if chips and irqchip == "none":
            irqchip = "full"
        build = partial(
            _build, clock=clock, regions=self.memory.regions, irqchip=irqchip, pit=pit,
            cpus=cpus, cpu=cpu,
        )  # fmt: skip
        try:
            self._add_memory(size_bytes, _backing(backing))
            try:
                self.vm = build(self.backend)
            except KvmError as error:
                self.backend = after_failure(backend, error)
                self.vm = build(self.backend)
        except BaseException:
            self.memory.give_back()
            raise
        self._closed = False
        is_wall = clock == "wall"
        self._clock_ns = time.monotonic_ns if is_wall else self.vm.now_ns
        self._backlog = Backlog(is_fed=is_wall and cpus > 1)
        self._board = Board(
            self.vm, self.memory, self.mmio, self._worker, doorbells=eventfds,
            irqfds=eventfds and chips and irqchip != "split",
            backlog=self._backlog, clock_ns=self._clock_ns,
        )  # fmt: skip
        self.vcpus = tuple(self.vm.vcpus)
        try:
            if exit_port is not None or "exit" in devices:
                self._wire_exits(exit_port, is_usual="exit" in devices)
            for name in devices:
                self._wire(name)
        except BaseException:
            self.close()
            raise

    def run(self, timeout: float | None = None) -> Result:
        """Run until the guest ends, dies, or `timeout` seconds are over.

        The machine can be run again afterwards, from where it stopped. Ctrl-C is held back until
        no exit is under way; another one half a second later is not.

        Raises:
            UsageError: nothing is loaded, or it runs already.
        """
        with HeldInterrupt(self._stop_all) as held:
            timeout_ns = self._start(timeout)
            others = [
                threading.Thread(target=self._run_other, args=(vcpu,), daemon=True)
                for vcpu in self.vcpus[1:]
            ]
            try:
                for thread in others:
                    thread.start()
                self._run_vcpu(self.vcpu, timeout_ns)
            finally:
                held.let_go()
                self._stop_all()
                for thread in others:
                    if thread.ident is not None:
                        thread.join()
                self._finish()
            self._raise_failure()
        return self._last_result()

    def exits(self, timeout: float | None = None) -> Iterator[Exit]:
        """Run exit by exit: `for exit in vm.exits(): …`, of a machine with one vCPU.

        Between exits the guest stands still; registers and memory can be read and written.
        A read exit may be answered with `answer`; what is left goes to the devices.
        `result` holds the end of the run once the iterator is exhausted.
        """
        if len(self.vcpus) > 1:
            raise UsageError("exits() steps a machine with one vCPU; set `observer` for more")
        timeout_ns = self._start(timeout)
        try:
            self.vcpu.begin(timeout_ns)
            yield from self._exits(self.vcpu)
        finally:
            with HeldInterrupt(self._stop_all):
                try:
                    self._leave(self.vcpu)
                finally:
                    self._finish()
        self._raise_failure()

    def answer(self, value: int | bytes, *, fault: bool = False) -> None:
        """Answer the read exit that `exits` has just given, in place of a device.

        Args:
            value: the number, or the bytes of a string form.
            fault: for an MSR access: the guest takes #GP instead.
        """
        if self._pending is None or not (
            self._pending.is_read or isinstance(self._pending, MsrWrite)
        ):
            raise UsageError("there is no read exit to answer")
        self.vcpu.answer(self._pending, value, fault=fault)
        self._answered = True

    @property
    def hypercall(self) -> HypercallHandler | None:
        """Who serves hypercalls: `vm.hypercall = lambda call: call.args[0] + 1`.

        It gets each `Hypercall` under the machine's lock, whichever processor it comes from, and
        returns what the guest finds in RAX. None, and the absence of a handler, are -1000
        (KVM_ENOSYS), as KVM answers what it does not know.
        """
        return self._dispatch.hypercall

    @hypercall.setter
    def hypercall(self, handler: HypercallHandler | None) -> None:
        self._dispatch.hypercall = handler

    def feed(self, data: bytes) -> int:
        """Send input to the serial port; any thread may do so, also during a run.

        A machine without one takes it to the first virtio console.

        Returns:
            How many bytes were taken; offer the rest again later.

        Raises:
            UsageError: the machine has neither, or these are no bytes.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise UsageError(f"a guest is fed bytes, not {data!r}")
        with self._lock:
            self._check_open()
            if (port := self.serial or self.console) is None:
                raise UsageError("this machine has no serial port and no console to feed")
            return port.feed(data)

    def post(self, call: Callable[[], None], delay_s: float = 0.0) -> None:
        """Run `call` soon, or after a delay, on the machine's own thread and under its lock.

        It is how another thread changes what devices see while a guest runs. What the call
        raises ends the run.
        """
        self._check_open()
        self._share()
        self._worker.post(call, delay_s)

    def watch(self, fd: int, callback: Callable[[], None], events: int = READ) -> None:
        """Run `callback` like `post` whenever a file is ready; see `Worker.watch`."""
        self._check_open()
        self._share()
        self._worker.watch(fd, callback, events)

    def unwatch(self, fd: int) -> None:
        """End a watch."""
        self._worker.unwatch(fd)

    def _share(self) -> None:
        """From now on another thread comes to the devices: no access goes by without the lock."""
        if not self._is_shared:
            self._is_shared = True
            self._routes[:] = map(self._locked, self._routes)

    def stop(self) -> None:
        """End the run under way, or the next one; any thread may call it."""
        self._check_open()
        self._stop_all()

    @property
    def result(self) -> Result:
        """How the last run ended.

        Raises:
            UsageError: no run has ended yet.
        """
        return self._last_result()

    # The loop.

    def _start(self, timeout: float | None) -> int | None:
        """Begin a run; `_finish` ends it. Returns its timeout in nanoseconds."""
        self._check_open()
        if self.image is None and self.registers.rip == RESET_RIP:
            raise UsageError("nothing is loaded; call load() first")
        timeout_ns = _nanoseconds(timeout)
        if not self._runs.acquire(blocking=False):
            raise UsageError("this machine runs already; stop() ends that run")
        self.memory.is_new = False
        self._ending = self._result = None
        self._started_ns = time.monotonic_ns()
        deadline_ns = None if timeout_ns is None else self._started_ns + timeout_ns
        self._backlog.deadline_ns = deadline_ns
        return timeout_ns

    def _finish(self) -> None:
        for vcpu in self.vcpus:
            vcpu.end()
        self._backlog.is_stopped = False
        self._runs.release()

    def _run_vcpu(self, vcpu: Vcpu, timeout_ns: int | None) -> None:
        vcpu.begin(timeout_ns)
        try:
            result = self._serve_observed(vcpu) if self.observer else self._serve(vcpu)
        finally:
            vcpu.end()
        with self._lock:
            # Ctrl-C stops all: one that ended by itself meanwhile tells more.
            if self._result is None or self._result.outcome is Outcome.INTERRUPTED:
                self._result = result
                self._stop_all()

    def _run_other(self, vcpu: Vcpu) -> None:
        """Run until another processor ends the run: the first one minds the time."""
        try:
            self._run_vcpu(vcpu, None)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error  # the first tells most
        self._stop_all()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _serve(self, vcpu: Vcpu) -> Result:
        """Take an exit, offer it to the bus, go on.

        An access that was answered once is answered by one look-up from then on.
        """
        vcpu.share_registers(False)
        routes = Routes(vcpu.entry)
        (enter, native), mask, shift = routes.entry, NUMBER_MASK, VALUE_SHIFT
        self._routes = by_number = routes.by_number
        while True:
            try:
                while True:
                    access = enter(native)
                    write, offset, size_bytes = by_number[access & mask]
                    write(offset, size_bytes, access >> shift)
            except Unrouted:
                key = routes.key
            except UnclaimedAccess as error:
                return self._died(vcpu, vcpu.exit(routes.key), error)
            exit = self._take(vcpu, key)
            if exit is not None:
                if (end := self._offer(vcpu, exit)) is not None:
                    return end
                if not key & exitkeys.OUTPUT_PENDING:  # that comes before what the device prints
                    self._remember(exit, vcpu, routes)

    def _remember(self, exit: Exit, vcpu: Vcpu, routes: Routes) -> None:
        """Note who answers a single access."""
        if (route := self._dispatch.route(exit, vcpu.raw)) is None:
            return
        number = routes.add(route)
        if self._is_shared and number:  # asked last: another thread may begin to share right now
            routes.by_number[number] = self._locked(route)

    def _locked(self, route: Route) -> Route:
        write, offset, size_bytes = route

        def locked(offset: int, size_bytes: int, value: int) -> None:
            with self._lock:
                write(offset, size_bytes, value)

        return locked, offset, size_bytes

    def _serve_observed(self, vcpu: Vcpu) -> Result:
        """The same, showing each exit to the observer."""
        vcpu.share_registers(True)
        end = None
        while end is None:
            if (exit := self._take(vcpu, vcpu.enter())) is not None:
                end = self._offer(vcpu, exit)
                self._observe(vcpu, exit, end)
        return end

    def _observe(self, vcpu: Vcpu, exit: Exit, end: Result | None) -> None:
        if self.observer is not None:
            with self._lock:
                self.observer(vcpu, exit, vcpu.answered(exit) if end is None else None)

    def _exits(self, vcpu: Vcpu) -> Iterator[Exit]:
        vcpu.share_registers(True)
        while self._result is None:
            with HeldInterrupt(self._stop_all):
                exit = self._step(vcpu)
            if exit is not None:
                yield exit

    def _step(self, vcpu: Vcpu) -> Exit | None:
        """Go on to the next exit; None where there is none yet, or no more."""
        if (before := self._pending) is not None:
            if (exit := self._unanswered()) is not None:
                self._result = self._offer(vcpu, exit)
            self._observe(vcpu, before, self._result)
            if self._result is not None:
                return None
        self._pending = self._take(vcpu, vcpu.enter())
        return self._pending

    def _unanswered(self) -> Exit | None:
        """The exit that was given, if the user left it to the devices."""
        exit, self._pending = self._pending, None
        was_answered, self._answered = self._answered, False
        return None if was_answered else exit

    def _leave(self, vcpu: Vcpu) -> None:
        """The user has had enough: a device still has the exit that was given."""
        exit = self._unanswered()
        if exit is not None and not self._closed:
            with suppress(UnclaimedAccess), self._lock:
                self._dispatch.handle(vcpu, exit)

    def _take(self, vcpu: Vcpu, key: int) -> Exit | None:
        """The exit as a value, or None where only a signal came; collects output on the way."""
        if key & exitkeys.OUTPUT_PENDING:
            self._collect()
        if key & exitkeys.KIND_MASK != exitkeys.AGAIN:
            return vcpu.exit(key)
        if self._backlog:
            with self._lock:
                self._backlog.work_off()
        return None

    def _offer(self, vcpu: Vcpu, exit: Exit) -> Result | None:
        """Let the buses handle an exit; the result where it ends the run."""
        try:
            with self._lock:
                if self._dispatch.handle(vcpu, exit):
                    return None
        except UnclaimedAccess as error:
            return self._died(vcpu, exit, error)
        return self._make(vcpu, exit, *ending(exit, self._ending))

    def _died(self, vcpu: Vcpu, exit: Exit, error: UnclaimedAccess) -> Result:
        found = culprit(vcpu, self.memory, exit)
        if found is not None:
            error.locate(found.address, str(found))
        return self._make(vcpu, exit, Outcome.DIED, STATUS_DIED, str(error), error)

    def _make(
        self, vcpu: Vcpu, exit: Exit, outcome: Outcome, status: int, reason: str,
        error: PykvmError | None = None,
    ) -> Result:  # fmt: skip
        self._collect()
        counts: Counter[str] = Counter()
        for each in self.vcpus:
            counts.update(each.exit_counts())
        return Result(
            outcome=outcome,
            status=status,
            reason=reason,
            exit=exit,
            vcpu=vcpu.index,
            error=error,
            output=bytes(self.output.data),
            output_dropped_bytes=self.output.dropped_bytes,
            exits=dict(counts),
            native_exits=sum(each.native_count for each in self.vcpus),
            assist_entries=sum(each.assisted[0] for each in self.vcpus),
            assist_instructions=sum(each.assisted[1] for each in self.vcpus),
            wall_ns=time.monotonic_ns() - self._started_ns,
        )

    def _last_result(self) -> Result:
        if self._result is None:
            raise UsageError("no run has ended yet")
        return self._result

    def _collect(self) -> None:
        if self._take_console is not None and (data := self._take_console()):
            self.output.write(data)

    # The end.

    def close(self) -> None:
        """Give memory and file descriptors back. Calling it again does nothing.

        Any thread may close a machine, also while it runs: whatever others do with it completes
        or raises ClosedError.
        """
        if os.getpid() != self._maker:  # a copy, in a forked child: it is given back with that
            self._closed = True
            return
        self._worker.close()  # its calls take the lock
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._board.close()
            self.vm.detach()
            self.memory.give_back()  # before the VM, which costs the kernel far less
            self.vm.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()


def _build(
    backend: Backend,
    clock: str,
    regions: Sequence[Region],
    irqchip: str,
    pit: bool,
    cpus: int,
    cpu: str,
) -> Vm:
    """What the backend has of a machine: memory, chips, processors."""
    if irqchip == "none":
        return backend.create_vm(clock, regions, cpu)
    vm = backend.create_vm(clock, regions)
    try:
        vm.create_irqchip(irqchip)
        if pit:
            vm.create_pit()
        for index in range(cpus):
            vm.create_vcpu(index, cpu, cpus)
    except BaseException:
        vm.close()
        raise
    return vm


def _check_names(**values: str) -> None:
    for name, value in values.items():
        if not isinstance(value, str):
            raise UsageError(f"{name} is a text, not {value!r}")


def _check(memory: int | str, cpus: int, devices: Sequence[str]) -> int:
    size_bytes = parse_size(memory)
    if not layout.MIN_RAM_SIZE <= size_bytes <= layout.MAX_RAM_SIZE:
        least, most = layout.MIN_RAM_SIZE >> 20, layout.MAX_RAM_SIZE >> 30
        raise LayoutError(f"memory is {least}M at least and {most}G at most, not {memory}")
    if size_bytes % layout.PAGE_SIZE:
        raise LayoutError(f"memory is a multiple of 4 KiB, not {memory}")
    if type(cpus) is not int or not 1 <= cpus <= MAX_CPUS:
        raise UsageError(f"a machine has 1 to {MAX_CPUS} CPUs, not {cpus}")
    if isinstance(devices, str) or not isinstance(devices, Iterable):
        raise UsageError(f"devices is a sequence of names, not {devices!r}")
    for name in devices:
        if name not in ALL_DEVICES:
            names = ", ".join(ALL_DEVICES)
            raise UsageError(f"there is no device {name!r}; choose from {names}")
    return size_bytes


def _backing(name: str) -> Backing:
    if name not in _BACKINGS:
        names = ", ".join(_BACKINGS)
        raise UsageError(f"there is no backing {name!r}; choose one of {names}")
    return _BACKINGS[name]


def _by_eventfd(events: str, clock: str) -> bool:
    if events not in EVENTS:
        raise UsageError(f"virtio events go by {' or '.join(EVENTS)}, not {events!r}")
    if events == "eventfd" and clock != "wall":
        raise UsageError("eventfds come when a thread has its turn: not by a clock of instructions")
    return events == "eventfd"


def _nanoseconds(timeout: float | None) -> int | None:
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or not 0 < timeout < MAX_TIMEOUT_S:
        raise UsageError(f"a timeout is more than 0 and less than {MAX_TIMEOUT_S} s, not {timeout}")
    return int(timeout * NS_PER_S)
