"""Reading metrics."""

from prometheus_client.parser import text_string_to_metric_families


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
