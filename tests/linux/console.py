"""The shell on a machine's serial port; the machine is a process, or in this one."""

from __future__ import annotations

import os
import queue
import re
import select
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType

import pykvm
from pykvm.bench import linux, stock
from pykvm.parts import KERNEL_DEVICES
from pykvm.result import Result
from pykvm.virtio.device import Device

PROMPT = r"/ # "


class Shell:
    """A started machine whose first process gives a shell.

    Attributes:
        said: all that came from the serial port, or as an error.
    """

    def __init__(self) -> None:
        self.said = ""
        self._looked_at = 0
        self._count = 0

    def receive(self, timeout_s: float) -> bytes:
        """The next bytes; none where there are none in time, or no more."""
        raise NotImplementedError

    def send(self, text: str) -> None:
        """Type."""
        raise NotImplementedError

    def wait_for(self, pattern: str, timeout_s: float = 90) -> re.Match[str]:
        """Read on until the pattern comes; what lies before it is not looked at again."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.compile(pattern).search(self.said, self._looked_at)):
            assert self._read(deadline - time.monotonic()), f"no {pattern!r}: {self.tail()}"
        self._looked_at = found.end()
        return found

    def _read(self, timeout_s: float) -> bool:
        data = self.receive(timeout_s) if timeout_s > 0 else b""
        self.said += data.decode(errors="replace").replace("\r", "")
        return bool(data)

    def tail(self) -> str:
        """The end of it."""
        return self.said[-2000:]

    def run(self, command: str, timeout_s: float = 60) -> str:
        """Run a command in the shell; returns what it printed. It must succeed."""
        self._count += 1
        self.send(f"echo begin-$(({self._count})); {command}; echo end-$?-$(({self._count}))\n")
        self.wait_for(f"begin-{self._count}\n")
        start = self._looked_at
        found = self.wait_for(rf"end-(\d+)-{self._count}\n", timeout_s)
        assert found[1] == "0", f"{command} failed: {self.tail()}"
        return self.said[start : found.start()]


class Console(Shell):
    """The shell of a machine in a process of its own.

    Args:
        command: what starts it, with the serial port on stdin and stdout.
    """

    def __init__(self, command: list[str]) -> None:
        super().__init__()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def receive(self, timeout_s: float) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], timeout_s)[0]:
            return b""
        return os.read(stdout.fileno(), 65536)

    def send(self, text: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(text.encode())
        stdin.flush()

    def end(self, timeout_s: float = 60) -> int:
        """Wait for the machine's own end; returns its exit status."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline - time.monotonic()):
            pass
        return self._process.wait(max(1, deadline - time.monotonic()))

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


class Inside(Shell):
    """The shell of a machine in this process, whose devices a test holds.

    Args:
        vm: with a kernel loaded, and `output` as its stream.
        output: what it was made with.
    """

    def __init__(self, vm: pykvm.VM, output: Output) -> None:
        super().__init__()
        self.vm = vm
        self._output = output
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result: Result | BaseException = self.vm.run()
        except BaseException as error:
            self._result = error
        self._output.put(b"")

    def receive(self, timeout_s: float) -> bytes:
        try:
            return self._output.get(timeout=timeout_s)
        except queue.Empty:
            return b""

    def send(self, text: str) -> None:
        data = text.encode()
        while data := data[self.vm.feed(data) :]:
            time.sleep(0.01)

    def power_off(self) -> None:
        """Switch it off, and see that it ended well."""
        self.send("poweroff -f\n")
        while self._read(60):
            pass
        self._thread.join(10)
        assert isinstance(self._result, Result), self._result
        assert self._result.status == 0, self.tail()

    def close(self) -> None:
        """End it in any case."""
        self.vm.stop()
        self._thread.join()
        self.vm.close()


class Output(queue.Queue[bytes]):
    """A stream for a machine's output that another thread can wait for."""

    def write(self, data: bytes) -> None:
        self.put(bytes(data))

    def flush(self) -> None:
        pass


def start(
    kernel: stock.Stock,
    initrd: Path,
    *devices: Device,
    backend: str = "emu",
    events: str = "exit",
    memory: str = "256M",
) -> Inside:
    """A machine with these devices, started."""
    output = Output()
    vm = pykvm.VM(
        memory=memory, backend=backend, irqchip="full", pit=True,
        devices=KERNEL_DEVICES, float_unclaimed=True, append=linux.APPEND,
        virtio_events=events, output=output,  # type: ignore[arg-type]
    )  # fmt: skip
    for device in devices:
        vm.add_virtio(device)
    vm.load_kernel(kernel.kernel, initrd)
    return Inside(vm, output)


def join_network(inside: Inside, number: int) -> None:
    """Load the network's driver, and be 10.0.0.N and fd00::N there."""
    inside.wait_for(PROMPT)
    inside.run("dmesg -n 1 && depmod && modprobe virtio_mmio && modprobe virtio_net")
    inside.run("until [ -d /sys/class/net/eth0 ]; do sleep 0.1; done")
    inside.run("echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad")
    inside.run(f"ip addr add 10.0.0.{number}/24 dev eth0 && ip link set eth0 up")
    inside.run(f"ip addr add fd00::{number}/64 dev eth0")
