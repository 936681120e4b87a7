"""The examination behind `pykvm doctor`: what the host is, what KVM has, what guests can do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pykvm import host, probe
from pykvm.backend.kvm.system import System
from pykvm.errors import KvmUnavailable, PykvmError
from pykvm.loader.image import Mode

SCHEMA = 1  # of `as_dict`; raised when a key changes its meaning or goes
FAR_SLOWER = 50  # than the CPU: a kernel's emulator is so a thousand times


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        device: what was opened.
        found: the host as the kernel describes it.
        problem: why KVM runs no guests here; None where it does.
        api_version: of KVM; None where the device does not open.
        capabilities: what KVM_CHECK_EXTENSION says of each that pykvm uses.
        paces: a loop at CPL 0 and one at CPL 3, as measured.
        features: what was probed.
        emulator: the same loop at CPL 0 in pykvm's own emulator, which needs no KVM.
    """

    device: Path
    found: host.Host
    problem: PykvmError | None = None
    api_version: int | None = None
    capabilities: Mapping[str, int] = field(default_factory=dict)
    paces: tuple[probe.Pace, ...] = ()
    features: tuple[probe.Probe, ...] = ()
    emulator: probe.Pace | None = None

    @property
    def ok(self) -> bool:
        """Whether KVM runs guests on this host."""
        return self.problem is None

    @property
    def verdict(self) -> str:
        """All of it in one line."""
        if self.problem is not None:
            return f"KVM runs no guests here, backend emu does: {self.problem}"
        where = [f"CPL {pace.cpl} {self.place(pace)}" for pace in self.paces]
        missing = [feature.name for feature in self.features if not feature.ok]
        without = f"; without {', '.join(missing)}" if missing else ""
        return f"guests run here (host kind {self.found.kind}): {', '.join(where)}{without}"

    def on_cpu(self, pace: probe.Pace) -> bool:
        """Whether the CPU executes such code, rather than the kernel's emulator.

        That is a thousand times slower than what the CPU does run; a slow CPU is slow at both.
        """
        return pace.per_s * FAR_SLOWER > max(each.per_s for each in self.paces)

    def place(self, pace: probe.Pace) -> str:
        """Where code of that privilege level is executed."""
        return "on the CPU" if self.on_cpu(pace) else "in the kernel's emulator"

    def as_dict(self) -> dict[str, Any]:
        """The same for machines; docs/doctor.md describes the keys."""
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "verdict": self.verdict,
            "device": self._device(),
            "host": self._host(),
            "backends": {
                "kvm": {"ok": self.ok, "why": str(self.problem or "")},
                "emu": {
                    "ok": True,
                    "instructions_per_s": self.emulator and round(self.emulator.per_s),
                },
            },
            "capabilities": dict(self.capabilities),
            "measured": [
                {
                    "cpl": pace.cpl,
                    "instructions_per_s": round(pace.per_s),
                    "on_cpu": self.on_cpu(pace),
                }
                for pace in self.paces
            ],
            "features": {each.name: {"ok": each.ok, "why": each.why} for each in self.features},
        }

    def _device(self) -> dict[str, Any]:
        unavailable = self.problem if isinstance(self.problem, KvmUnavailable) else None
        return {
            "path": str(self.device),
            "api_version": self.api_version,
            "problem": unavailable and unavailable.problem,
            "remedy": unavailable and unavailable.remedy,
        }

    def _host(self) -> dict[str, Any]:
        found = self.found
        return {
            "kind": found.kind,
            "cpu": found.cpu,
            "cpus": os.cpu_count(),
            "flags": sorted(found.flags),
            "nested": found.nested,
            "kernel": found.kernel,
            "module": found.module,
            "parameters": dict(found.parameters),
            "paging": found.paging,
            "huge_pages": [
                {"size_bytes": each.size_bytes, "total": each.total, "free": each.free}
                for each in found.huge_pages
            ],
            "transparent_huge_pages": found.transparent_huge_pages,
        }


def examine(device: Path = host.DEVICE) -> Examination:
    """Look at the host, open the device, and run small guests on it and in the emulator.

    A failure is part of what is found; nothing is raised.
    """
    return replace(_examine(device), emulator=probe.measure(Mode.LONG, "emu"))


def _examine(device: Path) -> Examination:
    found = host.Host.read()
    try:
        system = System(device)
    except PykvmError as error:
        return Examination(device, found, problem=error)
    try:
        version, capabilities = system.version, system.capabilities()
    finally:
        os.close(system.fd)
    try:
        paces = (probe.measure(Mode.LONG), probe.measure(Mode.USER))
    except PykvmError as error:
        return Examination(device, found, error, version, capabilities)
    features = tuple(probe.probe(name) for name in probe.FEATURES)
    return Examination(device, found, None, version, capabilities, paces, features)
