"""A report in a real browser: it fetches nothing, complains of nothing, and shows all of itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from support.results import every_exit, turns_result

from pykvm.bench import page
from pykvm.bench.files import PAGE

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_S = 120
WIDTHS = (1200, 500)

# What the page says of itself: resources that it fetched, what its policy refused, plots without
# a size, labels that their plot cuts off, and by how much the whole is wider than the window.
PROBE = """<script>
const refused = [];
addEventListener("securitypolicyviolation", each => refused.push(each.blockedURI));
addEventListener("load", () => {
  const cut = [], hidden = [], drawings = [...document.querySelectorAll("figure svg")];
  for (const drawing of drawings) {
    const name = drawing.getAttribute("aria-label"), shown = drawing.getBoundingClientRect();
    if (shown.width < 100 || shown.height < 50) hidden.push(name);
    for (const label of drawing.querySelectorAll("[id*='-text_']")) {
      const box = label.getBoundingClientRect();
      if (box.left < shown.left - 1 || box.right > shown.right + 1 ||
          box.top < shown.top - 1 || box.bottom > shown.bottom + 1) cut.push(label.id);
    }
  }
  const said = {
    drawings: drawings.length, hidden, cut, refused,
    fetched: performance.getEntriesByType("resource").map(each => each.name),
    overflow: document.documentElement.scrollWidth - innerWidth,
  };
  document.body.dataset.said = JSON.stringify(said);
});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """One that is installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here: {', '.join(BROWSERS)}")
    return found


RESULTS = {"exits": every_exit, "turns": turns_result}


@pytest.fixture(scope="module", params=RESULTS)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind."""
    return written(tmp_path_factory.mktemp(request.param), RESULTS[request.param]())


@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_opens_in_a_browser(
    report: Path, width: int, browser: str, tmp_path: Path
) -> None:
    path = tmp_path / report.name
    path.write_bytes(report.read_bytes())
    said, log = opened(browser, path, width)
    assert said["drawings"] == path.read_text().count("<figure>") > 0
    lists = ("hidden", "cut", "refused", "fetched")
    assert {name: said[name] for name in lists} == {name: [] for name in lists}
    assert said["overflow"] <= 0
    assert "CONSOLE" not in log


def test_a_reference_to_elsewhere_is_refused_and_seen(browser: str, tmp_path: Path) -> None:
    """The test above would notice one."""
    path = written(tmp_path, turns_result())
    path.write_text(path.read_text().replace("</body>", '<img src="other.png"></body>'))
    said, log = opened(browser, path, WIDTHS[0])
    assert said["refused"] == ["file"]
    assert "CONSOLE" in log


def written(directory: Path, found: dict[str, Any]) -> Path:
    """A report that says of itself how it is shown."""
    pytest.importorskip("matplotlib")
    page.write_report(directory, found)
    path = directory / PAGE
    text = path.read_text()
    assert page.POLICY in text
    text = text.replace(page.POLICY, f"{page.POLICY}; script-src 'unsafe-inline'")
    path.write_text(text.replace("</head>", f"{PROBE}</head>"))
    return path


def opened(browser: str, path: Path, width: int) -> tuple[dict[str, Any], str]:
    """What a page says of itself, and the browser's log."""
    profile = path.with_suffix(".profile")
    found = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={profile}", f"--window-size={width},1500", "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    (said,) = re.findall(r'data-said="([^"]*)"', found.stdout)
    return json.loads(unescape(said)), found.stderr
