"""What the README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def test_the_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    examples = [block for block in blocks if "def test_" not in block]
    assert len(examples) == 3
    names: dict[str, object] = {}
    exec("\n".join(examples), names)
    assert capsys.readouterr().out.startswith("b'A'\nin ")
    names["vm"].close()  # type: ignore[attr-defined]


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((docs/[^)]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
