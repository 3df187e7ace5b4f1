"""A page as headless Chromium shows it: what is wrong with it, and a picture of it.

`make screenshots`, `python -m tools.screenshots PAGE FOLDER`: PNGs of the first screen of the last run's report, 1280
and 400 pixels wide, light and dark.
"""

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_DEADLINE_S = 60.0
# A reader sees so many pixels of the page without scrolling.
FIRST_SCREEN = 800
# Chromium's window is at least this wide; a narrower page stands in a frame.
_LEAST_WINDOW = 500
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
)
_FRAME = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<script>addEventListener('message', event => {{ document.title = event.data; }});</script>
<iframe src="page.html" style="border:0;width:{width}px;height:{height}px"></iframe>
"""
# Sent to the frame: how high the page is, what sticks out of it, and which texts or plots lie on each other.
_PROBE = """<script>addEventListener('load', () => {
  const within = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const overlaps = [];
  const compare = (elements) => elements.forEach((one, i) => elements.slice(i + 1).forEach(other => {
    if (within(one.getBoundingClientRect(), other.getBoundingClientRect()))
      overlaps.push(`${one.textContent.trim().slice(0, 40)} | ${other.textContent.trim().slice(0, 40)}`);
  }));
  document.querySelectorAll('svg').forEach(svg => compare([...svg.querySelectorAll('text')]));
  compare([...document.querySelectorAll('h1, h2, p, details, figure, table.changes, .wide, body > pre')]);
  const cut = [...document.querySelectorAll('table.changes :is(th, td)')].filter(cell =>
    cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.textContent.trim());
  parent.postMessage(JSON.stringify({
    height: document.documentElement.scrollHeight,
    bottoms: Object.fromEntries(['h1', 'table', 'p.key'].map(name => [name, document.querySelector(name)])
      .filter(([name, element]) => element).map(([name, element]) => [name, element.getBoundingClientRect().bottom])),
    sticks_out: document.documentElement.scrollWidth > innerWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    figures: [...document.querySelectorAll('data')].map(figure => [figure.dataset.place, figure.value]),
    overlaps, cut,
  }), '*');
});</script>"""


class BrowserError(Exception):
    """There is no Chromium, or it showed no page."""


@dataclass(frozen=True)
class Seen:
    """The result of a page in Chromium.

    Attributes
    ----------
    height:
        In pixels.
    bottoms:
        The bottoms of the first heading, table and key of a plot, in pixels from the page's top; by selector.
    sticks_out:
        Whether it is wider than its window.
    overlaps:
        Texts of a plot, or parts of the page, that lie on each other.
    cut:
        Cells of the first table whose text is wider than they are.
    figures:
        Place and value of each `<data>` element.
    console:
        Lines on the console.
    """

    height: int
    bottoms: dict[str, float]
    sticks_out: bool
    dark: bool
    overlaps: list[str]
    cut: list[str]
    figures: list[tuple[str, str]]
    console: list[str]


def look_at(page: Path, width: int, *, dark: bool) -> Seen:
    """Open the page.

    Raises
    ------
    BrowserError
        When Chromium isn't there or shows nothing.
    """
    with tempfile.TemporaryDirectory(prefix="browser-") as temporary:
        result = _open(page, Path(temporary), width, 1000, dark, "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", result.stdout, re.DOTALL)
    if title is None:
        raise BrowserError(f"Chromium showed no page:\n{result.stdout[-500:]}\n{result.stderr[-2000:]}")
    seen: dict[str, Any] = json.loads(html.unescape(title[1]))
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return Seen(**{**seen, "figures": [(place, value) for place, value in seen["figures"]]}, console=console)


def take_picture(page: Path, width: int, *, dark: bool, to: Path) -> None:
    """Save a PNG of the page's first screen; errors as in `look_at`."""
    with tempfile.TemporaryDirectory(prefix="browser-") as temporary:
        taken = Path(temporary) / "taken.png"
        _open(page, Path(temporary), width, FIRST_SCREEN, dark, f"--screenshot={taken}")
        if not taken.exists():
            raise BrowserError(f"Chromium took no picture of {page}")
        with Image.open(taken) as image:
            image.crop((0, 0, width, FIRST_SCREEN)).convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(
                to, optimize=True
            )


def _open(
    page: Path, folder: Path, width: int, height: int, dark: bool, *arguments: str
) -> subprocess.CompletedProcess[str]:
    chromium = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if chromium is None:
        raise BrowserError("needs Chromium, as in: apt-get install chromium")
    (folder / "page.html").write_text(page.read_text() + _PROBE)
    (folder / "frame.html").write_text(_FRAME.format(width=width, height=height))
    return subprocess.run(
        [
            chromium,
            *_FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={max(width, _LEAST_WINDOW)},{height}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *arguments,
            (folder / "frame.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )


def main(arguments: list[str]) -> int:
    """Take the pictures. Returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=Path("perf-report/index.html"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/images"))
    options = parser.parse_args(arguments)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        for width in (1280, 400):
            for theme in ("light", "dark"):
                picture = options.folder / f"report-{width}-{theme}.png"
                take_picture(options.page, width, dark=theme == "dark", to=picture)
                print(picture)
    except (BrowserError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
