"""Chromium without a window, and pages that report on themselves in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

# The images are made before the page's load event, which waits for them.
PROBE = """
<script>
const errors = [];
addEventListener("error", event => errors.push(event.message));
addEventListener("securitypolicyviolation", event => errors.push(event.violatedDirective));
const all = selector => [...document.querySelectorAll(selector)];
const box = element => element.getBoundingClientRect();
const images = all("image").map(element => {
  const image = new Image();
  image.src = element.href.baseVal;
  return image;
});
const outside = chart => [...chart.querySelectorAll("text")].filter(
  text => box(text).left < box(chart).left || box(text).right > box(chart).right
).length;
addEventListener("load", () => {
  document.title = JSON.stringify({
    images: images.length,
    decoded: images.filter(image => image.complete && image.naturalWidth > 0).length,
    dangling: all("use").filter(use => !document.querySelector(use.href.baseVal)).length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    MEASURES
    errors,
  });
});
</script>
"""


class Browser:
    """Runs Chromium, with a profile of its own."""

    def __init__(self, program: str, profile: Path) -> None:
        self.program = program
        quiet = [f"--disable-{part}" for part in ("gpu", "quic", "background-networking", "component-update", "sync")]
        self._command = [program, "--headless=new", "--no-sandbox", "--no-first-run", "--hide-scrollbars", *quiet]
        self._command += [f"--user-data-dir={profile}", "--virtual-time-budget=5000"]

    @staticmethod
    def find() -> str | None:
        return next(filter(None, map(shutil.which, NAMES)), None)

    def run(self, page: Path, *options: str) -> str:
        """Open a page, and return what the browser prints."""
        command = [*self._command, *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    def probe(self, html: str, path: Path, width: int, **measures: str) -> dict[str, Any]:
        """Render a copy of the page that measures itself: what every page is asked, and expressions of JavaScript.

        These may use `all(selector)`, `box(element)` and `outside(chart)`, which counts the texts that leave a chart.
        """
        allowed = html.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
        script = PROBE.replace("MEASURES", "".join(f"{name}: {value}," for name, value in measures.items()))
        path.write_text(allowed.replace("</body>", script + "</body>"), encoding="utf-8")
        dom = self.run(path, "--dump-dom", f"--window-size={width},900")
        found = re.search("<title>(.*?)</title>", dom)
        assert found is not None, dom[:2000]
        report: dict[str, Any] = json.loads(found[1])
        return report
