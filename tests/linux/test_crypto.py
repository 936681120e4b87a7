"""The kernel's own tests of its cryptography: SSE, AVX2, AES, PCLMUL, SHA and BMI2 in CPL 0.

Each algorithm is tested with known answers as it comes, in many lengths, alignments and
pieces. `tcrypt` has every mode of operation made and tested that has test vectors.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from console import PROMPT, Console

from pykvm.bench import linux, stock

pytestmark = pytest.mark.timeout(300)
FOR_X86 = "arch/x86/crypto"
MODES = {
    "gcm(aes)",
    "xts(serpent)",
    "rfc3686(ctr(aes))",
    "hmac(sha512)",
    "cmac(aes)",
}  # of tcrypt's
NOT_BUILT = "-2"  # ENOENT: this kernel has no such algorithm


def test_the_kernels_cryptography_passes_its_own_tests(
    kernel: stock.Stock, crypto_initrd: Path
) -> None:
    base = f"/lib/modules/{kernel.modules.name}/kernel"
    modules = [path.name.split(".")[0] for path in (kernel.modules / "kernel" / FOR_X86).iterdir()]
    with Console(linux.pykvm_command(kernel.kernel, crypto_initrd)) as console:
        console.wait_for(PROMPT)
        console.run("depmod && echo /bin/modprobe > /proc/sys/kernel/modprobe")
        for module in sorted(modules):
            console.run(f"modprobe {module}")
        # It ends with EAGAIN, so that it can be loaded again.
        console.run(f"insmod {base}/crypto/tcrypt.ko*; true", timeout_s=200)
        drivers = read_drivers(console.run("cat /proc/crypto"))
        log = console.run("dmesg")
        console.send("poweroff -f\n")
        assert console.end() == 0, console.tail()
    assert {driver["name"] for driver in drivers} >= MODES
    assert {driver["module"] for driver in drivers} >= {name.replace("-", "_") for name in modules}
    assert [driver for driver in drivers if driver["selftest"] != "passed"] == []
    failures = re.findall(r"alg: self-tests for (.*) failed \(rc=(.*)\)", log)
    assert [failure for failure in failures if failure[1] != NOT_BUILT] == []
    assert "alg: self-tests for CTR-KDF (hmac(sha256)) passed" in log


def read_drivers(text: str) -> list[dict[str, str]]:
    """The paragraphs of /proc/crypto."""
    paragraphs = (re.findall(r"^(\w+) +: (.*)$", each, re.M) for each in text.split("\n\n"))
    return [dict(fields) for fields in paragraphs if fields]
