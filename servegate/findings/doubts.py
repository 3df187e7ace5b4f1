"""Say of an inconclusive run whether it passed, why it can't tell, and what helps."""

from collections.abc import Iterable, Sequence

from servegate.findings.subjects import Subject
from servegate.findings.wording import enumerate_names, first_line, quote, write_share
from servegate.judging.cell_result import CellResult
from servegate.records import MachineLoad

_REPEAT = "Repeat the run while the machine is less busy"
ADVICE = f"{_REPEAT}, or plan more pairs: `--perf-pairs '4 5 7 10 15 22 34'`."
_MORE_TIME = f"The time budget ended the comparison: give it more, `--perf-budget-minutes`. {_REPEAT}."
# A process that uses this share of the cores, and more than one core, has threads that compete with all others.
_GREEDY_SHARE = 0.75
_ONE_THREAD = 1.2


def give_advice(unclear: Sequence[Subject], load: MachineLoad | None, *, is_out_of_time: bool) -> str:
    """Say what helps: the machine's other load goes first, then threads of one process that want every core.

    Parameters
    ----------
    unclear:
        The groups and cells whose throughput is INCONCLUSIVE; without any, a figure is. More pairs don't help that one.
    load:
        CPU that other programs used on the machine; None where that isn't known.
    is_out_of_time:
        Whether the time budget ended a comparison that would have gone on: then more pairs don't help either.
    """
    usual = _MORE_TIME if is_out_of_time else ADVICE if unclear else f"{_REPEAT}."
    if load is None:
        return usual
    if load.is_busy:
        return (
            f"The machine was busy: other programs used {load.during_cores:.1f} of its {load.cores} cores. "
            "Repeat the run without them."
        )
    greedy = _find_greedy([cell for subject in unclear for cell in subject.cells], load.cores)
    if greedy is not None:
        name, cores = greedy
        more = "give it more time: `--perf-budget-minutes`" if is_out_of_time else "plan more pairs: `--perf-pairs`"
        return (
            f"{quote(name)} alone uses {cores:.1f} of the {load.cores} cores. Where those are threads of numpy's BLAS, "
            f"limit them for the service by `OPENBLAS_NUM_THREADS`; else {more}."
        )
    return usual


def _find_greedy(results: Iterable[CellResult], cores: int) -> tuple[str, float] | None:
    """The process of a server that used the most CPU in a cell, where that is nearly all cores by several threads.

    A process that makes its own load, as a model alone, is to use all cores.
    """
    used = [
        (mean_cores, name)
        for result in results
        for sample in result.samples
        if sample.telemetry is not None and sample.client_cores
        for name, mean_cores in sample.telemetry.cpu_cores_by_process.items()
    ]
    most, name = max(used, default=(0.0, ""))
    return (name, most) if most > max(_ONE_THREAD, _GREEDY_SHARE * cores) else None


def describe_doubts(subjects: Sequence[Subject], *, passed: bool, is_gravest: bool) -> str:
    """Name what is inconclusive and why; empty where nothing is.

    Parameters
    ----------
    subjects:
        The groups and cells that are INCONCLUSIVE.
    passed:
        Whether the run passed nevertheless.
    is_gravest:
        Whether the run has no graver verdict, which would say by itself that it failed.
    """
    if not subjects:
        return ""
    names = enumerate_names([subject.name for subject in subjects])
    outcome = ("the run passed, but it" if passed else "the run failed: it") if is_gravest else "the run"
    why: dict[str, list[str]] = {}
    for subject in subjects:
        why.setdefault(_explain(subject), []).append(subject.name)
    reasons = [f"{enumerate_names(named)}: {reason}" for reason, named in why.items()] if len(why) > 1 else [*why]
    return f"{outcome} can't tell whether {names} changed: {'; '.join(reasons)}"


def _explain(subject: Subject) -> str:
    group, interval = subject.group, subject.interval
    if group is not None and group.excluded > group.excludes:
        return (
            f"fresh processes differ by {write_share(group.pair_spread)}, "
            f"which excludes a slowdown of {write_share(group.excluded)}, not of {write_share(group.excludes)}"
        )
    if group is None and interval is not None and interval[0] < 0:
        return f"a slowdown of {write_share(-interval[0])} is possible"
    return first_line(subject.verdicts[0].reason)
