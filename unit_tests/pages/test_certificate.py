"""The figures of the certificate in the README and in docs/certificate.md are those of the recorded classes."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from unit_tests.builders.pages import read_page
from unit_tests.builders.repository import ROOT

# In the order of the columns.
CLASSES = {
    "AMX": "intel-r-xeon-r-processor-family-6-model-167-2-cores-no-gpu",
    "calm": "amd-epyc-family-26-model-2-2-cores-no-gpu",
    "noisy": "amd-epyc-2-cores-no-gpu",
}
PAGES = ("README.md", "docs/certificate.md")
# How the rows begin in each of the pages, and the slowdown that they are about.
SLOWDOWNS = {
    "all cells 2% slower": ("a slowdown of 2 % in all cells", "2 % in all cells"),
    "all cells 3% slower": ("of 3 % in all cells", "3 % in all cells"),
    "api 3% slower": ("of 3 % in the API alone", "3 % in the API alone"),
}
ONE_CELL = ("of 10 % in one cell", "10 % in one cell")
IDENTICAL = ("time, identical code", "**How long a run of identical code takes")
RED = ("identical code REGRESSED", "How often is identical code REGRESSED?")
FIGURES = {"regressed": "How often is a figure of identical code", "red": "How often is a figure REGRESSED or"}
RED_STRICT = ("identical code red for any reason", "How often does identical code fail for any reason")


def read_certificate(machine: str) -> Any:
    path = ROOT / "tools" / "calibration" / "records" / CLASSES[machine] / "certificate.json"
    return json.loads(path.read_text())


def simulated(machine: str) -> Any:
    return read_certificate(machine)["simulated"]


def cell(page: str, begins: tuple[str, str], machine: str) -> list[str]:
    """The numbers in a row's column for a machine, as they are written."""
    start = begins[PAGES.index(page)]
    (line,) = [line for line in read_page(page).splitlines() if line.startswith(f"| {start}")]
    return re.findall(r"\d+(?:\.\d+)?", line.split("|")[2 + list(CLASSES).index(machine)].replace(",000", "000"))


def is_rounded(written: str, value: float) -> bool:
    """Whether a number is the value, rounded to the digits that it has."""
    return abs(float(written) - value) <= 0.5 * 10.0 ** -len(written.partition(".")[2]) + 1e-9


# README has the first column alone.
@pytest.mark.parametrize(
    ("machine", "page"), [("AMX", "README.md"), *((machine, "docs/certificate.md") for machine in CLASSES)]
)
class TestFigures:
    """A page that differs from the recorded certificate is to be changed with it."""

    @pytest.mark.parametrize("slowdown", SLOWDOWNS)
    def test_slowdowns_are_found_as_often_and_as_soon(self, slowdown: str, machine: str, page: str) -> None:
        self.check(simulated(machine)["slower_code"][slowdown], cell(page, SLOWDOWNS[slowdown], machine))

    def test_one_cell_is_the_worst(self, machine: str, page: str) -> None:
        slower = simulated(machine)["slower_code"]
        cells = [found for name, found in slower.items() if name.endswith("] 10% slower")]
        assert len(cells) == (11 if machine == "AMX" else 8)
        worst = min(cells, key=lambda found: float(found["regressed"]["share"]))
        self.check(worst, cell(page, ONE_CELL, machine))

    def test_identical_code_takes_as_long(self, machine: str, page: str) -> None:
        (minutes,) = cell(page, IDENTICAL, machine)
        assert is_rounded(minutes, simulated(machine)["identical_code"]["minutes"]["median"])

    @pytest.mark.parametrize(("kind", "begins"), [("regressed", RED), ("red", RED_STRICT)])
    def test_identical_code_fails_as_often(self, kind: str, begins: tuple[str, str], machine: str, page: str) -> None:
        check_false_alarms(simulated(machine)["identical_code"][kind], cell(page, begins, machine))

    def check(self, found: Mapping[str, Any], written: list[str]) -> None:
        share, minutes = written
        assert is_rounded(share, 100 * found["regressed"]["share"])
        assert is_rounded(minutes, found["minutes"]["median"])


def check_false_alarms(found: Mapping[str, Any], written: list[str]) -> None:
    if not found["count"]:
        assert written == ["0", str(found["of"])]
        return
    share, most = written
    assert is_rounded(share, 100 * found["share"])
    assert is_rounded(most, 100 * found["high"])


@pytest.mark.parametrize("kind", FIGURES)
def test_figures_of_identical_code_are_accused_as_often(kind: str) -> None:
    page = "docs/certificate.md"
    found = read_certificate("AMX")["figures"]["identical_code"][kind]
    check_false_alarms(found, cell(page, (FIGURES[kind],) * 2, "AMX"))


@pytest.mark.parametrize("page", PAGES)
def test_live_runs_are_counted(page: str) -> None:
    live = read_certificate("AMX")["live"]["same"]
    text = " ".join(read_page(page).split())
    (runs, failed) = re.findall(r"Of (\d+) whole.*? (none|\d+) failed", text)[0]
    assert (runs, failed) == (str(live["runs"]), str(live["red"]["count"] or "none"))
    assert f"{live['median_minutes']} minutes" in text


@pytest.mark.parametrize(
    ("rule", "begins"),
    [
        ("pytest-benchmark mean:5%", "pytest-benchmark `mean:5%`"),
        ("pytest-benchmark min:5%", "pytest-benchmark `min:5%`"),
        ("pytest-benchmark median:10%", "pytest-benchmark `median:10%`"),
        ("asv: factor 1.1 and Mann-Whitney", "asv's: factor 1.1"),
        ("mean:5%, best of ten runs", "`mean:5%`, the best of ten"),
    ],
)
def test_rules_in_common_use_fail_as_often(rule: str, begins: str) -> None:
    found = read_certificate("AMX")["stock_rules"][rule]["same"]
    (line,) = [line for line in read_page("README.md").splitlines() if line.startswith(f"| {begins}")]
    assert re.findall(r"\d+", line.split("|")[2]) == [str(found["count"]), str(found["of"])]


@pytest.mark.parametrize(
    ("fault", "begins"),
    [
        ("late 1%", "1 % of the requests 250 ms late"),
        ("late 2%", "2 % of the requests 250 ms late"),
        ("keeps 20 KB", "20 KB of each request kept"),
        ("starts 6 s later", "a start 6 s later"),
        ("large photos in full", "large photos decoded in full"),
        ("api cost", "`api` takes 10 % more CPU time"),
        ("api start", "`api` starts 27 % later"),
    ],
)
def test_other_faults_are_found_as_often(fault: str, begins: str) -> None:
    figures = read_certificate("AMX")["figures"]
    found = figures["added"].get(fault) or figures["faults"][fault]
    (line,) = [
        line
        for line in read_page("docs/certificate.md").splitlines()
        if line.startswith(f"| {begins}") and "after" in line
    ]
    share, pairs = re.findall(r"\d+(?:\.\d+)?", line.split("|")[2])
    assert is_rounded(share, 100 * found["found"]["share"])
    assert float(pairs) == found["median_pairs"]
