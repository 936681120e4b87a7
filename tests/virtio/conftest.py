"""What tests of virtqueues share."""

from __future__ import annotations

import pytest

from pykvm.virtio.walk import Walk


@pytest.fixture(params=[True, False], ids=["c", "python"])
def each_walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rings are walked in C, and by the reference."""
    monkeypatch.setattr(Walk, "wanted", request.param)
