"""What the terminal shows: progress while measuring, one table at the end, evidence for what isn't PASS."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

import pytest

from perfgate.baselines import Baseline
from perfgate.gate import CellResult
from perfgate.records import Sample, Status

_COLUMNS = ("cell", "per s", "p50 ms", "p95 ms", "p99 ms", "ok", "CPU", "client", "GPU", "change", "verdict")
_QUIET = (Status.PASS, Status.NOT_JUDGED)
# Throughput of one group as a share of another's, its ceiling.
_CEILINGS = (("api", "model"),)


class Progress:
    """One line that says what is measured; on a terminal it is overwritten, in a log each is a line of its own."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._capture = config.pluginmanager.get_plugin("capturemanager")

    def __call__(self, text: str) -> None:
        """Show what is done now."""
        if self._reporter is None or self._capture is None:
            return
        with self._capture.global_and_fixture_disabled():
            if self._reporter.isatty:
                self._reporter.rewrite(f"  {text}", erase=True)
            else:
                self._reporter.ensure_newline()
                self._reporter.write_line(f"  {text}")


def write_summary(
    reporter: pytest.TerminalReporter,
    results: Sequence[CellResult],
    baseline: Baseline | None,
    details: Mapping[str, str],
) -> None:
    """The table of all cells, the shares, and notes for those that need a reader."""
    reporter.section("performance")
    for line in _table([_row(result) for result in results]):
        reporter.write_line(line)
    reporter.write_line(
        "per s: images or requests; CPU, client: cores of the service and of the load client; GPU: utilisation"
    )
    for line in _shares(results):
        reporter.write_line(line)
    for result in results:
        if result.verdict.status not in _QUIET:
            reporter.write_line(f"{result.cell} {result.verdict.status}: {result.verdict.reason}")
    if baseline is not None:
        reporter.write_line(f"baseline: commit {baseline.checkout.commit[:12]}, {baseline.path}")
        for name in sorted(baseline.details.keys() | details.keys()):
            then, now = baseline.details.get(name, "none"), details.get(name, "none")
            if then != now:
                reporter.write_line(f"differs from the baseline's machine: {name} {then} -> {now}")


def _row(result: CellResult) -> tuple[str, ...]:
    verdict, samples = result.verdict, result.samples
    change = verdict.change
    return (
        str(result.cell),
        _number(
            median(sample.throughput_per_s for sample in samples if sample.rounds_s) if _measured(samples) else None
        ),
        _number(median(sample.latency.p50_ms for sample in samples)),
        _number(median(sample.latency.p95_ms for sample in samples)),
        _number(median(sample.latency.p99_ms for sample in samples)),
        f"{min(sample.success_rate for sample in samples):.0%}",
        f"{fmean(sample.telemetry.cpu_cores for sample in samples):.2f}",
        _client(samples),
        _gpu(samples),
        "-" if change is None else f"{change.estimate:+.0%} [{change.low:+.0%}, {change.high:+.0%}]",
        verdict.status,
    )


def _measured(samples: Sequence[Sample]) -> bool:
    return any(sample.rounds_s for sample in samples)


def _client(samples: Sequence[Sample]) -> str:
    cores = [sample.client_cpu_cores for sample in samples if sample.client_cpu_cores is not None]
    return f"{fmean(cores):.2f}" if cores else "-"


def _gpu(samples: Sequence[Sample]) -> str:
    percents = [
        sample.telemetry.gpu.utilisation_percent
        for sample in samples
        if sample.telemetry.gpu is not None and sample.telemetry.gpu.utilisation_percent is not None
    ]
    return f"{fmean(percents):.0f} %" if percents else "-"


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns without a value in any row are left out; text to the left, numbers to the right."""
    used = [index for index in range(len(_COLUMNS)) if any(row[index] != "-" for row in rows)]
    lines = [tuple(_COLUMNS[index] for index in used), *(tuple(row[index] for index in used) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(used))]
    to_the_left = {_COLUMNS.index("cell"), _COLUMNS.index("verdict")}
    return [
        "  ".join(
            text.ljust(width) if index in to_the_left else text.rjust(width)
            for index, text, width in zip(used, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _shares(results: Sequence[CellResult]) -> list[str]:
    lines = []
    for group, ceiling in _CEILINGS:
        best, most = _best(results, group), _best(results, ceiling)
        if best and most and best.verdict.now_per_s and most.verdict.now_per_s:
            share = best.verdict.now_per_s / most.verdict.now_per_s
            lines.append(
                f"{best.cell} reaches {share:.0%} of {most.cell}: "
                f"{best.verdict.now_per_s:.1f} {best.unit}/s of {most.verdict.now_per_s:.1f} {most.unit}/s"
            )
    return lines


def _best(results: Sequence[CellResult], group: str) -> CellResult | None:
    measured = [result for result in results if result.cell.group == group and result.verdict.now_per_s]
    return max(measured, key=lambda result: result.verdict.now_per_s or 0.0, default=None)
