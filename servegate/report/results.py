"""A run as one document, `results.json`: all that the page and the summary show stands in it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

from servegate.judging.cell_result import CellResult
from servegate.judging.figures.result import FigureResult
from servegate.judging.group_result import GroupResult
from servegate.judging.slow_answers import find_slow_share
from servegate.records import Cell, Fingerprint, MachineLoad, Sample, Status
from servegate.report.figures import mean_cpu_cores_by_process, summarise, tabulate_stages, without_nan
from servegate.storage.history import SCHEMA

# The verdict of a run is the first of these that one of its groups, cells or figures has.
_BY_WEIGHT = (
    Status.REGRESSED,
    Status.INVALID,
    Status.BASE_FAILED,
    Status.SLOW,
    Status.INCONCLUSIVE,
    Status.NO_BASELINE,
    Status.ALLOWED,
    Status.IMPROVED,
    Status.PASS,
    Status.NOT_JUDGED,
    Status.INFORMS,
)


@dataclass(frozen=True)
class RunFacts:
    """The facts in a run's document besides its groups, cells and figures.

    Attributes
    ----------
    sentence:
        What the run found.
    began, ended:
        The times, with their time zone.
    exit_status:
        The exit status of pytest.
    arguments:
        The arguments of pytest, as they were typed.
    commit:
        Full hash of what was measured; None without git.
    is_changed:
        Whether the working tree differed from that commit.
    compared_with:
        A commit or a baseline, as the document names it; None where nothing was compared.
    rule:
        The judge's settings, as the document names them.
    differences:
        Name, then and now of each detail in which the machine differs from the baseline's.
    selected:
        The cells whose tests were collected.
    failing:
        The verdicts that fail a test in this run.
    arms:
        The details that the processes of `base` and `head` reported; empty if nothing was compared side by side.
    load:
        CPU that other programs used on the machine; None where that isn't known.
    changed_files:
        Files that differ from the commit that was compared with; None where that isn't known.
    requests:
        The requests that are sent to each group over HTTP, as the document names them.
    notes:
        Lines for the run's reader.
    """

    sentence: str
    began: datetime
    ended: datetime
    exit_status: int
    arguments: Sequence[str]
    commit: str | None
    is_changed: bool
    compared_with: Mapping[str, str | None] | None
    rule: Mapping[str, object]
    fingerprint: Fingerprint
    differences: Sequence[tuple[str, str, str]]
    selected: Sequence[Cell]
    failing: Collection[Status]
    arms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    load: MachineLoad | None = None
    changed_files: Sequence[str] | None = None
    requests: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def results_document(
    facts: RunFacts,
    results: Sequence[CellResult],
    groups: Sequence[GroupResult] = (),
    figures: Sequence[FigureResult] = (),
    errors: Mapping[str, BaseException] | None = None,
) -> dict[str, Any]:
    """The document of a run that has measured a cell at least; nothing but what JSON can hold.

    Parameters
    ----------
    errors:
        Why a group could not be measured, by the group's name.
    """
    errors = errors or {}
    fingerprint, measured = facts.fingerprint, {result.cell for result in results}
    of_figures = [figure.verdict.status for figure in figures if figure.verdict.status is not Status.NOT_JUDGED]
    of_tests = [*(result.verdict.status for result in results), *of_figures]
    of_errors = [Status.INVALID] * len(errors)
    statuses = [*(group.verdict.status for group in groups), *of_tests, *of_errors]
    document = {
        "schema": SCHEMA,
        "sentence": facts.sentence,
        "verdict": str(min(statuses, key=_BY_WEIGHT.index)),
        "failed": any(status in facts.failing for status in [*of_tests, *of_errors]),
        "began": facts.began.astimezone(UTC).isoformat(timespec="seconds"),
        "minutes": round((facts.ended - facts.began).total_seconds() / 60, 2),
        "exit_status": facts.exit_status,
        "arguments": list(facts.arguments),
        "commit": facts.commit,
        "changed": facts.is_changed,
        "compared_with": facts.compared_with,
        "rule": dict(facts.rule),
        "machine": {"class": fingerprint.machine_class, **asdict(fingerprint)},
        "differences": [{"name": name, "then": then, "now": now} for name, then, now in facts.differences],
        "arms": {name: dict(details) for name, details in facts.arms.items()},
        "load": asdict(facts.load) if facts.load else None,
        "changed_files": None if facts.changed_files is None else list(facts.changed_files),
        "requests": {group: [*map(dict, requests)] for group, requests in facts.requests.items()},
        "notes": list(facts.notes),
        "errors": {group: str(error) or type(error).__name__ for group, error in errors.items()},
        "not_measured": [str(cell) for cell in facts.selected if cell not in measured],
        "groups": [_group(group) for group in groups],
        "figures": [_figure(figure, fails=figure.verdict.status in facts.failing) for figure in figures],
        "cells": [_cell(result, fails=result.verdict.status in facts.failing) for result in results],
    }
    plain: dict[str, Any] = without_nan(document)
    return plain


def _group(group: GroupResult) -> dict[str, Any]:
    verdict = group.verdict
    return {
        "group": group.name,
        "status": str(verdict.status),
        "reason": verdict.reason,
        "evidence": list(verdict.evidence),
        "change": asdict(verdict.change) if verdict.change else None,
        "margin": group.margin,
        "excludes": group.excludes,
        "excluded": group.excluded,
        "pairs": group.pairs,
        "pair_spread": group.pair_spread,
        "cells": [str(cell) for cell in group.cells],
    }


def _figure(result: FigureResult, *, fails: bool) -> dict[str, Any]:
    verdict, kind = result.verdict, result.figure.kind
    return {
        "figure": str(result.figure),
        "group": result.figure.group,
        "name": kind.name,
        "meaning": kind.meaning,
        "unit": kind.unit,
        "scale": kind.scale,
        "value_unit": kind.value_unit,
        "value_scale": kind.value_scale,
        "status": str(verdict.status),
        "fails": fails,
        "reason": verdict.reason,
        "evidence": list(verdict.evidence),
        "change": asdict(result.change) if result.change else None,
        "margin": result.margin,
        "excluded": result.excluded,
        "base": median(result.base) if result.base else None,
        "head": median(result.head) if result.head else None,
        "base_processes": [float(f"{value:.6g}") for value in result.base],
        "head_processes": [float(f"{value:.6g}") for value in result.head],
    }


def _cell(result: CellResult, *, fails: bool) -> dict[str, Any]:
    verdict, cell = result.verdict, result.cell
    return {
        "cell": str(cell),
        **asdict(cell),
        "unit": result.unit,
        "ceiling": result.ceiling,
        "rate_is_given": result.rate_is_given,
        "status": str(verdict.status),
        "fails": fails,
        "reason": verdict.reason,
        "evidence": list(verdict.evidence),
        "now_per_s": verdict.now_per_s,
        "baseline_per_s": verdict.baseline_per_s,
        "change": asdict(verdict.change) if verdict.change else None,
        "excludes": result.excludes,
        "slow_ms": result.slow_ms,
        "now": _summary(result.samples, result.slow_ms),
        "base": _summary(result.bases, result.slow_ms),
        "processes_per_s": [sample.throughput_per_s for sample in result.samples if sample.rounds_s],
        "pairs": [pair.to_json() for pair in result.pairs],
        "stages": tabulate_stages(result),
    }


def _summary(samples: Sequence[Sample], slow_ms: float | None) -> dict[str, Any] | None:
    if not samples:
        return None
    return {
        **summarise(samples),
        "slow_share": find_slow_share(samples, slow_ms),
        "cpu_cores_by_process": mean_cpu_cores_by_process(samples),
    }
