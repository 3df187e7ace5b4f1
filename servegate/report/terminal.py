"""The terminal shows progress, and at the end a sentence, one table, and evidence for what isn't PASS."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap

import pytest

from servegate.judging.cell_result import CellResult
from servegate.judging.figures.result import FigureResult
from servegate.judging.group_result import GroupResult
from servegate.records import MachineLoad, Status, Verdict
from servegate.report.figures import short, summarise
from servegate.report.headline import describe_load
from servegate.storage.baselines import Baseline

_COLUMNS = ("cell", "per s", "p50", "p95", "p99", "ok", "CPU", "GPU", "change", "verdict")
_MEANINGS = {
    "p50": "p50, p95, p99: latency in ms",
    "ok": "ok: right answers",
    "CPU": "CPU: cores in use",
    "GPU": "GPU: utilisation",
}
_WIDTH = 80
_QUIET = (Status.PASS, Status.NOT_JUDGED, Status.INFORMS)
# A cell's evidence for REGRESSED stands with its failed test.
_EVIDENCE_HERE = (Status.INCONCLUSIVE, Status.IMPROVED, Status.ALLOWED)
_OF_GROUPS = (Status.REGRESSED, Status.ALLOWED)


class Progress:
    """One line that says what is measured; on a terminal it is overwritten, in a log each is a line of its own."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def __call__(self, text: str) -> None:
        """Show what is done now."""
        reporter, capture = self._plugins.get_plugin("terminalreporter"), self._plugins.get_plugin("capturemanager")
        if reporter is None or capture is None:
            return
        with capture.global_and_fixture_disabled():
            if reporter.isatty:
                reporter.rewrite(f"  {text}", erase=True)
            else:
                reporter.ensure_newline()
                reporter.write_line(f"  {text}")


def write_summary(
    reporter: pytest.TerminalReporter,
    sentence: str,
    results: Sequence[CellResult],
    groups: Sequence[GroupResult] = (),
    figures: Sequence[FigureResult] = (),
    *,
    baseline: Baseline | None,
    details: Mapping[str, str],
    versus: str | None = None,
    load: MachineLoad | None = None,
) -> None:
    """Show the run's sentence, the table of groups and cells, the shares, and notes on rows that a reader must look at.

    Parameters
    ----------
    sentence:
        The run's findings.
    groups:
        The groups that were compared side by side.
    figures:
        The figures that were judged beside throughput.
    baseline:
        The baseline that the cells were compared with; None if there is none.
    details:
        Versions and settings of this machine, shown if they differ from those of the baseline.
    versus:
        The commit that the cells were compared with in place of a baseline, as the user named it.
    load:
        CPU that other programs used on the machine; None if it isn't known.
    """
    reporter.section("performance")
    for line in _wrap(sentence):
        reporter.write_line(line, bold=True)
    reporter.write_line("")
    rows = [*map(_make_group_row, groups), *map(_make_figure_row, figures), *map(_make_row, results)]
    columns = [column for column in zip(_COLUMNS, *rows, strict=True) if {*column[1:]} != {"-"}]
    base = "the baseline" if versus is None else f"commit {versus}"
    meanings = {
        "per s": f"per s: {' or '.join(dict.fromkeys(result.unit for result in results))}",
        **_MEANINGS,
        "change": f"change: throughput{', or the named figure,' if figures else ''} against {base}",
    }
    legend = "; ".join(meanings[heading] for heading, *_ in columns if heading in meanings)
    for line in (*_align(columns), *_wrap(legend), *_shares(results)):
        reporter.write_line(line)
    if load is not None:
        reporter.write_line(f"{describe_load(asdict(load))}.")
    for group in groups:
        if group.verdict.status not in _QUIET:
            _write_reason(reporter, group.name, group.verdict, group.verdict.evidence)
    for figure in figures:
        if figure.verdict.status not in _QUIET:
            _write_reason(reporter, str(figure.figure), figure.verdict, figure.verdict.evidence)
    # A group's verdict stands for its cells: one finding is told once.
    told = {(cell, group.verdict.status) for group in groups for cell in group.cells}
    for result in results:
        if result.verdict.status in _OF_GROUPS and (result.cell, result.verdict.status) in told:
            continue
        without_baseline = result.verdict.status is Status.NO_BASELINE and baseline is None
        has_figure = result.verdict.now_per_s is not None
        if not has_figure or not (result.verdict.status in _QUIET or without_baseline):
            evidence = result.verdict.evidence if result.verdict.status in _EVIDENCE_HERE else ()
            _write_reason(reporter, str(result.cell), result.verdict, evidence)
    if baseline is not None:
        reporter.write_line(f"baseline: commit {baseline.checkout.commit[:12]}, {baseline.path}")
        for name, then, now in baseline.differences(details):
            reporter.write_line(f"differs from the baseline's machine: {name} {then} -> {now}")


def _wrap(text: str) -> list[str]:
    return wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)


def _write_reason(reporter: pytest.TerminalReporter, name: str, verdict: Verdict, evidence: Sequence[str]) -> None:
    reporter.write_line(f"{name} {verdict.status}: {verdict.reason}")
    for line in evidence:
        reporter.write_line(f"    {line}")


def _make_group_row(group: GroupResult) -> tuple[str, ...]:
    change = group.verdict.change
    shown = "-" if change is None else f"{change.estimate:+.1%}"
    return (group.name, *["-"] * (len(_COLUMNS) - 3), shown, group.verdict.status)


def _make_figure_row(result: FigureResult) -> tuple[str, ...]:
    shown = "-" if result.change is None else result.figure.kind.write(result.change.estimate)
    return (str(result.figure), *["-"] * (len(_COLUMNS) - 3), shown, result.verdict.status)


def _make_row(result: CellResult) -> tuple[str, ...]:
    verdict, summary = result.verdict, summarise(result.samples)
    if not result.samples:
        return (str(result.cell), *["-"] * (len(_COLUMNS) - 2), verdict.status)
    utilisation, cpu_cores, success_rate = (
        summary[name] for name in ("gpu_utilisation_percent", "cpu_cores", "success_rate")
    )
    return (
        str(result.cell),
        _number(verdict.now_per_s),
        _number(summary["latency_p50_ms"]),
        _number(summary["latency_p95_ms"]),
        _number(summary["latency_p99_ms"]),
        "-" if success_rate in (None, 1) else f"{success_rate:.1%}",
        "-" if cpu_cores is None else f"{cpu_cores:.2f}",
        "-" if utilisation is None else f"{utilisation:.0f} %",
        "-" if verdict.change is None else f"{verdict.change.estimate:+.1%}",
        verdict.status,
    )


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return short(value)


def _align(columns: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns that begin with their headings; text to the left, numbers to the right."""
    aligned = []
    for column in columns:
        width = max(map(len, column))
        is_text = column[0] in ("cell", "verdict")
        aligned.append([text.ljust(width) if is_text else text.rjust(width) for text in column])
    return ["  ".join(line).rstrip() for line in zip(*aligned, strict=True)]


def _shares(results: Sequence[CellResult]) -> list[str]:
    """Write a line for each group that has a ceiling, leaving out those whose rate the load sets."""
    ceilings = {
        result.cell.group: result.ceiling
        for result in results
        if result.ceiling is not None and not result.rate_is_given
    }
    lines = []
    for group, ceiling in ceilings.items():
        best, most = _find_best(results, group), _find_best(results, ceiling)
        if best and most and best.verdict.now_per_s and most.verdict.now_per_s:
            share = best.verdict.now_per_s / most.verdict.now_per_s
            lines.append(
                f"{best.cell} reaches {share:.0%} of {most.cell}: "
                f"{best.verdict.now_per_s:.1f} {best.unit}/s of {most.verdict.now_per_s:.1f} {most.unit}/s, "
                f"{_core_ms(best)} core-ms of CPU each against {_core_ms(most)}"
            )
    return lines


def _core_ms(result: CellResult) -> str:
    return _number(summarise(result.samples)["core_ms_per_unit"])


def _find_best(results: Sequence[CellResult], group: str) -> CellResult | None:
    measured = [result for result in results if result.cell.group == group and result.verdict.now_per_s]
    return max(measured, key=lambda result: result.verdict.now_per_s or 0.0, default=None)
