"""The pytest plugin, by running pytest on small test files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykvm import host
from pykvm.testing import plugin

# pytester forgets what a run imports; what this imports is shared by all of them.
from pykvm.testing import runner as _shared  # noqa: F401

pytest_plugins = ["pytester"]

ABSENT = "/dev/kvm does not exist; load its module"

needs_kvm = pytest.mark.skipif(bool(plugin.problem("kvm")), reason=plugin.problem("kvm"))


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plugin.VARIABLE, raising=False)


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run pytest on what `pytester` holds; without a plugin that takes long to import."""
    return pytester.runpytest_inprocess("-p", "no:hypothesispytest", *args)


@pytest.fixture
def no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without /dev/kvm, as far as the plugin sees."""
    monkeypatch.setattr(plugin, "problem", lambda name: ABSENT)


USES_GUEST = """
    def test_five(guest):
        assert guest("mov al, 5\\nout 0xf8, al").status == 5
"""


@needs_kvm
def test_guests_come_from_text_file_and_image(pytester: pytest.Pytester) -> None:
    pytester.makefile(".S", five="# /// pykvm\n# mode = 'real'\n# ///\nmov al, 5\nout 0xf8, al\n")
    pytester.makepyfile(
        USES_GUEST
        + """
    from pathlib import Path
    import pykvm

    def test_file(guest):
        assert guest(Path("five.S")).status == 5
        assert guest.vm.registers.al == 5
        assert guest.vm.image.mode.value == "real"

    def test_mode(guest):
        assert guest("mov ax, sp\\nout 0xf8, ax", mode="real").status == 0x7c00

    def test_binary(guest):
        Path("five.bin").write_bytes(bytes.fromhex("b005 e6f8"))
        assert guest(Path("five.bin"), mode="user").status == 5

    def test_image(guest):
        assert guest(pykvm.assemble("hlt"), memory="2M").outcome is pykvm.Outcome.HALT
        assert guest.vm.memory.size_bytes == 2 << 20
        assert guest(pykvm.assemble("hlt")).status == 0
        assert len(guest.machines) == 2

    def test_vm(vm):
        machine = vm(memory="1M")
        machine.load(pykvm.assemble("hlt"))
        assert machine.run(timeout=60).outcome is pykvm.Outcome.HALT
    """
    )
    result = run(pytester)
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["pykvm: guests ran on kvm (6 tests)"])


@needs_kvm
def test_machines_are_closed_at_the_end_of_their_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest, pykvm.errors
        kept = []

        def test_one(vm):
            kept.append(vm(memory="1M"))

        def test_two():
            with pytest.raises(pykvm.errors.ClosedError):
                kept[0].run()
        """
    )
    run(pytester).assert_outcomes(passed=2)


@needs_kvm
def test_a_failed_test_shows_its_guest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(guest):
            source = "mov al, 'H'\\nout 0xe9, al\\nmov rbx, 0xabc\\nin al, 0x99\\nhlt"
            assert guest(source).status == 0
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*- pykvm guest -*", "*port 0x99: no device claims it*", "*rbx*abc", "*H*"]
    )


@needs_kvm
def test_a_guest_whose_need_is_not_met_skips(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pykvm.testing.runner
        from pykvm.testing import Probe

        def test_it(guest, monkeypatch):
            missing = lambda name, backend: Probe(name, False, "not here")
            monkeypatch.setattr(pykvm.testing.runner, "probe", missing)
            guest("# /// pykvm\\n# requires = ['user-int']\\n# ///\\nhlt")
        """
    )
    result = run(pytester, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs user-int: not here"])


def test_without_kvm_tests_skip_and_say_why(pytester: pytest.Pytester, no_kvm: None) -> None:
    pytester.makepyfile(USES_GUEST)
    result = run(pytester, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["pykvm: *backends: none; no kvm: *", f"SKIPPED*{ABSENT}"])
    result.stdout.fnmatch_lines(["pykvm: guests ran on no backend; 1 tests skipped"])


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_backend_asked_for_by_name_must_be_there(
    pytester: pytest.Pytester, no_kvm: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pytester.makepyfile(USES_GUEST)
    if how == "environment":
        monkeypatch.setenv(plugin.VARIABLE, "kvm")
    result = run(pytester, *(["--pykvm-backend=kvm"] if how == "option" else []))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*--pykvm-backend kvm: {ABSENT}"])


def test_all_runs_each_test_on_every_backend(pytester: pytest.Pytester, no_kvm: None) -> None:
    pytester.makepyfile(USES_GUEST)
    result = run(pytester, "--pykvm-backend=all", "-v")
    result.assert_outcomes(skipped=len(plugin.BACKENDS))
    result.stdout.fnmatch_lines(["*test_five?kvm?*"])


@needs_kvm
def test_the_marker_says_what_a_test_is_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.pykvm_backends("kvm")
        def test_kvm(pykvm_backend):
            assert pykvm_backend == "kvm"

        @pytest.mark.pykvm_backends("kvn")
        def test_misspelt(pykvm_backend):
            pass
        """
    )
    result = run(pytester, "--strict-markers")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*there is no backend 'kvn'*"])


def test_an_unknown_backend_is_wrong_usage(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--pykvm-backend=vax")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: there is no backend 'vax'*choose one of auto, all, kvm*"])


def test_the_header_names_the_kind_of_host(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = host.Host.read
    monkeypatch.setattr(host.Host, "read", lambda: read(tmp_path))
    pytester.makepyfile("def test_nothing(): pass")
    result = run(pytester)
    result.stdout.fnmatch_lines(["pykvm: backends: *; no KVM module"])
