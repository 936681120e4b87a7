"""What a result depends on: the machine, its kernel, and what else went on meanwhile.

Everything is read from /proc and /sys, nothing is tried; and with what the interpreter has
loaded anyway, because what a process has mapped makes KVM_CREATE_VM slower.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pykvm.errors import UsageError
from pykvm.host import KIND_MEANINGS, Host

# Of /proc/cpuinfo: what decides the way of an exit, of a page walk, or of the clock.
_FLAGS = """
    vmx svm hypervisor ept vpid npt avic vnmi vgif flexpriority tpr_shadow apicv pml ept_ad
    ept_1gb constant_tsc nonstop_tsc tsc_known_freq tsc_reliable tsc_adjust tsc_deadline_timer
    rdtscp arat x2apic pcid invpcid pti ibrs ibpb stibp ibrs_enhanced ssbd md_clear flush_l1d
    pdpe1gb la57 smep smap umip xsave xsaves fsgsbase
"""
STEAL_PERCENT_MAX = 1.0
STEP_NS_MAX = 1000
FINE_CLOCKS = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "xen")
_CLOCKS_OF = {"kvm-clock": "KVM", "hyperv_clocksource_tsc_page": "Hyper-V", "xen": "Xen"}
_STEAL, _FIELDS = 7, 8  # of a line of /proc/stat, proc(5): what follows is counted twice
_STEPS = 200


@dataclass(frozen=True)
class Moment:
    """What changes while a measurement runs.

    Attributes:
        load: over 1, 5 and 15 minutes.
        steal, total: ticks that the hypervisor gave to others, and all, of these processors.
    """

    load: tuple[float, ...]
    steal: int
    total: int

    @classmethod
    def now(cls, root: Path, cpus: frozenset[int]) -> Moment:
        """As the kernel counts it."""
        load = tuple(float(each) for each in _text(root / "proc/loadavg").split()[:3])
        names = {f"cpu{cpu}" for cpu in cpus}
        lines = [line.split() for line in _text(root / "proc/stat").splitlines()]
        ticks = [[int(each) for each in line[1:]] for line in lines if line and line[0] in names]
        return cls(
            load,
            sum(each[_STEAL] for each in ticks if len(each) > _STEAL),
            sum(sum(each[:_FIELDS]) for each in ticks),
        )


class Environment:
    """The record of one run, from when it is made until `end`.

    Attributes:
        backend: that is measured; "" where a bench has no choice.
        cpus: on which this process may run.
    """

    def __init__(self, backend: str = "", root: Path = Path("/")) -> None:
        self.backend = backend
        self.cpus = frozenset(os.sched_getaffinity(0))
        self._root = root
        self._time_s = time.time()
        self._host = Host.read(root)
        self._cpu = _first_cpu(root / "proc/cpuinfo")
        self._clock = _clock(root / "sys/devices/system/clocksource/clocksource0")
        self._before = self._after = Moment.now(root, self.cpus)

    @property
    def pinned(self) -> bool:
        """Whether there is but one processor to run on."""
        return len(self.cpus) == 1

    @property
    def steal_percent(self) -> float:
        """Of the time until `end`, on these processors."""
        total = self._after.total - self._before.total
        return 100 * (self._after.steal - self._before.steal) / total if total > 0 else 0.0

    def end(self) -> None:
        """Read again what changes."""
        self._after = Moment.now(self._root, self.cpus)

    def warnings(self) -> list[str]:
        """What spoils the figures, and what mends it: a line each."""
        return list(self._warnings())

    def _warnings(self) -> Iterator[str]:
        if (governor := self._governor()) not in ("", "performance"):
            yield (
                f"the frequency governor is {governor!r}, so the clock rate varies: "
                "cpupower frequency-set -g performance"
            )
        if self._smt() == "on":
            yield "SMT is on: what runs on the sibling takes from this core; switch it off or idle"
        if self.steal_percent > STEAL_PERCENT_MAX:
            yield f"the hypervisor took {self.steal_percent:.1f} % of the time for others"
        count = _count(self._root)
        loads = (each.load[0] for each in (self._before, self._after) if each.load)
        if (load := next((each for each in loads if each > count / 2), None)) is not None:
            yield f"the load was {load:.1f} on {count} processors: stop what else runs"
        source, step_ns = self._clock["source"], self._clock["step_ns"]
        if (source and source not in FINE_CLOCKS) or step_ns > STEP_NS_MAX:
            yield f"the clock {source or 'of this kernel'} is coarse: it steps by {step_ns} ns"
        if not self.pinned:
            yield "not pinned: the scheduler may move the guest in the middle; use --pin CPU"

    def as_dict(self) -> dict[str, Any]:
        """The record; docs/measuring.md describes the keys."""
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._time_s)),
            "pykvm": _version(),
            "python": sys.version.split()[0],
            "implementation": sys.implementation.name,
            "backend": self.backend,
            "cpu": self._cpu_dict(),
            "mitigations": _mitigations(self._root / "sys/devices/system/cpu/vulnerabilities"),
            "kernel": self._host.kernel,
            "kvm": self._kvm_dict(),
            "host": self._host_dict(),
            "memory": self._memory_dict(),
            "clock": self._clock,
            "cpus": sorted(self.cpus),
            "pinned": self.pinned,
            "load": {"before": self._before.load, "after": self._after.load},
            "steal": {
                "before_ticks": self._before.steal,
                "after_ticks": self._after.steal,
                "percent": round(self.steal_percent, 3),
            },
            "warnings": self.warnings(),
        }

    def _cpu_dict(self) -> dict[str, Any]:
        cpu = self._cpu
        flags = f"{cpu.get('flags', '')} {cpu.get('vmx flags', '')}".split()
        return {
            "model": cpu.get("model name", "unknown"),
            "vendor": cpu.get("vendor_id", ""),
            "family": cpu.get("cpu family", ""),
            "number": cpu.get("model", ""),
            "stepping": cpu.get("stepping", ""),
            "microcode": cpu.get("microcode", ""),
            "flags": sorted(set(_FLAGS.split()) & set(flags)),
            "count": _count(self._root),
            "governor": self._governor(),
            "smt": self._smt(),
        }

    def _kvm_dict(self) -> dict[str, Any]:
        modules = self._root / "sys/module"
        parameters = {
            f"{module}.{path.name}": text
            for module in self._host.modules
            for path in sorted((modules / module / "parameters").glob("*"))
            if (text := _text(path))
        }
        return {
            "module": self._host.module,
            "parameters": parameters,
            "paging": self._host.paging,
        }

    def _host_dict(self) -> dict[str, Any]:
        kind = self._host.kind
        return {
            "kind": kind,
            "meaning": KIND_MEANINGS.get(kind, "no KVM module shows") if kind else "no KVM",
            "nested": self._host.nested,
            "hypervisor": self._hypervisor() if self._host.nested else "",
        }

    def _hypervisor(self) -> str:
        """What the firmware's tables or the kernel call it, or what its clock tells."""
        named = [
            _text(self._root / "sys" / name)
            for name in (
                "hypervisor/type",
                "class/dmi/id/sys_vendor",
                "class/dmi/id/product_name",
            )
        ]
        clocks = [name for clock, name in _CLOCKS_OF.items() if clock in self._clock["available"]]
        return " ".join(each for each in (*named, *clocks) if each) or "unnamed"

    def _memory_dict(self) -> dict[str, Any]:
        return {
            "huge_pages": [each._asdict() for each in self._host.huge_pages],
            "transparent_huge_pages": self._host.transparent_huge_pages,
        }

    def _governor(self) -> str:
        """Of the processors that this runs on; "" where the kernel governs none."""
        cpus = self._root / "sys/devices/system/cpu"
        found = {_text(cpus / f"cpu{cpu}/cpufreq/scaling_governor") for cpu in self.cpus}
        return " ".join(sorted(found - {""}))

    def _smt(self) -> str:
        """ "on", "off", or "" where the kernel does not say."""
        active = _text(self._root / "sys/devices/system/cpu/smt/active")
        return {"1": "on", "0": "off"}.get(active, "")


def pin(cpu: int) -> None:
    """Keep this process, and what it starts, on one processor.

    Raises:
        UsageError: it must not run there, or there is no such processor.
    """
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except (OSError, OverflowError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        choices = ", ".join(str(each) for each in sorted(allowed))
        raise UsageError(
            f"cannot pin to processor {cpu}: {why}; this process may use {choices}"
        ) from None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pykvm-hv")
    except PackageNotFoundError:
        return "unknown"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _first_cpu(path: Path) -> dict[str, str]:
    first = _text(path).split("\n\n", 1)[0]
    fields = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}


def _count(root: Path) -> int:
    """Of processors that the kernel runs on."""
    lines = _text(root / "proc/cpuinfo").splitlines()
    return sum(line.startswith("processor") for line in lines) or 1


def _mitigations(directory: Path) -> Mapping[str, str]:
    return {path.name: text for path in sorted(directory.glob("*")) if (text := _text(path))}


def _clock(directory: Path) -> dict[str, Any]:
    """The clock that batches are timed with."""
    return {
        "source": _text(directory / "current_clocksource"),
        "available": _text(directory / "available_clocksource").split(),
        "resolution_ns": round(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9),
        "step_ns": min(_steps()),
    }


def _steps() -> Iterator[int]:
    """How far it goes from one reading to the next that differs, in nanoseconds."""
    for _ in range(_STEPS):
        first_ns = now_ns = time.perf_counter_ns()
        while now_ns == first_ns:
            now_ns = time.perf_counter_ns()
        yield now_ns - first_ns
