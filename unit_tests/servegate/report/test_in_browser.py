"""The report as Chromium shows it: `make test-browser`. `make test` leaves these out, since they need Chromium."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from servegate.report.folder import write_report
from tools.screenshots import FIRST_SCREEN, look_at, main
from unit_tests.builders.runs.run_documents import document, figure_at
from unit_tests.builders.runs.sample_runs import identical_code, noisy_machine, slower_predict

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


@pytest.mark.parametrize("make", [slower_predict, identical_code, noisy_machine])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_first_screen_has_the_sentence_and_every_change(
    tmp_path: Path, width: int, make: Callable[[], dict[str, Any]]
) -> None:
    write_report(tmp_path, make())
    seen = look_at(tmp_path / "index.html", width, dark=False)
    assert 0 < seen.bottoms["h1"] < seen.bottoms["table"] <= FIRST_SCREEN
    assert (seen.overlaps, seen.cut, seen.sticks_out) == ([], [], False)


def test_evidence_wraps_and_long_names_do_not_push_the_change_away(tmp_path: Path) -> None:
    made = slower_predict()
    made["cells"][0] |= {
        "cell": "a_group_with_a_long_name[and_its_parameter=1000000]",
        "evidence": ["p " * 400, "x" * 400],
    }
    write_report(tmp_path, made)
    page = tmp_path / "index.html"
    page.write_text(page.read_text().replace("<details>", "<details open>"))
    seen = look_at(page, 400, dark=False)
    assert (seen.overlaps, seen.cut, seen.sticks_out) == ([], [], False)


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
        "<table class='changes' style='width:9px;table-layout:fixed'><tr><td>a_name_that_is_too_wide</table>"
    )
    seen = look_at(bad, 400, dark=False)
    assert seen.overlaps == ["one | two"]
    assert seen.sticks_out
    assert seen.cut == ["a_name_that_is_too_wide"]
    assert any("no" in line for line in seen.console)


def test_pictures_are_taken_by_a_command(report: Path, tmp_path: Path) -> None:
    assert main([str(report / "index.html"), str(tmp_path / "images")]) == 0
    names = sorted(file.name for file in (tmp_path / "images").iterdir())
    with Image.open(tmp_path / "images" / "report-400-dark.png") as image:
        assert image.size == (400, FIRST_SCREEN)
    assert names == [f"report-{width}-{theme}.png" for width in (1280, 400) for theme in ("dark", "light")]
