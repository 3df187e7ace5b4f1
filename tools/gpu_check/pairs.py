"""Two servers in turns, as a comparison side by side measures them: of identical code, and one slowed by 10 %.

On a GPU, the queued kernels of a stopped server run on, in the other one's burst, and the log ratio is smaller than the
slowdown. `servegate.processes.pausing` says by how much. Each pair is measured in the bursts that the gate has for a
GPU, and in those of a CPU, which follow each other at once.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import fmean, stdev

from perf_tests.targets import API
from servegate.load.engines import LoadEngine
from servegate.measure.bursts import PausableServer
from servegate.processes.pausing import ON_GPU, Pausing
from servegate.records import Cell, Checkout
from tools.calibration.injections.slowdowns import Slowdown
from tools.gpu_check.steps import Row

_ROOT = Path(__file__).parents[2]
_SHARE = 0.1
_CELL = Cell(API.name, API.parameter, 64)
_BURSTS = {Pausing(0.25, 0.0): 10, ON_GPU: 4}  # how the servers are paused, and how many bursts each arm has


def rows() -> Iterator[Row]:
    """Yield a row for each pair and each way of pausing."""
    for name, slowdown in (("identical", None), (f"predict {_SHARE:.0%} slower", Slowdown("predict", _SHARE))):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            arms: list[PausableServer] = []
            for arm in ("base", "head"):
                copy = Path(folder) / arm
                shutil.copytree(_ROOT / "service", copy / "service", ignore=shutil.ignore_patterns("__pycache__"))
                if slowdown is not None and arm == "head":
                    slowdown.inject(copy)
                launched = running.enter_context(API.launch(Checkout(arm, copy, sys.executable)))
                launched.wait_until_ready()
                opened = launched.open(LoadEngine())
                assert isinstance(opened, PausableServer)
                arms.append(opened)
            for pausing, count in _BURSTS.items():
                loads = [replace(arm, pausing=pausing).start_load(_CELL) for arm in arms]
                for turn in range(count):
                    for load in loads if turn % 2 else reversed(loads):
                        load.burst(pausing.shortest_burst_s)
                base, head = ([units / seconds for units, seconds in zip(record.units, record.seconds, strict=True)]
                              for record in (load.finish() for load in loads))  # fmt: skip
                ratios = [log(ours / theirs) for ours, theirs in zip(head, base, strict=True)]
                yield {
                    "pair": name,
                    "burst s": pausing.shortest_burst_s,
                    "then s to settle": pausing.settle_s,
                    "bursts": count,
                    "log ratio %": 100 * fmean(ratios),
                    "its standard error": 100 * stdev(ratios) / count**0.5,
                    "of a burst": 100 * stdev(ratios),
                }
