"""A host inside QEMU that runs tests, and is booted again when it hangs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from make import Host

# QEMU's processor time between two lines of the journal; a host that only waits uses none.
QUIET_CPU_S = 400
IDLE_S = 1800
BOOTS = 12
MEMORY = "3072"


@dataclass
class Run:
    """What came of the tests: their outcomes and reasons by name, and which hung the host."""

    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    hung: list[str] = field(default_factory=list)
    boots: int = 0
    output: str = ""

    def named(self, outcome: str) -> dict[str, str]:
        """Reasons by test of one outcome."""
        return {name: why for name, (how, why) in self.outcomes.items() if how == outcome}


def run(host: Host, share: Path, arguments: list[str], faults: Mapping[str, str], npt: bool) -> Run:
    """Run pytest with these arguments there until every test has an outcome, or has hung."""
    result = Run()
    for name in ("journal.jsonl", "status"):
        (share / name).unlink(missing_ok=True)
    (share / "arguments").write_text("\n".join(arguments))
    while result.boots < BOOTS:
        result.boots += 1
        done = [*result.outcomes, *result.hung]
        (share / "job.json").write_text(json.dumps({"done": done, "faults": dict(faults)}))
        ended = _boot(host, share, npt)
        under_way = _read(share / "journal.jsonl", result)
        if ended or under_way is None:
            break
        result.hung.append(under_way)
    output = share / "output.txt"
    result.output = output.read_text(errors="replace") if output.exists() else ""
    return result


def _boot(host: Host, share: Path, npt: bool) -> bool:
    """Whether the tests came to their end; the host is ended where it hangs."""
    command = [
        host.qemu, *(word for each in host.firmware for word in ("-L", each)),
        "-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", "2", "-m", MEMORY,
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", f"file:{share / 'console.txt'}",
        "-kernel", host.kernel, "-initrd", host.initrd,
        "-append", f"console=ttyS0 quiet panic=-1 mitigations=off pykvm.npt={int(npt)}",
        *_drive(host.root), *_drive(host.work),
        "-virtfs", f"local,path={share},mount_tag=share,security_model=none",
    ]  # fmt: skip
    environment = os.environ | {"LD_LIBRARY_PATH": host.library_path}
    with subprocess.Popen([str(word) for word in command], env=environment) as qemu:
        try:
            _watch(qemu, share / "journal.jsonl")
        finally:
            qemu.kill()
    return (share / "status").exists()


def _drive(image: Path) -> tuple[str, str]:
    return "-drive", f"file={image},if=virtio,format=raw,snapshot=on"


def _watch(qemu: subprocess.Popen[bytes], journal: Path) -> None:
    """Come back when QEMU has ended, or has worked long, or waited very long, without a line."""
    seen, cpu_s, since = -1, 0.0, time.monotonic()
    while qemu.poll() is None:
        time.sleep(0.5)
        size = journal.stat().st_size if journal.exists() else 0
        if size != seen:
            seen, cpu_s, since = size, _cpu_s(qemu.pid), time.monotonic()
        elif _cpu_s(qemu.pid) - cpu_s > QUIET_CPU_S or time.monotonic() - since > IDLE_S:
            return


def _cpu_s(pid: int) -> float:
    """Processor time of a process. Source: proc_pid_stat(5), fields 14 and 15."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(journal: Path, result: Run) -> str | None:
    """Take the outcomes in; the test that was under way at the end, if one was."""
    under_way = None
    for line in journal.read_text().splitlines() if journal.exists() else []:
        entry = json.loads(line)
        if "began" in entry:
            under_way = entry["began"]
        else:
            result.outcomes[entry["ended"]] = (entry["outcome"], entry["why"])
            if under_way == entry["ended"]:
                under_way = None
    return None if under_way in result.hung else under_way


def fresh(share: Path) -> Path:
    """An empty directory to share with the host."""
    shutil.rmtree(share, ignore_errors=True)
    share.mkdir(parents=True)
    return share
