"""The report as Chromium shows it: `make test-browser`. `make test` leaves these out, since they need Chromium."""

import json
from pathlib import Path

import pytest

from servegate.report.folder import write_report
from tools.screenshots import look_at, main
from unit_tests.builders.run_documents import document, figure_at

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, document())
    return folder


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_overlaps_sticks_out_or_complains(report: Path, width: int, *, dark: bool) -> None:
    seen = look_at(report / "index.html", width, dark=dark)
    assert seen.dark is dark
    assert seen.overlaps == []
    assert not seen.sticks_out
    assert seen.console == []


def test_every_figure_in_the_page_is_the_documents(report: Path) -> None:
    made = json.loads((report / "results.json").read_text())
    figures = look_at(report / "index.html", 1280, dark=False).figures
    assert len(figures) > 60
    assert all(float(value) == figure_at(made, place) for place, value in figures)


def test_what_is_wrong_with_a_page_is_seen(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><script>console.error('no')</script><p style='width:3000px'>one</p>"
        "<p style='margin-top:-2.5em'>two</p>"
    )
    seen = look_at(bad, 400, dark=False)
    assert seen.overlaps == ["one | two"]
    assert seen.sticks_out
    assert any("no" in line for line in seen.console)


def test_pictures_are_taken_by_a_command(report: Path, tmp_path: Path) -> None:
    assert main([str(report / "index.html"), str(tmp_path / "images")]) == 0
    names = sorted(file.name for file in (tmp_path / "images").iterdir())
    assert names == [f"report-{width}-{theme}.png" for width in (1280, 400) for theme in ("dark", "light")]
