"""What all of pykvm's own tests share."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from pykvm import host
from pykvm.backend import BACKENDS, VARIABLE
from pykvm.errors import KvmUnavailable

_problem = host.problem()

# Nothing here is judged by the time that it takes: hosts are busy.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure() -> None:
    """Hear Ctrl-C and Ctrl-\\: whoever starts the tests in the background has them ignored.

    Whoever starts them by nohup has hang-ups ignored; programs that they start do not inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run fuzzers at their full length")
    parser.addoption("--nested", action="store_true", help="run tests/nested, on a host in QEMU")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether fuzzers run at their full length."""
    return bool(request.config.getoption("full"))


@pytest.fixture
def free_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let "auto" mean what it means without PYKVM_BACKEND."""
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn: what a test shows must hold on all of them."""
    name: str = request.param
    chosen = request.config.getoption("pykvm_backend")
    if name == "kvm" and _problem is not None:
        pytest.skip(str(_problem))
    if chosen in BACKENDS and chosen != name:
        pytest.skip(f"--pykvm-backend {chosen}")
    return name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is about KVM itself needs it; everything else falls back to the emulator."""
    if _problem is not None:
        for item in items:
            if item.path.name.startswith("test_kvm_"):
                item.add_marker(pytest.mark.skip(reason=str(_problem)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Without KVM, a test that opens it skips and says why; it fails where KVM is there."""
    try:
        return (yield)
    except KvmUnavailable as error:
        if _problem is None:
            raise
        pytest.skip(str(error))
