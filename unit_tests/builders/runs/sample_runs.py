"""Whole runs as a comparison side by side leaves them: a slower stage, identical code, a machine that is too noisy."""

from collections.abc import Mapping, Sequence
from typing import Any

from servegate.judging.cell_result import CellResult
from servegate.judging.group_result import GroupResult
from servegate.records import Fingerprint, MachineLoad, Status
from unit_tests.builders.runs.findings import make_cell, make_group, make_pairs
from unit_tests.builders.runs.run_documents import document

VALUES = (1, 8, 32, 64)
_PARAMETERS = {"model": "batch", "api": "concurrency"}
_COMMIT = "5b16c9bc7c7c41f0a2f5a1ab0a6c6b8d2f3e4a5b"


def _make_document(groups: Sequence[GroupResult], cells: Sequence[CellResult], **facts: Any) -> dict[str, Any]:
    known = {
        "arguments": ["perf_tests", "--perf-versus", "main"],
        "commit": "94f1c7de3b0a5b16c9bc7c7c41f0a2f5a1ab0a6c",
        "is_changed": False,
        "compared_with": {
            "kind": "commit",
            "reference": "main",
            "commit": _COMMIT,
            "subject": "Requests go to a worker through a table in shared memory",
        },
        "rule": {"margin": 0.02, "error_level": 0.01, "looks": [3, 5, 8, 12, 18], "strict": True},
        "fingerprint": Fingerprint("AMD EPYC", 2, None, 0, {"python": "3.11.7"}),
        "differences": (),
        "selected": [cell.cell for cell in cells],
        "load": MachineLoad(cores=2, before_cores=0.04, during_cores=0.03, most_cores=0.11),
        "groups": groups,
    }
    return document(cells, **{**known, **facts})


def _make_cells(
    changes: Mapping[str, Sequence[float]], status: Status, half_width: float, reason: str, predict: float = 1.0
) -> list[CellResult]:
    """Four cells a group with these changes in percent, and one that informs."""
    factors = [{"predict": predict * (1 + noise)} for noise in (-0.001, 0.0, 0.001)]
    cells = [
        make_cell(
            group,
            value,
            status,
            (change / 100, change / 100 - half_width, change / 100 + half_width),
            reason=reason,
            parameter=_PARAMETERS[group],
            pairs=make_pairs(factors, per_s=(100.0, 100.0 + change)) if group == "api" else (),
        )
        for group, of_group in changes.items()
        for value, change in zip(VALUES, of_group, strict=True)
    ]
    return [*cells, make_cell("latency", 70, Status.INFORMS, parameter="percent")]


def _make_groups(
    changes: Mapping[str, tuple[float, float, float]], status: Status, reason: str, **facts: float
) -> list[GroupResult]:
    return [
        make_group(name, status, change, values=VALUES, parameter=_PARAMETERS[name], reason=reason, **facts)
        for name, change in changes.items()
    ]


def slower_predict() -> dict[str, Any]:
    """One cause, which all cells show."""
    of_groups = {"model": (-0.108, -0.114, -0.101), "api": (-0.045, -0.054, -0.037)}
    groups = _make_groups(of_groups, Status.REGRESSED, "slower than the base")
    changes = {"model": (-14.1, -10.4, -10.2, -10.0), "api": (-3.9, -5.3, -4.7, -4.2)}
    return _make_document(groups, _make_cells(changes, Status.REGRESSED, 0.014, "its group is slower", 1.094))


def identical_code() -> dict[str, Any]:
    """Nothing changed."""
    of_groups = {"model": (0.001, -0.008, 0.010), "api": (-0.003, -0.012, 0.006)}
    groups = _make_groups(of_groups, Status.PASS, "a slowdown of 3 % is excluded")
    changes = {"model": (0.4, -0.2, 0.1, -0.5), "api": (-0.9, 0.3, 0.8, -0.1)}
    cells = _make_cells(changes, Status.PASS, 0.021, "a slowdown of 10 % is excluded")
    return _make_document(groups, cells, exit_status=0)


def noisy_machine() -> dict[str, Any]:
    """The run can't tell."""
    of_groups = {"model": (-0.012, -0.081, 0.062), "api": (0.008, -0.065, 0.084)}
    groups = _make_groups(of_groups, Status.INCONCLUSIVE, "too noisy", excluded=0.07, pair_spread=0.09)
    changes = {"model": (1.4, -3.2, 2.1, -4.5), "api": (-2.9, 0.3, 3.8, -6.1)}
    return _make_document(groups, _make_cells(changes, Status.INCONCLUSIVE, 0.13, "too noisy"), exit_status=0)
