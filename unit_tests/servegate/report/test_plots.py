"""The plots of a run."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from servegate.judging.cell_result import CellResult
from servegate.records import Cell, Latency, Status, Verdict
from servegate.report.plots import choose_plots
from servegate.report.svg import draw_svgs
from unit_tests.builders.runs.run_documents import RESULTS, document
from unit_tests.builders.runs.samples import make_samples


def choose(results: Sequence[CellResult]) -> list[str]:
    """The plots' titles."""
    return list(choose_plots(document(results)))


def draw(results: Sequence[CellResult], title: str) -> list[str]:
    """The texts in a plot."""
    drawn = draw_svgs({title: choose_plots(document(results))[title]})
    assert drawn is not None
    return re.findall("<text [^>]*>([^<]*)</text>", drawn[title])


def measured(
    group: str, parameter: str, values: Sequence[int], unit: str, ceiling: str | None = None, *, given: bool = False
) -> list[CellResult]:
    """Cells that do ten times their value."""
    return [
        CellResult(
            cell=Cell(group, parameter, value),
            unit=unit,
            samples=make_samples([10.0 * value]),
            verdict=Verdict(Status.NOT_JUDGED, "not asked", 10.0 * value),
            ceiling=ceiling,
            rate_is_given=given,
        )
        for value in values
    ]


@pytest.mark.parametrize(
    ("results", "titles"),
    [
        (RESULTS[:1], ["CPU in use"]),
        (
            RESULTS[2:4],
            [
                "Throughput: api",
                "Latency: api",
                "CPU time of a request, by stage",
                "Time of a request, by stage",
                "CPU in use",
                "GPU in use",
            ],
        ),
    ],
)
def test_there_are_plots_of_what_there_are_cells_for(results: Sequence[CellResult], titles: Sequence[str]) -> None:
    assert choose(results) == titles


def test_groups_stand_in_one_plot_with_their_ceiling() -> None:
    """Its labels come from the groups: lines over both parameters, in both units, and one cell as a level."""
    results = [
        *measured("disk", "readers", [2], "blocks"),
        *measured("search", "clients", [1, 4], "pages", "disk"),
        *measured("lookup", "threads", [1, 8], "blocks", "disk"),
    ]
    texts = draw(results, "Throughput: search, lookup against disk")
    assert {"clients / threads", "blocks / pages per s", "disk[readers=2]", "search", "lookup"} <= set(texts)
    assert texts[:3] == ["1", "4", "8"]


def test_each_ceiling_has_a_plot_of_its_own() -> None:
    results = [
        *measured("disk", "readers", [1, 2], "blocks"),
        *measured("net", "streams", [1, 2], "frames"),
        *measured("search", "clients", [1, 2], "pages", "disk"),
        *measured("watch", "clients", [1, 2], "films", "net"),
    ]
    against = [title for title in choose(results) if "against" in title]
    assert against == ["Throughput: search against disk", "Throughput: watch against net"]


def test_where_the_rate_is_given_the_ceiling_has_no_figure_or_nothing_makes_a_line_groups_are_not_compared() -> None:
    disk = measured("disk", "readers", [1, 2], "blocks")
    for bounded in (
        measured("search", "clients", [1, 2], "pages"),
        measured("search", "percent", [50, 70], "pages", "disk", given=True),
        measured("search", "clients", [1, 2], "pages", "net"),
    ):
        assert not any("against" in title for title in choose([*disk, *bounded]))
    assert choose([*disk[:1], *measured("search", "clients", [1], "pages", "disk")]) == ["CPU in use"]


def test_more_groups_than_colours_are_all_there() -> None:
    bounded = [cell for name in "abcdef" for cell in measured(name, "clients", [1, 2], "pages", "disk")]
    disk = measured("disk", "readers", [1], "blocks")
    texts = draw([*disk, *bounded], "Throughput: a, b, c, d, e, f against disk")
    assert set("abcdef") <= set(texts)


def test_a_baseline_is_drawn_where_all_cells_have_one() -> None:
    compared = RESULTS[2:4]
    assert {"now", "base"} <= set(draw(compared, "Throughput: api"))
    lacking = replace(compared[0], verdict=replace(compared[0].verdict, baseline_per_s=None))
    assert "base" not in draw([lacking, compared[1]], "Throughput: api")


def test_the_scale_of_latency_has_ticks_between_powers_of_ten() -> None:
    """A reader could not tell 20 from 50 by ticks at 10 and 100 alone."""
    texts = draw(RESULTS[2:4], "Latency: api")
    assert {"10", "20"} <= set(texts)
    assert not any("10^" in text or "mathdefault" in text for text in texts)


def test_no_part_of_a_plot_is_told_by_its_colour_alone() -> None:
    """Lines differ by marker, parts of bars by pattern, beside the legend's words."""
    drawn = draw_svgs(choose_plots(document(RESULTS[2:4])))
    assert drawn is not None
    assert drawn["CPU time of a request, by stage"].count("<pattern") >= 2
    assert len(set(re.findall(r'<path id="(m[0-9a-f]+)"', drawn["Latency: api"]))) >= 3
    assert "rest (HTTP, queues, client)" in drawn["CPU time of a request, by stage"]


def test_kinds_keep_their_order_beside_numbers() -> None:
    kinds = [
        CellResult(Cell("photo", "kind", kind), "requests", make_samples([9.0]), Verdict(Status.NOT_JUDGED, "", 9.0))
        for kind in ("screenshot", "phone")
    ]
    texts = draw([*kinds, *measured("api", "concurrency", [8, 1], "requests")], "Throughput: photo")
    assert texts.index("screenshot") < texts.index("phone") < texts.index("kind")


def test_percentiles_that_few_answers_stand_behind_are_missing_from_the_plot() -> None:
    results = measured("api", "concurrency", [1, 8], "requests")
    nan = float("nan")
    latencies = (Latency(10.0, 9.5, nan, nan), Latency(10.0, 9.5, 20.25, nan))
    few = [
        replace(result, samples=[replace(sample, latency=latency) for sample in result.samples])
        for result, latency in zip(results, latencies, strict=True)
    ]
    texts = draw(few, "Latency: api")
    assert {"p50", "p95"} <= set(texts)
    assert "p99" not in texts
