"""The run's first sentence: what changed and how sure that is, over all groups and cells."""

from collections.abc import Collection, Mapping, Sequence

from servegate.findings.causes import describe_causes, find_causes
from servegate.findings.doubts import describe_doubts, give_advice
from servegate.findings.exclusions import describe_exclusions
from servegate.findings.figures import describe_figures
from servegate.findings.runs import describe_arms
from servegate.findings.subjects import Subject, find_subjects
from servegate.findings.wording import enumerate_names, first_line, quote, write_range
from servegate.judging.cell_result import CellResult
from servegate.judging.figures.result import FigureResult
from servegate.judging.group_result import GroupResult
from servegate.records import MachineLoad, Status


def describe_findings(
    groups: Sequence[GroupResult],
    cells: Sequence[CellResult],
    figures: Sequence[FigureResult] = (),
    *,
    arms: Mapping[str, Mapping[str, str]],
    failing: Collection[Status],
    load: MachineLoad | None = None,
    errors: Mapping[str, BaseException] | None = None,
    is_out_of_time: bool = False,
) -> str:
    """Say what a run found, the gravest first; one cause is one finding, however many cells show it.

    Parameters
    ----------
    groups:
        Empty where nothing was compared side by side.
    cells:
        All that were measured, at least one.
    figures:
        The figures beside throughput that were judged.
    arms:
        The details that the processes of `base` and `head` reported; an intended difference leads.
    failing:
        The verdicts that fail this run.
    load:
        CPU that other programs used on the machine; None where that isn't known.
    errors:
        Why a group could not be measured, by the group's name.
    is_out_of_time:
        Whether the time budget ended a comparison that would have gone on.
    """
    errors = errors or {}
    of_cells = {result.verdict.status for result in cells}
    of_figures = {figure.verdict.status for figure in figures}
    statuses = of_cells | {group.verdict.status for group in groups} | (of_figures - {Status.NOT_JUDGED})
    regressed, improved, slow, invalid, failed, missing = (
        find_subjects(groups, cells, status)
        for status in (
            Status.REGRESSED,
            Status.IMPROVED,
            Status.SLOW,
            Status.INVALID,
            Status.BASE_FAILED,
            Status.NO_BASELINE,
        )
    )
    allowed = find_subjects(groups, cells, Status.ALLOWED)
    unclear = find_subjects(groups, cells, Status.INCONCLUSIVE)
    # Only cells and figures have tests that can fail.
    passed = not errors and not (of_cells | of_figures) & set(failing)
    slower, faster = (
        {result.cell.group for subject in subjects for result in subject.cells} for subjects in (regressed, improved)
    )
    more, allowed_more, less, perhaps_more = (
        describe_figures(figures, told, status)
        for status, told in (
            (Status.REGRESSED, slower),
            (Status.ALLOWED, slower),
            (Status.IMPROVED, faster),
            (Status.INCONCLUSIVE, slower),
        )
    )
    clauses = [
        describe_arms(arms),
        *_describe_errors(errors),
        _explain(regressed or allowed or improved, cells, slower=bool(regressed or allowed)),
        _describe_change(regressed, "loses", "lose"),
        *more,
        *(f"{_describe_change([one], 'loses', 'lose')}, {first_line(one.verdicts[0].reason)}" for one in allowed),
        *allowed_more,
        _describe_change(improved, "gains", "gain"),
        *less,
        *_describe_reasons(invalid, "{names} can't be judged"),
        *_describe_reasons(failed, "{names} could not be compared"),
        _describe_slow(slow),
        describe_doubts(
            unclear, passed=passed, is_gravest=not (errors or regressed or more or slow or invalid or failed)
        ),
        *perhaps_more,
        *_describe_reasons(missing, "there is nothing to compare {names} with"),
        describe_exclusions(
            groups, cells, is_whole=not errors, is_first=not errors and statuses <= {Status.PASS, Status.INFORMS}
        ),
    ]
    said = "; ".join(filter(None, clauses)) or _describe_rest(cells, figures)
    sentence = f"{said[0].upper()}{said[1:].removesuffix('.')}."
    return (
        f"{sentence} {give_advice(unclear, load, is_out_of_time=is_out_of_time)}"
        if unclear or perhaps_more
        else sentence
    )


def _explain(subjects: Sequence[Subject], cells: Sequence[CellResult], *, slower: bool) -> str:
    """Name the cause; where the cells that changed don't tell their stages, others that ran the same code may."""
    if not subjects:
        return ""
    changed = [result for subject in subjects for result in subject.cells]
    tell = [result for result in changed if any(pair.head.stages for pair in result.pairs)]
    return describe_causes(find_causes(tell or cells, slower=slower))


def _describe_change(subjects: Sequence[Subject], verb: str, verb_of_several: str) -> str:
    """Write "`api` loses 3.7 to 5.4 % of its throughput, `model` 10.1 to 11.4 %"."""
    said: list[str] = []
    for subject in subjects:
        if subject.interval is None:
            said.append(f"{subject.name}: {first_line(subject.verdicts[0].reason)}")
            continue
        size = _write_size(*subject.interval)
        acts, whose = (verb_of_several, "their") if subject.is_plural else (verb, "its")
        said.append(f"{subject.name} {size}" if said else f"{subject.name} {acts} {size} of {whose} throughput")
    return ", ".join(said)


def _write_size(low: float, high: float) -> str:
    """Write the size of a change; with signs if its interval contains zero."""
    if low < 0 < high:
        return f"{100 * low:+.1f} to {100 * high:+.1f} %"
    return write_range(*sorted((abs(low), abs(high))))


def _describe_slow(subjects: Sequence[Subject]) -> str:
    """Name the cells with too many slow answers, and the numbers of a single one: each cell has its own."""
    verdicts = [verdict for subject in subjects for verdict in subject.verdicts]
    if not verdicts:
        return ""
    numbers = f": {first_line(verdicts[0].reason)}" if len(verdicts) == 1 else ""
    return f"too many slow answers of {enumerate_names([subject.name for subject in subjects])}{numbers}"


def _describe_errors(errors: Mapping[str, BaseException]) -> list[str]:
    reasons = [(quote(group), first_line(str(error)) or type(error).__name__) for group, error in errors.items()]
    return _name_all(reasons, "{names} could not be measured")


def _describe_reasons(subjects: Sequence[Subject], text: str) -> list[str]:
    return _name_all([(subject.name, first_line(subject.verdicts[0].reason)) for subject in subjects], text)


def _name_all(reasons: Sequence[tuple[str, str]], text: str) -> list[str]:
    """Write a clause for each reason, with the names of all that have it."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons:
        names.setdefault(reason, []).append(name)
    return [f"{text.format(names=enumerate_names(named))}: {reason}" for reason, named in names.items()]


def _describe_rest(cells: Sequence[CellResult], figures: Sequence[FigureResult]) -> str:
    """Say that only figures were judged and none has grown, or why nothing was judged."""
    passed = [quote(str(found.figure)) for found in figures if found.verdict.status is Status.PASS]
    if passed:
        return f"no change found in {enumerate_names(passed)}"
    reasons = dict.fromkeys(
        first_line(result.verdict.reason) for result in cells if result.verdict.status is Status.NOT_JUDGED
    )
    return f"nothing was judged: {next(iter(reasons), 'these cells only inform')}"
