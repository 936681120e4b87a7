"""pykvm on a host of kind 2: kvm_amd with nested paging inside QEMU's AMD-V.

`ci/test --nested` runs it: half an hour on two quiet processors. docs/testing.md has its last
result.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from machine import Run, fresh, run
from make import BUILD, PROJECT, Host, build

from pykvm.assembly import keystone_process
from pykvm.guest import load_guest

FAULTS = Path(__file__).with_name("faults.toml")
UNIT = (
    "kvm_cpuid", "kvm_system", "machine", "run", "lifetime", "state", "slots", "dirty", "debug",
    "irq", "ioevents", "msr_exits", "clock", "closing", "pending", "cpumodel", "probe", "timeout",
    "endless",
)  # fmt: skip
TESTS = (
    "tests/conformance/test_guests.py",
    "tests/conformance/test_privileged.py",
    "tests/conformance/test_whole_state.py",
    "tests/fuzz/test_random_guests.py",
    *(f"tests/unit/test_{name}.py" for name in UNIT),
    "tests/nested/inside_host.py",
)
SHADOWED = (
    "tests/conformance/test_guests.py",
    "tests/conformance/test_privileged.py",
    "tests/fuzz/test_random_guests.py",
)

pytestmark = pytest.mark.timeout(6 * 3600)


@pytest.fixture(scope="session")
def nested_host(request: pytest.FixtureRequest) -> Host:
    """Made only where it is asked for: that takes minutes."""
    if not request.config.getoption("nested"):
        pytest.skip("--nested runs it")
    return build()


@pytest.mark.parametrize("npt", [True, False], ids=["npt", "shadow"])
def test_tests_pass_on_a_host_inside_qemu(
    npt: bool, nested_host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    share = fresh(BUILD / "share")
    (share / "assembled.json").write_text(json.dumps(assembled()))
    by_fault = tomllib.loads(FAULTS.read_text())
    faults = {name: fault for fault, names in by_fault.items() for name in names}
    result = run(nested_host, share, list(TESTS if npt else SHADOWED), faults, npt)
    with capsys.disabled():
        print(summary(result))
    assert result.outcomes, result.output[-2000:] or (share / "console.txt").read_text()[-2000:]
    assert not result.hung
    assert not result.named("failed")
    assert (share / "status").exists(), "the tests did not come to their end"


def summary(result: Run) -> str:
    """The counts, each failure and each reason to skip."""
    counts = {how: len(result.named(how)) for how in ("passed", "failed", "skipped")}
    lines = [f"\n{counts}, {len(result.hung)} hung the host, {result.boots} boots"]
    lines += [f"HUNG {name}" for name in result.hung]
    lines += [f"FAILED {name}\n{why}" for name, why in result.named("failed").items()]
    lines += [f"SKIPPED {name}: {why}" for name, why in result.named("skipped").items()]
    return "\n".join(lines)


def assembled() -> dict[str, list[object]]:
    """keystone's answers to all that the guests' files ask: it is slow inside."""
    answers: dict[str, list[object]] = {}
    ask = keystone_process.ask

    def noting(bits: int, texts: list[str], *limits: float) -> list[keystone_process.Reply]:
        replies = ask(bits, texts, *limits)
        for text, reply in zip(texts, replies, strict=True):
            answers[f"{bits} {text}"] = list(reply)
        return replies

    keystone_process.ask = noting
    try:
        for path in [*(PROJECT / "guests").glob("*.S"), *(PROJECT / "tests").rglob("*.S")]:
            load_guest(path, include_dirs=[PROJECT]).image()
    finally:
        keystone_process.ask = ask
    return answers
