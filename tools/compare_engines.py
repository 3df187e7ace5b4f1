"""The built-in client and Locust on the same server: `make compare-engines`, `python -m tools.compare_engines`.

In turns, in an order that changes from round to round. By default the server answers after a fixed 20 ms; with
--service it is the classifier.
"""

import argparse
import math
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean

from perf_tests.photos import cat_jpeg, cat_workload
from perf_tests.targets import CLASSIFIER
from servegate.errors import ServegateError
from servegate.load.engines import LoadEngine
from servegate.load.workload import Workload
from servegate.measure.cell_load import CellLoad
from servegate.measure.http.instruments import ServerInstrument
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Checkout
from tools.null_server import ANSWER

_ROOT = Path(__file__).parents[1]
CELLS = tuple(Cell("api", "concurrency", value) for value in (8, 32))
ENGINES = {"built-in": LoadEngine(), "locust": LoadEngine("locust", workers=2)}


def measure(
    server: ServerProcess, workload: Workload, rounds: int, seconds: float
) -> Mapping[Cell, Mapping[str, list[float]]]:
    """Throughput a second by cell and engine, round by round.

    Raises
    ------
    ServegateError
        When an engine doesn't start, or an answer is wrong.
    """
    figures: dict[Cell, dict[str, list[float]]] = {cell: {name: [] for name in ENGINES} for cell in CELLS}
    with ExitStack() as stack:
        instruments = {
            name: ServerInstrument(
                server, stack.enter_context(engine.start()), lambda cell: CellLoad(workload, int(cell.value)), 0.5, {}
            )
            for name, engine in ENGINES.items()
        }
        for number in range(1, rounds + 1):
            for cell in CELLS:
                for name in random.sample(list(ENGINES), len(ENGINES)):
                    print(f"round {number} of {rounds}: {cell} {name}", file=sys.stderr, flush=True)
                    sample = instruments[name].measure(cell, seconds)
                    if sample.failures:
                        raise ServegateError(f"{name}: {sample.failures[0]}")
                    figures[cell][name].append(sample.mean_throughput_per_s)
    return figures


def table(figures: Mapping[Cell, Mapping[str, Sequence[float]]]) -> list[str]:
    """A line a cell: throughput by either, and Locust's as a ratio of the built-in client's with its range."""
    lines = [f"{'cell':<22} {'built-in/s':>10} {'locust/s':>10} {'ratio':>6}  range over rounds"]
    for cell, by_engine in figures.items():
        ratios = [locust / own for own, locust in zip(by_engine["built-in"], by_engine["locust"], strict=True)]
        own, locust = (fmean(by_engine[name]) for name in ENGINES)
        ratio = math.exp(fmean(map(math.log, ratios)))
        lines.append(f"{cell!s:<22} {own:>10.1f} {locust:>10.1f} {ratio:>6.3f}  {min(ratios):.3f} - {max(ratios):.3f}")
    return lines


def main(arguments: Sequence[str]) -> int:
    """Measure and print. Returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare_engines", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each (%(default)s)")
    parser.add_argument("--service", action="store_true", help="load the classifier")
    options = parser.parse_args(arguments)
    if options.service:
        server, workload = CLASSIFIER.process(Checkout.working_tree(_ROOT)), cat_workload(cat_jpeg())
    else:
        command = [sys.executable, "-m", "tools.null_server", "--delay-ms", "20"]
        server = ServerProcess(command, cwd=_ROOT, ready_deadline_s=60.0)
        workload = Workload("/predict", b"{}", {"Content-Type": "application/json"}, ANSWER)
    try:
        with server:
            print("\n".join(table(measure(server, workload, options.rounds, options.seconds))))
    except ServegateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
