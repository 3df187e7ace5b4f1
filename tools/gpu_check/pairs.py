"""Two servers in turns, as a comparison side by side measures them: of identical code, and one slowed by 10 %.

On a GPU, the queued kernels of a stopped server run on, in the other one's burst. The log ratio is then smaller than
the slowdown, and smaller in short bursts than in long ones.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from math import log
from pathlib import Path
from statistics import fmean, stdev

from perf_tests.targets import API
from servegate.load.engines import LoadEngine
from servegate.measure.targets import PausableTarget
from servegate.records import Cell, Checkout
from tools.calibration.injections.slowdowns import Slowdown
from tools.gpu_check.steps import Row

_ROOT = Path(__file__).parents[2]
_SHARE = 0.1
_CELL = Cell(API.name, API.parameter, 64)
_BURSTS_S = {0.25: 10, 1.0: 4}  # the length of a burst, and how many each arm has


def rows() -> Iterator[Row]:
    """Yield a row for each pair and each length of burst."""
    for name, slowdown in (("identical", None), (f"predict {_SHARE:.0%} slower", Slowdown("predict", _SHARE))):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            arms: list[PausableTarget] = []
            for arm in ("base", "head"):
                copy = Path(folder) / arm
                shutil.copytree(_ROOT / "service", copy / "service", ignore=shutil.ignore_patterns("__pycache__"))
                if slowdown is not None and arm == "head":
                    slowdown.inject(copy)
                launched = running.enter_context(API.launch(Checkout(arm, copy, sys.executable)))
                launched.wait_until_ready()
                arms.append(launched.open(LoadEngine()))
            for burst_s, count in _BURSTS_S.items():
                loads = [arm.start_load(_CELL) for arm in arms]
                for turn in range(count):
                    for load in loads if turn % 2 else reversed(loads):
                        load.burst(burst_s)
                base, head = ([units / seconds for units, seconds in zip(record.units, record.seconds, strict=True)]
                              for record in (load.finish() for load in loads))  # fmt: skip
                ratios = [log(ours / theirs) for ours, theirs in zip(head, base, strict=True)]
                yield {
                    "pair": name,
                    "burst s": burst_s,
                    "bursts": count,
                    "log ratio %": 100 * fmean(ratios),
                    "its standard error": 100 * stdev(ratios) / count**0.5,
                    "of a burst": 100 * stdev(ratios),
                }
