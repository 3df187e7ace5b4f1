"""List the requests that a run sends for each HTTP group: the field `requests` of results.json."""

from collections.abc import Iterable, Mapping

from servegate.load.workload import Requests
from servegate.measure.http.targets import HttpTarget, OpenLoopTarget
from servegate.measure.targets import MeasurementTarget


def list_requests(targets: Iterable[MeasurementTarget]) -> dict[str, list[dict[str, object]]]:
    """List each group's requests with their weights; `kind` is None in a group whose cells aren't kinds."""
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
