"""Waiting for a condition, and reading metrics: what the tests of processes have in common."""

import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

_POLL_S = 0.02


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float) -> None:
    """Return once the condition holds; fail after the deadline, saying what was waited for."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"after {deadline_s:.0f} s still waiting until {what}"
        time.sleep(_POLL_S)


def read_samples(exposition: str) -> dict[str, float]:
    """The metrics' samples: `name` or `name{label value}` to its value."""
    return {
        sample.name + ("{" + " ".join(sample.labels.values()) + "}" if sample.labels else ""): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """By how much each sample grew, without those that didn't."""
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
