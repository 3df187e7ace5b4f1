"""The requests that a run sends to each group over HTTP, for the run's document."""

from collections.abc import Iterable, Mapping

from servegate.load.workload import Requests
from servegate.measure.http_targets import HttpTarget, OpenLoopTarget
from servegate.measure.targets import MeasurementTarget


def list_requests(targets: Iterable[MeasurementTarget]) -> dict[str, list[dict[str, object]]]:
    """The requests of each group, with their kind and weight where there are several."""
    return {
        target.name: [
            {
                "kind": kind,
                "weight": weight,
                "method": workload.method,
                "path": workload.path,
                "body_bytes": len(workload.body),
            }
            for kind, requests in _by_kind(target.workload)
            for weight, workload in requests.parts
        ]
        for target in targets
        if isinstance(target, HttpTarget | OpenLoopTarget)
    }


def _by_kind(workload: Requests | Mapping[str, Requests]) -> list[tuple[str | None, Requests]]:
    return [*workload.items()] if isinstance(workload, Mapping) else [(None, workload)]
