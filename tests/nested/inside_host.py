"""What only a host inside QEMU is asked: a stock kernel, and every row of `bench exits`."""
# pytest collects this file only where it is named: on the host inside QEMU.

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pykvm.bench import stock

BOOT_TIMEOUT_S = 3000


def test_a_stock_kernel_boots_under_kvm_to_a_shell(tmp_path: Path) -> None:
    kernel = next(Path("/boot").glob("vmlinuz-*"))
    initrd = tmp_path / "initrd.img"
    initrd.write_bytes(
        stock.initramfs(Path("/bin/busybox"), {}, "echo $((6 * 7)) shells; poweroff -f")
    )
    done = pykvm(
        "run", "--kernel", str(kernel), "--initrd", str(initrd), "--backend", "kvm",
        "--memory", "512M", "--append", "console=ttyS0", "--timeout", f"{BOOT_TIMEOUT_S}s",
    )  # fmt: skip
    assert stock.MARKER in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert "42 shells" in done.stdout
    assert done.returncode == 0, done.stderr


def test_every_row_of_the_exit_bench_runs(tmp_path: Path) -> None:
    path = tmp_path / "exits.json"
    done = pykvm("bench", "exits", "--quick", "--backend", "kvm", "--json", str(path))
    assert path.exists(), done.stderr
    result = json.loads(path.read_text())
    print(done.stdout)
    assert result["rows"]


def pykvm(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line's answer."""
    command = [sys.executable, "-c", "from pykvm.cli import main; raise SystemExit(main())", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=BOOT_TIMEOUT_S + 600)
