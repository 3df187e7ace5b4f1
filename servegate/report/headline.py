"""A run's document in two lines: its verdict, and what was compared with what."""

from collections import Counter
from collections.abc import Mapping, Sequence
from shlex import join
from typing import Any

from servegate.findings.wording import quote

_VERSUS = "--perf-versus"


def headline(document: Mapping[str, Any]) -> str:
    """The verdict and what has it, as in `REGRESSED: 1 of 2 groups, 4 of 8 cells`."""
    verdict, missing = document["verdict"], len(document["not_measured"])
    judged = [cell for cell in document["cells"] if cell["status"] != "informs"]
    groups = [_count("groups", document["groups"], verdict)] if document["groups"] else []
    beside = [figure for figure in document["figures"] if figure["status"] != "not judged"]
    figures = [_count("figures", beside, verdict)] if beside else []
    failed = len(document["errors"])
    errors = [f"{failed} {'group' if failed == 1 else 'groups'} could not be measured"] if failed else []
    parts = [*errors, *groups, *figures, _count("cells", judged, verdict)]
    return f"{verdict}: {', '.join([*parts, f'{missing} not measured'] if missing else parts)}"


def _count(what: str, entries: Sequence[Mapping[str, Any]], verdict: str) -> str:
    return f"{Counter(entry['status'] for entry in entries)[verdict]} of {len(entries)} {what}"


def describe_run(document: Mapping[str, Any]) -> str:
    """One sentence: what was compared with what, where, and how long it took. Names stand between backticks."""
    commit = document["commit"]
    measured = "the working tree" if commit is None else f"commit {commit[:12]}"
    if commit is not None and document["changed"]:
        measured += " with uncommitted changes"
    took = f"in {document['minutes']:.1f} minutes"
    against = _describe_reference(document["compared_with"])
    load = f" {describe_load(document['load'])}." if document["load"] else ""
    return f"{measured[0].upper()}{measured[1:]}, {against}, on {document['machine']['class']}, {took}.{load}"


def write_command(document: Mapping[str, Any]) -> str:
    """The command that repeats the run; it names the commit that a branch or HEAD was, which may be another now."""
    arguments, reference = list(document["arguments"]), document["compared_with"]
    if reference is not None and reference["kind"] == "commit" and reference["commit"] is not None:
        commit = reference["commit"][:12]
        for place, argument in enumerate(arguments):
            if argument.startswith(f"{_VERSUS}="):
                arguments[place] = f"{_VERSUS}={commit}"
            elif argument == _VERSUS and place + 1 < len(arguments):
                arguments[place + 1] = commit
    return join(["pytest", *arguments])


def describe_load(load: Mapping[str, Any]) -> str:
    """Say what other programs used, as in `Other programs used 0.85 of 2 cores (0.90 before)`."""
    before = load["before_cores"]
    used = f"Other programs used {load['during_cores']:.2f} of {load['cores']} cores"
    return used if before is None else f"{used} ({before:.2f} before)"


def _describe_reference(reference: Mapping[str, Any] | None) -> str:
    if reference is None:
        return "compared with nothing"
    commit, subject = reference["commit"] or reference["reference"], reference["subject"]
    # Between backticks a subject is text on GitHub too: it can name no user and no issue there.
    titled = f"{commit[:12]} ({quote(subject.replace('`', chr(39)))})" if subject else commit[:12]
    if reference["kind"] == "baseline":
        return f"compared with the baseline of commit {titled}"
    named = reference["reference"]
    if commit.startswith(named):
        return f"compared side by side with {titled}"
    return f"compared side by side with {named}, {titled}"
