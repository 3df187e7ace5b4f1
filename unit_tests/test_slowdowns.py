"""Injected slowdowns: they take as long as was said, in the place that was said, and change no answer."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from perf_tests.calibration.slowdowns import STAGES, Slowdown

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("share", "extra_ms"), [(0.0, 0.0), (0.1, 0.0), (1.0, 0.0), (0.0, 250.0)])
@pytest.mark.parametrize(
    ("stage", "file", "name"),
    [
        ("decode", "images.py", "ImageReader.read"),
        ("batch", "request_table.py", "RequestTable.copy_images"),
        ("predict", "model.py", "Classifier.predict"),
        ("encode", "answers.py", "best_first"),
    ],
)
def test_a_slowed_stage_takes_longer_by_as_much_as_was_said(
    stage: str, file: str, name: str, share: float, extra_ms: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own, on which the stage takes a second and reading it a millisecond."""
    owner, _, method = name.rpartition(".")
    now_s = 0.0

    def read_clock() -> float:
        nonlocal now_s
        now_s += 0.001
        return now_s

    def take_a_second() -> None:
        nonlocal now_s
        now_s += 1.0

    (tmp_path / "service").mkdir()
    source = tmp_path / "service" / file
    function = f"def {method}(*_):\n    take_a_second()\n    return 'answer'\n"
    source.write_text(f"class {owner}:\n{indent(function, '    ')}" if owner else function)
    Slowdown(stage, share, extra_ms).put_into(tmp_path)
    module: dict[str, Any] = {"take_a_second": take_a_second}
    exec(source.read_text(), module)
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", read_clock)
        answer = getattr(module[owner](), method)() if owner else module[method]()
    assert answer == "answer"
    assert now_s == pytest.approx(1 + share + extra_ms / 1e3, abs=0.01)


@pytest.mark.parametrize("stage", STAGES)
def test_a_slowed_stage_of_the_service_answers_alike(stage: str, tmp_path: Path) -> None:
    """In a copy of the service: what is slowed is what the service calls, and its answers stay as they are."""
    shutil.copytree(ROOT / "service", tmp_path / "service")
    Slowdown(stage, 1.0, 1.0).put_into(tmp_path)
    program = f"""
import numpy as np
from perf_tests.photos import cat_jpeg
if {stage!r} == "decode":
    from service.images import ImageReader
    slowed, arguments = ImageReader.read, (ImageReader(), cat_jpeg())
elif {stage!r} == "batch":
    from service.request_table import RequestTable
    table = RequestTable(8, places=1, processes=1, answer_bytes=0)
    table.queue(0, np.full((8, 8, 3), 7, np.uint8))
    slowed, arguments = RequestTable.copy_images, (table, [0])
elif {stage!r} == "predict":
    from service.model import Classifier
    from service.settings import load_settings
    classifier = Classifier.from_settings(load_settings(["--engine", "eager"], "test"), "cpu")
    slowed, arguments = Classifier.predict, (classifier, np.zeros((4, 224, 224, 3), np.uint8))
else:
    import service.api
    from service.answers import best_first
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
