"""Seconds that were measured in another process enter pytest-benchmark through a clock that replays them."""

from collections.abc import Iterable
from typing import Any

_now_s = 0.0


def replayed_clock() -> float:
    """The benchmark's timer; it stands still but for `replay`."""
    return _now_s


def replay(benchmark: Any, rounds_s: Iterable[float]) -> None:
    """Let each round of the benchmark take as long as the measured one did.

    Only `pedantic` calls its target exactly once a round; the test must carry
    ``@pytest.mark.benchmark(timer=replayed_clock)``.
    """
    rounds = list(rounds_s)
    upcoming = iter(rounds)

    def advance() -> None:
        global _now_s
        _now_s += next(upcoming)

    benchmark.pedantic(advance, rounds=len(rounds))
