"""The façade: every public name is there, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pykvm


@pytest.mark.parametrize("name", pykvm.__all__)
def test_a_public_name_can_be_used(name: str) -> None:
    assert getattr(pykvm, name) is not None
    assert name in dir(pykvm)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'machina'"):
        _ = pykvm.machina  # type: ignore[attr-defined]


def test_loading_the_pytest_plugin_imports_no_machine() -> None:
    program = "import sys, pykvm.testing.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "pykvm.testing.plugin" in loaded
    assert not loaded & {"pykvm.machine", "pykvm._native", "cffi", "keystone", "capstone"}
