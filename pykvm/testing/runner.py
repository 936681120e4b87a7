"""Running guests for tests: machines that stay until the test is over, and their reports."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from pykvm.errors import PykvmError, UsageError
from pykvm.guest import Guest, load_guest, parse_guest
from pykvm.loader.image import Image
from pykvm.machine import Machine
from pykvm.probe import probe
from pykvm.report import render
from pykvm.result import Result
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

    def load(self, guest: str | Path | Guest | Image, **options: Any) -> Machine:
        """A machine with a guest loaded, not run yet.

        Args:
            guest: source text or the path of a `.S` file, either with or without a head
                block; what `load_guest` made of one; or an image.
            options: those of `pykvm.VM`, in the place of what the head block says.
        """
        if isinstance(guest, Image):
            machine = self.machine(**options)
            machine.load(guest)
            return machine
        parsed = _parse(guest)
        self._require(parsed)
        return self._keep(parsed.machine(**{"backend": self.backend} | options))

    def __call__(
        self, guest: str | Path | Guest | Image, *, timeout: float | None = None, **options: Any
    ) -> Result:
        """Run a guest on a machine of its own, which stays until the test is over.

        Args:
            guest, options: as for `load`.
            timeout: in seconds; the head block's or TIMEOUT_S where it is not given.

        Returns:
            How the run ended; `vm` is the machine.
        """
        if not isinstance(guest, Image):
            guest = _parse(guest)
            timeout = guest.timeout_s if timeout is None else timeout
        return self.load(guest, **options).run(timeout=TIMEOUT_S if timeout is None else timeout)

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


def _parse(guest: str | Path | Guest) -> Guest:
    if isinstance(guest, Guest):
        return guest
    return parse_guest(guest) if isinstance(guest, str) else load_guest(guest)


def _report(machine: Machine) -> str:
    try:
        text = render(machine, machine.result)
    except PykvmError as error:
        text = str(error)
    output = machine.output.data[-OUTPUT_LENGTH:].decode(errors="backslashreplace")
    return f"{text}\noutput:\n{output}"
