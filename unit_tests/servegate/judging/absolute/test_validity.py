"""What can't be judged at all: wrong answers, a client at its ceiling, a GPU that slowed itself down."""

import pytest

from servegate.judging.absolute.validity import describe_failures, why_invalid
from servegate.records import GpuUse
from unit_tests.builders.runs.samples import make_sample

CEILING = 0.9


def test_a_client_is_the_bottleneck_beyond_its_ceiling() -> None:
    """The reason names both; samples of which none has a client, or none at all, are no reason."""
    reason = (
        "a client process used 0.95 of its one core (ceiling 0.9): the client was the bottleneck, not the service; "
        "where cores are free, let more processes share the load (--perf-load-processes)"
    )
    assert why_invalid([make_sample(client_cores=[0.95]), make_sample()], CEILING) == reason
    assert why_invalid([make_sample(client_cores=[0.9])], CEILING) is None
    assert why_invalid([make_sample()], CEILING) is None
    assert why_invalid([], CEILING) is None


def test_the_ceiling_is_that_of_each_client_process() -> None:
    """One of several is enough, however little the others did; together they may use any number of cores."""
    said = "a client process used 0.91 of its one core"
    assert said in str(why_invalid([make_sample(client_cores=[0.1, 0.91, 0.2])], CEILING))
    assert why_invalid([make_sample(client_cores=[0.9, 0.8, 0.9])], CEILING) is None


def test_only_a_few_failures_are_shown_each_once() -> None:
    failures = ["first", "first", "second", "fourth"]
    said = "4 of 200 answers were wrong or failed: first; second"
    assert describe_failures([make_sample(failures=failures)]) == said
    assert why_invalid([make_sample(failures=failures)], CEILING) == said
    assert describe_failures([make_sample()]) is None


@pytest.mark.parametrize(
    ("slowed_by", "temperature_c", "said"),
    [
        (("hardware thermal slowdown",), 91.0, "slowed by hardware thermal slowdown at up to 91 degrees Celsius"),
        (("power brake", "hardware slowdown"), None, "slowed by power brake, hardware slowdown: "),
    ],
)
def test_a_gpu_that_slowed_itself_down_invalidates(
    slowed_by: tuple[str, ...], temperature_c: float | None, said: str
) -> None:
    """Its cooling was measured, not the code; in one process of several, too."""
    gpu = GpuUse(90.0, 2**30, 300.0, None, temperature_c, 900.0, slowed_by)
    assert said in str(why_invalid([make_sample(100.0), make_sample(100.0, gpu=gpu)], CEILING))


def test_a_gpu_that_ran_as_it_should_does_not() -> None:
    sample = make_sample(100.0, gpu=GpuUse(90.0, 2**30, 300.0, None, 80.0, 1800.0))
    assert why_invalid([sample] * 3, CEILING) is None
