"""What `auto` takes, and that it says so."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from pykvm import backend, host
from pykvm.errors import KvmUnavailable

MISSING = KvmUnavailable("missing", "/dev/kvm does not exist", "load kvm")


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    backend._best.cache_clear()
    backend._tell.cache_clear()
    monkeypatch.delenv(backend.VARIABLE, raising=False)


def no_kvm(why: str, assist: bool) -> backend.Backend:
    raise MISSING


def test_a_fallback_is_a_warning_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backend, "_kvm", no_kvm)
    for _ in range(3):
        assert backend.open_backend("auto").name == "emu"
    message = f"backend emu: no KVM: {MISSING}"
    assert caplog.record_tuples == [("pykvm", logging.WARNING, message)]


def test_a_fallback_is_seen_where_nobody_set_up_logging() -> None:
    program = (
        "from pykvm import backend, VM\nfrom pykvm.errors import KvmUnavailable\n"
        "def no_kvm(why, assist): raise KvmUnavailable('missing', 'it is not there', 'load it')\n"
        "backend._kvm = no_kvm\nVM().close()\nVM().close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == "backend emu: no KVM: it is not there; load it\n"


def test_a_choice_is_information(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pykvm"):
        assert backend.open_backend("auto", "instructions").name == "emu"
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "only the emulator has the clock" in record.getMessage()


def test_what_was_asked_for_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pykvm"):
        backend.open_backend("emu")
    assert caplog.records == []


@pytest.mark.skipif(host.problem() is not None, reason=str(host.problem()))
@pytest.mark.parametrize("slow", [False, True])
def test_the_reason_tells_of_a_slow_kvm(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "emulates_cpl0", lambda: slow)
    assert ("moves to pykvm's emulator" in backend.open_backend("auto").why) == slow
    assert "moves" not in backend.open_backend("auto", assist=False).why
