"""The pytest plugin: fixtures that run guests, backends to choose from, reports of failures.

Loaded into every pytest run of an environment that pykvm is installed in: machines are
imported only when a fixture makes one, and nothing here fails where KVM is absent.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING

import pytest

from pykvm import host
from pykvm.backend import BACKENDS, VARIABLE, kvm_problem

if TYPE_CHECKING:
    from pykvm.machine import Machine
    from pykvm.testing.runner import GuestRunner

CHOICES = ("auto", "all", *BACKENDS)

PROPERTY = "pykvm_backend"  # in reports, and so in JUnit's XML
RAN = ("passed", "failed", "xfailed", "xpassed")

_runner = pytest.StashKey["GuestRunner"]()
_fell_back = pytest.StashKey[str]()  # why KVM runs no machine, though it opens


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare --pykvm-backend."""
    parser.getgroup("pykvm").addoption(
        "--pykvm-backend",
        metavar="|".join(CHOICES),
        default=os.environ.get(VARIABLE, "auto"),
        help="where tests run their guests: auto is the best backend that this host offers, "
        f"all runs each test on every backend, a name insists on it (default: ${VARIABLE} or auto)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker and check the choice of backend."""
    config.addinivalue_line(
        "markers", "pykvm_backends(*names): the backends that a test's guests are for"
    )
    if _choice(config) not in CHOICES:
        raise pytest.UsageError(
            f"there is no backend {_choice(config)!r} for --pykvm-backend or ${VARIABLE}; "
            f"choose one of {', '.join(CHOICES)}"
        )


def pytest_report_header() -> str:
    """Which backends this host offers, and what kind of host it is."""
    problems = {name: problem(name) for name in BACKENDS}
    offered = [name for name in BACKENDS if not problems[name]] or ["none"]
    why = [f"no {name}: {text}" for name, text in problems.items() if text]
    kind = host.Host.read().kind
    what = f"host kind {kind} ({host.KIND_MEANINGS[kind]})" if kind else "no KVM module"
    return f"pykvm: backends: {', '.join(offered)}; {'; '.join((*why, what))}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Which backends really ran, where tests asked for one."""
    ran = Counter(name for how in RAN for name in _backends(terminalreporter.stats.get(how, ())))
    skipped = len(_backends(terminalreporter.stats.get("skipped", ())))
    if (why := config.stash.get(_fell_back, "")) and ran:
        terminalreporter.write_line(f"pykvm: no kvm: {why}")
    if ran or skipped:
        where = ", ".join(f"{name} ({count} tests)" for name, count in sorted(ran.items()))
        terminalreporter.write_line(
            f"pykvm: guests ran on {where or 'no backend'}"
            + (f"; {skipped} tests skipped" if skipped else "")
        )


def _backends(reports: Iterable[object]) -> list[str]:
    """The backend of each report of a test that asked for one."""
    properties = [each for report in reports for each in getattr(report, "user_properties", ())]
    return [value for name, value in properties if name == PROPERTY]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With --pykvm-backend all: one test for each backend."""
    if "pykvm_backend" in metafunc.fixturenames and _choice(metafunc.config) == "all":
        names = _wanted(metafunc.definition)
        metafunc.parametrize("pykvm_backend", names, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the reports of a failed test's machines while they are still there."""
    report = yield
    runner = item.stash.get(_runner, None)
    if runner is not None and report.when == "call" and report.failed:
        report.sections += [("pykvm guest", text) for text in runner.reports()]
    return report


def problem(backend: str) -> str:
    """Why a backend does not open on this host; empty where it does."""
    error = host.problem() if backend == "kvm" else None
    return str(error or "")


def trouble(backend: str) -> str:
    """The same for one that is about to be used: it may open and yet run no machine."""
    return problem(backend) or str((backend == "kvm" and kvm_problem()) or "")


@pytest.fixture
def pykvm_backend(request: pytest.FixtureRequest) -> str:
    """The backend that this test's guests run on; skips where the host offers none.

    A backend asked for by name must be there: its absence is an error.
    """
    wanted = _wanted(request.node)
    choice = getattr(request, "param", _choice(request.config))
    name, why = _choose(choice, wanted)
    if choice == "auto" and name != wanted[0] and not problem(wanted[0]):
        request.config.stash[_fell_back] = trouble(wanted[0])
    request.node.user_properties.append((PROPERTY, name))
    if why and _choice(request.config) == name:
        pytest.fail(f"--pykvm-backend {name}: {why}", pytrace=False)
    if why:
        pytest.skip(why)
    return name


def _choose(choice: str, wanted: list[str]) -> tuple[str, str]:
    """The backend to run on, and why it cannot be, if it cannot."""
    if choice == "auto":
        problems = {name: trouble(name) for name in wanted}
        offered = [name for name in wanted if not problems[name]]
        return (offered[0], "") if offered else ("none", "; ".join(problems.values()))
    if choice not in wanted:
        return "none", f"for backend {', '.join(wanted)} only"
    return choice, trouble(choice)


@pytest.fixture
def _pykvm_runner(request: pytest.FixtureRequest, pykvm_backend: str) -> Iterator[GuestRunner]:
    from pykvm.testing.runner import GuestRunner

    with GuestRunner(pykvm_backend) as runner:
        request.node.stash[_runner] = runner
        yield runner


@pytest.fixture
def vm(_pykvm_runner: GuestRunner) -> Callable[..., Machine]:
    """A factory of machines: `vm(memory="1M")`; they are closed when the test is over.

    It takes what `pykvm.VM` takes.
    """
    return _pykvm_runner.machine


@pytest.fixture
def guest(_pykvm_runner: GuestRunner) -> GuestRunner:
    """Runs guests: `guest("mov al, 5\\nout 0xf8, al").status == 5`.

    Takes source text, the Path of a file, or an image; see `pykvm.testing.GuestRunner`.
    """
    return _pykvm_runner


def _choice(config: pytest.Config) -> str:
    choice: str = config.getoption("pykvm_backend")
    return choice


def _wanted(node: pytest.Item | pytest.Collector) -> list[str]:
    """The backends that a test is for, best first."""
    marker = node.get_closest_marker("pykvm_backends")
    if marker is None or not marker.args:
        return list(BACKENDS)
    for name in marker.args:
        if name not in BACKENDS:
            raise pytest.UsageError(
                f"{node.nodeid}: there is no backend {name!r}; choose from {', '.join(BACKENDS)}"
            )
    return [name for name in BACKENDS if name in marker.args]
