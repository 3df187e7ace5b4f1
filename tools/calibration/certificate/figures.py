"""The certificate's part on figures beside throughput: false alarms of identical code, and faults of known kind."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from servegate.judging.figures.kinds import COST, START, FigureKind
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.figures.values import as_change, difference
from servegate.records import Status
from tools.calibration.certificate.shares import limit_share
from tools.calibration.injections.faults import FAULTS
from tools.calibration.pairs import PairRecord
from tools.calibration.simulation.figures import FigureOutcomes, parse_figure, put_on_one_level, simulate_figures

# Fewer pairs of a kind are no sample of what fresh processes show.
_LEAST_PAIRS = 4
# Where no fault is injected, the head of identical pairs costs this share more, and it starts so many seconds later, or
# so many standard deviations of a fresh process where that is more.
_MORE_COST = 0.10
_LATER_S, _LATER_SD = 2.0, 5.0


def certify_figures(
    by_kind: Mapping[str, Sequence[PairRecord]],
    policy: FigurePolicy,
    turns_s: Mapping[str, float],
    runs: int,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """Simulate runs on the recorded pairs of each kind; None where too few of identical code have figures.

    Parameters
    ----------
    by_kind:
        The recorded pairs; those from before figures were recorded are left out.
    turns_s:
        Seconds of turns in a pair of a run, by the cell's name. A group's figures from other turns are left out.
    runs:
        For each kind.
    """
    usable = {
        kind: _with_figures([_only_judged(pair, policy, turns_s) for pair in pairs]) for kind, pairs in by_kind.items()
    }
    usable = {kind: put_on_one_level(pairs) for kind, pairs in usable.items() if len(pairs) >= _LEAST_PAIRS}
    if "same" not in usable:
        return None
    judged = {name: None for pairs in usable.values() for name in pairs[0].figures}
    identical = simulate_figures(policy, usable["same"], runs, rng, judged=judged, is_identical=True)
    return {
        "runs": runs,
        "looks": list(policy.looks),
        "recorded_pairs": {kind: len(pairs) for kind, pairs in usable.items()},
        "identical_code": {
            "regressed": asdict(limit_share(np.array(identical.are_any(Status.REGRESSED)))),
            "red": asdict(limit_share(np.array(identical.are_any(Status.REGRESSED, Status.INCONCLUSIVE)))),
            "mean_pairs": round(float(np.mean(identical.pairs)), 2),
            "figures": {name: _describe(usable["same"], name, identical) for name in usable["same"][0].figures},
        },
        "faults": {
            kind: _describe_fault(
                kind, pairs, simulate_figures(policy, pairs, runs, rng, judged=judged, is_identical=False)
            )
            for kind, pairs in usable.items()
            if kind in FAULTS
        },
        "added": {
            name: {
                "change": parse_figure(name).kind.write(_median_change(parse_figure(name).kind, pairs, name)),
                **_describe_found(
                    simulate_figures(policy, pairs, runs, rng, judged=judged, is_identical=False), {frozenset({name})}
                ),
            }
            for name, pairs in _add_changes(usable["same"])
        },
    }


def _only_judged(pair: PairRecord, policy: FigurePolicy, turns_s: Mapping[str, float]) -> PairRecord:
    """Leave out the figures that a run today doesn't judge, takes from other turns, or that a fault can't reach.

    A live run of a fault has them of all groups, a pair alone only of those that the fault reaches.
    """
    figures = {}
    for name, values in pair.figures.items():
        figure = parse_figure(name)
        is_judged = policy.margin_of(figure.kind, figure.group) is not None
        is_reached = pair.kind not in FAULTS or figure.group in FAULTS[pair.kind].groups
        if is_judged and is_reached and _of_group(pair.turns_s, figure.group) == _of_group(turns_s, figure.group):
            figures[name] = values
    return replace(pair, figures=figures)


def _of_group(turns_s: Mapping[str, float], group: str) -> dict[str, float]:
    return {cell: seconds for cell, seconds in turns_s.items() if cell.startswith(f"{group}[")}


def _with_figures(pairs: Sequence[PairRecord]) -> list[PairRecord]:
    """The newest pairs that have the same figures."""
    names = next((pair.figures.keys() for pair in reversed(pairs) if pair.figures), None)
    return [pair for pair in pairs if names is not None and pair.figures.keys() == names]


def _add_changes(pairs: Sequence[PairRecord]) -> Iterator[tuple[str, list[PairRecord]]]:
    """Add a change to the head of identical pairs: a figure's name, and the pairs with this figure alone."""
    for name in pairs[0].figures:
        kind = parse_figure(name).kind
        values = np.array([pair.figures[name] for pair in pairs])
        if kind is COST:
            more = _MORE_COST * values[:, 1]
        elif kind is START:
            more = np.full(len(pairs), max(_LATER_S, _LATER_SD * float(np.std(values, ddof=1))))
        else:
            continue
        heads = (values[:, 1] + more).tolist()
        yield (
            name,
            [
                replace(pair, figures={name: (pair.figures[name][0], head)})
                for pair, head in zip(pairs, heads, strict=True)
            ],
        )


def _median_change(kind: FigureKind, pairs: Sequence[PairRecord], name: str) -> float:
    return as_change(kind, float(np.median([difference(kind, *pair.figures[name]) for pair in pairs])))


def _describe(pairs: Sequence[PairRecord], name: str, outcomes: FigureOutcomes) -> dict[str, Any]:
    base, head = (np.array([pair.figures[name][arm] for pair in pairs]) for arm in (0, 1))
    return {
        "median": float(f"{np.median(np.concatenate([base, head])):.4g}"),
        "pair_sd": float(f"{np.std(head - base, ddof=1):.3g}"),
        "regressed": asdict(limit_share(np.array(outcomes.are(name, Status.REGRESSED)))),
    }


def _describe_found(outcomes: FigureOutcomes, parts: Collection[frozenset[str]]) -> dict[str, Any]:
    """How often and after how many pairs a run finds all parts, each by one of its figures at least."""
    found = np.array(
        [all(any(run[name] is Status.REGRESSED for name in names) for names in parts) for run in outcomes.statuses]
    )
    return {"found": asdict(limit_share(found)), "median_pairs": float(np.median(outcomes.pairs))}


def _describe_fault(kind: str, pairs: Sequence[PairRecord], outcomes: FigureOutcomes) -> dict[str, Any]:
    meant = [name for name in FAULTS[kind].figures if name in pairs[0].figures]
    # A run must find each of several faults; throughput alone shows some of them, which have no figure here.
    parts = {names for part in FAULTS[kind].parts if (names := frozenset(meant).intersection(part.figures))}
    return {
        "meant": meant,
        **_describe_found(outcomes, parts),
        "also": {
            name: round(float(np.mean(outcomes.are(name, Status.REGRESSED))), 3)
            for name in pairs[0].figures
            if name not in meant and any(outcomes.are(name, Status.REGRESSED))
        },
        "change": {
            name: parse_figure(name).kind.write(_median_change(parse_figure(name).kind, pairs, name)) for name in meant
        },
    }
