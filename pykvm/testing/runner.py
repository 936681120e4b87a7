"""Running guests for tests: machines that stay until the test is over, and their reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from pykvm.errors import PykvmError, UsageError
from pykvm.guest import Guest, load_guest, parse_guest
from pykvm.loader import SOURCE_SUFFIXES, read_image
from pykvm.loader.image import Image, Mode
from pykvm.machine import Machine
from pykvm.probe import probe
from pykvm.report import render
from pykvm.result import Result
from pykvm.text import TEXT, printable
from pykvm.trace import Trace

TIMEOUT_S = 10.0
OUTPUT_LENGTH = 2000


class GuestRunner:
    """Makes machines and runs guests on one backend; closes them all at the end.

    Args:
        backend: where its machines run.

    Attributes:
        machines: all of them, oldest first.
    """

    def __init__(self, backend: str = "auto") -> None:
        self.backend = backend
        self.machines: list[Machine] = []

    def machine(self, **options: Any) -> Machine:
        """A new machine.

        Args:
            options: those of `pykvm.VM`.
        """
        return self._keep(Machine(**{"backend": self.backend} | options))

    def load(
        self,
        guest: str | Path | Guest | Image,
        *,
        mode: Mode | str | None = None,
        load: int | None = None,
        **options: Any,
    ) -> Machine:
        """A machine with a guest loaded, not run yet.

        Args:
            guest: source text or the path of a `.S` file, either with or without a head
                block; what `load_guest` made of one; the path of an ELF file, multiboot
                kernel or flat binary; or an image.
            mode, load: how a guest is entered and where it goes, in the place of what the
                head block or the file says; not for an image.
            options: those of `pykvm.VM`, in the place of what the head block says.
        """
        opened = _open(guest, mode, load)
        if isinstance(opened, Image):
            machine = self.machine(**options)
            machine.load(opened)
            return machine
        self._require(opened)
        return self._keep(opened.machine(**{"backend": self.backend} | options))

    def __call__(
        self,
        guest: str | Path | Guest | Image,
        *,
        mode: Mode | str | None = None,
        load: int | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Result:
        """Run a guest on a machine of its own, which stays until the test is over.

        Args:
            guest, mode, load, options: as for `load`.
            timeout: in seconds; the head block's or TIMEOUT_S where it is not given.

        Returns:
            How the run ended; `vm` is the machine.
        """
        opened = _open(guest, mode, load)
        if timeout is None:
            timeout = opened.timeout_s if isinstance(opened, Guest) else TIMEOUT_S
        return self.load(opened, **options).run(timeout=timeout)

    @property
    def vm(self) -> Machine:
        """The newest machine.

        Raises:
            UsageError: there is none yet.
        """
        if not self.machines:
            raise UsageError("no guest has run yet")
        return self.machines[-1]

    def _keep(self, machine: Machine) -> Machine:
        machine.observer = Trace(machine)
        self.machines.append(machine)
        return machine

    def _require(self, guest: Guest) -> None:
        import pytest

        for name in guest.requires:
            if not (found := probe(name, self.backend)).ok:
                pytest.skip(f"{guest.path.name} needs {name}: {found.why}")

    def reports(self) -> list[str]:
        """What each machine came to, in words, for the reader of a failed test."""
        return [_report(machine) for machine in self.machines]

    def close(self) -> None:
        """Close all machines."""
        for machine in self.machines:
            machine.close()

    def __enter__(self) -> GuestRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open(
    guest: str | Path | Guest | Image, mode: Mode | str | None, load: int | None
) -> Guest | Image:
    if isinstance(guest, Path) and guest.suffix not in SOURCE_SUFFIXES:
        return read_image(guest, mode, load)
    if isinstance(guest, Image):
        return guest
    if isinstance(guest, str):
        guest = parse_guest(guest)
    elif isinstance(guest, Path):
        guest = load_guest(guest)
    if mode is not None:
        guest = replace(guest, mode=Mode.parse(mode))
    return guest if load is None else replace(guest, load=load)


def _report(machine: Machine) -> str:
    try:
        text = render(machine, machine.result)
    except PykvmError as error:
        text = str(error)
    output = machine.output.data[-OUTPUT_LENGTH:].decode(errors="backslashreplace")
    return f"{text}\noutput:\n{printable(output, keep=TEXT)}"
