"""Injected slowdowns: they take as long as was said, in the place that was said, and change no answer."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from tools.calibration.injections.slowdowns import STAGES, Slowdown
from unit_tests.builders.repository import ROOT


class FakeTime:
    """Clocks on which only what the test does takes time; reading the CPU's takes a millisecond of either."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def work(self, seconds: float, threads: int = 1) -> None:
        self.wall_s += seconds
        self.cpu_s += seconds * threads

    def wait(self, seconds: float) -> None:
        self.wall_s += seconds

    def read_wall_clock(self) -> float:
        return self.wall_s

    def read_cpu_clock(self) -> float:
        self.work(0.001)
        return self.cpu_s


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clocks = FakeTime()
    monkeypatch.setattr(time, "perf_counter", clocks.read_wall_clock)
    monkeypatch.setattr(time, "thread_time", clocks.read_cpu_clock)
    monkeypatch.setattr(time, "process_time", clocks.read_cpu_clock)
    return clocks


def slowed(slowdown: Slowdown, file: str, name: str, work: Callable[[], None], folder: Path) -> Callable[[], object]:
    """A function that works and answers, slowed in a file of its own."""
    owner, _, method = name.rpartition(".")
    source = folder / "service" / file
    source.parent.mkdir(parents=True)
    function = f"def {method}(*_):\n    work()\n    return 'answer'\n"
    source.write_text(f"class {owner}:\n{indent(function, '    ')}" if owner else function)
    slowdown.inject(folder)
    module: dict[str, Any] = {"work": work}
    exec(source.read_text(), module)
    answering: Callable[[], object] = getattr(module[owner](), method) if owner else module[method]
    return answering


@pytest.mark.parametrize(("share", "extra_ms"), [(0.0, 0.0), (0.1, 0.0), (1.0, 0.0), (0.0, 250.0)])
@pytest.mark.parametrize(
    ("stage", "file", "name"),
    [
        ("decode", "images/reader.py", "ImageReader.read"),
        ("batch", "transport/request_table.py", "RequestTable.copy_images"),
        ("predict", "model/classifier.py", "Classifier.predict"),
        ("encode", "predictions.py", "best_first"),
    ],
)
def test_a_slowed_stage_takes_longer_by_as_much_as_was_said(
    stage: str, file: str, name: str, share: float, extra_ms: float, tmp_path: Path, clocks: FakeTime
) -> None:
    """Of what it worked, not of what it waited: for a core, or stopped while the other side was measured."""

    def work_for_a_second() -> None:
        clocks.work(0.5)
        clocks.wait(3.0)
        clocks.work(0.5)

    answer = slowed(Slowdown(stage, share, extra_ms), file, name, work_for_a_second, tmp_path)()
    assert answer == "answer"
    assert clocks.cpu_s == pytest.approx(1 + share + extra_ms / 1e3, abs=0.01)


def test_threads_of_the_model_that_work_at_a_time_count_once(tmp_path: Path, clocks: FakeTime) -> None:
    predict = slowed(
        Slowdown("predict", 0.1),
        "model/classifier.py",
        "Classifier.predict",
        lambda: clocks.work(1.0, threads=2),
        tmp_path,
    )
    predict()
    assert clocks.wall_s == pytest.approx(1.1, abs=0.01)


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=pytest.mark.slow) if stage == "predict" else stage for stage in STAGES]
)
def test_a_slowed_stage_of_the_service_answers_alike(stage: str, tmp_path: Path) -> None:
    """In a copy of the service: what is slowed is what the service calls, and its answers stay as they are."""
    shutil.copytree(ROOT / "service", tmp_path / "service")
    Slowdown(stage, 1.0, 1.0).inject(tmp_path)
    program = f"""
import numpy as np
from perf_tests.photos import cat_jpeg
if {stage!r} == "decode":
    from service.images import ImageReader
    slowed, arguments = ImageReader.read, (ImageReader(), cat_jpeg())
elif {stage!r} == "batch":
    from service.transport.request_table import RequestTable
    table = RequestTable(8, slots=1, processes=1, labels=2, devices=1, workers_per_device=1)
    table.queue(0, np.full((8, 8, 3), 7, np.uint8))
    slowed, arguments = RequestTable.copy_images, (table, [0])
elif {stage!r} == "predict":
    from service.model.classifier import Classifier
    from service.settings import load_settings
    classifier = Classifier.from_settings(load_settings(["--engine", "eager"], "test"), "cpu")
    slowed, arguments = Classifier.predict, (classifier, np.zeros((4, 224, 224, 3), np.uint8))
else:
    import service.api
    from service.predictions import best_first
    assert service.api.best_first is best_first
    slowed, arguments = best_first, (["Cat", "Dog"], np.array([0.25, 0.75], np.float32))
assert str(slowed(*arguments)) == str(slowed.__wrapped__(*arguments))
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
