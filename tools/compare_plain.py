"""The service and a plain LitServe server side by side: `make perf-plain`, `python -m tools.compare_plain`.

Pairs of fresh processes take turns in bursts of load, as in `--perf-versus`. Nothing is judged: it prints by how much
their throughput differs, and by how much the pairs do.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import fmean, median

from perf_tests.photos import cat_jpeg, cat_workload, large_cat_jpeg
from servegate.api import HttpService, HttpTarget
from servegate.errors import ServegateError
from servegate.judging.pairs import PairFigure
from servegate.measure.fresh_pairs import FreshPairs
from servegate.measure.http.targets import SharedServer
from servegate.measure.pair_plan import PairPlan, Schedule
from servegate.measure.targets import Launchable, LaunchedProcess
from servegate.records import Cell, Checkout

CELLS = (*(Cell("api", "concurrency", value) for value in (1, 8, 64)), Cell("photo", "concurrency", 8))
_MODULES = {"plain": "tools.plain_server", "service": "service.server"}
# This process may have a folder of metrics of its own; the service makes one for itself.
_ENVIRONMENT = {"PROMETHEUS_MULTIPROC_DIR": ""}


class PlainOrService:
    """The plain server or the service, as the checkout's name has it; each cell's group names its photo."""

    def share(self, other: Launchable) -> None:
        """Nothing: it is alone."""

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Start the server."""
        server = HttpService(["{python}", "-m", _MODULES[checkout.name]], _ENVIRONMENT, ready_deadline_s=180.0)
        large = HttpTarget("photo", server, cat_workload(large_cat_jpeg()))
        small = HttpTarget("api", server, cat_workload(cat_jpeg()))
        return SharedServer((small, large)).launch(checkout)


def table(figures: Mapping[Cell, Sequence[PairFigure]]) -> list[str]:
    """A heading and a line a cell: throughput of either, and the ratio with its range over the pairs."""
    lines = [f"{'cell':<22} {'plain/s':>8} {'service/s':>10} {'ratio':>6}  range over pairs"]
    for cell, pairs in figures.items():
        ratios = [math.exp(pair.log_ratio) for pair in pairs]
        plain, service = (
            median(getattr(pair, side).mean_throughput_per_s for pair in pairs) for side in ("base", "head")
        )
        mean_ratio = math.exp(fmean(pair.log_ratio for pair in pairs))
        lines.append(
            f"{cell!s:<22} {plain:>8.1f} {service:>10.1f} {mean_ratio:>6.2f}  {min(ratios):.2f} - {max(ratios):.2f}"
        )
    return lines


def main(arguments: Sequence[str]) -> int:
    """Measure and print. Returns 0, or 1 after a wrong answer or where a server didn't start or answer."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare_plain", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of fresh processes (%(default)s)")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of four bursts a cell and pair (%(default)s)")
    parser.add_argument("--burst-seconds", type=float, default=2.0, help="seconds of load at least (%(default)s)")
    options = parser.parse_args(arguments)
    root = Path(__file__).parents[1]
    plain, service = (Checkout(name, root, sys.executable) for name in _MODULES)
    schedule = Schedule(options.burst_seconds, options.blocks)
    figures: dict[Cell, list[PairFigure]] = {cell: [] for cell in CELLS}
    for number in range(1, options.pairs + 1):

        def show(text: str, number: int = number) -> None:
            print(f"pair {number} of {options.pairs}: {text}", file=sys.stderr, flush=True)

        try:
            pair = (
                FreshPairs(plain, service, schedule, progress=show)
                .measure(PlainOrService(), PairPlan(CELLS, ()))
                .figures
            )
        except ServegateError as error:
            print(error, file=sys.stderr)
            return 1
        for cell, figure in pair.items():
            failures = [failure for sample in (figure.base, figure.head) for failure in sample.failures]
            if failures:
                print(f"{cell}: {failures[0]}", file=sys.stderr)
                return 1
            figures[cell].append(figure)
    print("\n".join(table(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
