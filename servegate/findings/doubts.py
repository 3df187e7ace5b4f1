"""Say of an inconclusive run whether it passed, why it can't tell, and what helps."""

from collections.abc import Sequence

from servegate.findings.subjects import Subject
from servegate.findings.wording import enumerate_names, first_line, write_share

ADVICE = "Repeat the run while the machine is less busy, or plan more pairs: `--perf-pairs '4 6 9 14 22 34'`."


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
