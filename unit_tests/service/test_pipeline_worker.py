"""The worker from bytes to answers replies with the seconds of its rounds and with what it answered."""

import base64
import json
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import service.model.startup
import service.settings
from perf_tests.photos import cat_jpeg
from servegate.processes.managed import ManagedProcess
from service.images import CorruptImageError
from service.model.classifier import Classifier
from service.pipeline_worker import Pipeline, main, prepare
from service.settings import Engine, Settings, load_settings
from tools.stress.image_files import encode, quadrants
from unit_tests.builders.repository import ROOT

_COMMAND = [sys.executable, "-m", "service.pipeline_worker", "--device", "cpu", "--max-batch-size", "2"]
_READY_DEADLINE_S = 120.0
_REPLY_DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def worker() -> Iterator[ManagedProcess]:
    """A worker that has said that it is ready."""
    with ManagedProcess(_COMMAND, cwd=ROOT, env={}, name="the worker", pipes=True) as process:
        ready = json.loads(process.read_line(_READY_DEADLINE_S))["ready"]
        assert ready.keys() == {"device", "precision", "threads", "engine"}
        yield process


def _job(file: bytes, batch_size: int, rounds: int) -> str:
    return json.dumps({"image": base64.b64encode(file).decode(), "batch_size": batch_size, "rounds": rounds})


@pytest.mark.parametrize(("batch_size", "rounds"), [(1, 1), (1, 3), (5, 2)])
def test_a_job_gives_the_seconds_of_each_round_and_the_right_answer(
    worker: ManagedProcess, batch_size: int, rounds: int
) -> None:
    """The photo of the cat is a cat in every place of a batch, in the form of the server's answer."""
    reply = json.loads(worker.exchange(_job(cat_jpeg(), batch_size, rounds), _REPLY_DEADLINE_S))
    assert reply.keys() == {"seconds", "answers"}
    assert len(reply["seconds"]) == rounds
    assert all(0 < seconds < _REPLY_DEADLINE_S for seconds in reply["seconds"])
    assert 1 <= len(reply["answers"]) <= batch_size * rounds
    for answer in reply["answers"]:
        assert answer.keys() == {"predictions"}
        assert [item["label"] for item in answer["predictions"]] == ["Cat", "Dog"]
        assert answer["predictions"][0]["probability"] == pytest.approx(0.996, abs=0.01)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"batch_size": 1, "rounds": 1}', "'image'"),
        ('{"image": "@", "batch_size": 1, "rounds": 1}', "image: "),
        ('{"image": 5, "batch_size": 1, "rounds": 1}', "image: "),
        (_job(b"no image", 1, 1), "image: not an image of a supported type"),
        (_job(cat_jpeg(), 1, 0), "rounds must be a whole number in 1..100000, got 0"),
    ],
)
def test_a_job_that_cannot_be_run_is_an_error_and_the_next_one_runs(
    worker: ManagedProcess, line: str, problem: str
) -> None:
    reply = json.loads(worker.exchange(line, _REPLY_DEADLINE_S))
    assert reply.keys() == {"error"}
    assert problem in reply["error"]
    assert "seconds" in json.loads(worker.exchange(_job(cat_jpeg(), 1, 1), _REPLY_DEADLINE_S))


class _CountingClassifier(Classifier):
    """Notes how many images each call predicts, and calls each of them a cat by the brightness of its first pixel."""

    def __init__(self) -> None:
        self.labels = ("Cat", "Dog")
        self.predicted: list[int] = []

    def predict(
        self, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], **_: bool
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        self.predicted.append(len(images))
        cat = images[:, 0, 0, 0].astype(np.float32) / 255
        return np.stack([cat, 1 - cat], axis=1)


@pytest.mark.parametrize(
    ("device", "classifiers", "batch_size", "rounds", "shares"),
    [
        ("cpu", 1, 1, 2, [1, 1]),
        ("cpu", 1, 6, 3, [6, 6, 6]),
        ("cpu", 1, 20, 1, [8, 8, 4]),
        ("cpu", 2, 5, 1, [3, 2]),
        ("cuda", 2, 5, 1, [3, 2]),
        ("cuda", 2, 6, 3, [3, 3, 3, 3, 3, 3]),
        ("cuda", 2, 20, 1, [8, 8, 4]),
    ],
)
def test_each_image_of_each_round_is_predicted_once(
    device: str, classifiers: int, batch_size: int, rounds: int, shares: list[int]
) -> None:
    """With a share for each classifier; eight at most, and no round too many."""
    classifier = _CountingClassifier()
    settings = load_settings(["--device", device, "--workers-per-device", "2", "--max-batch-size", "8"], "unit_tests")
    seconds, answers = Pipeline([classifier] * classifiers, settings).run(
        encode(quadrants(), "PNG"), batch_size, rounds
    )
    assert sorted(classifier.predicted, reverse=True) == sorted(shares, reverse=True)
    assert len(seconds) == rounds
    assert [item["label"] for item in answers[0]["predictions"]] == ["Cat", "Dog"]
    assert len(answers) == 1


@pytest.mark.parametrize(("engine", "loaded"), [("openvino", [1, 1, 1]), ("inductor", []), ("eager", [])])
def test_each_core_has_a_one_thread_forward_pass_where_it_lets_go_of_the_interpreter(
    engine: Engine, loaded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is OpenVINO; with others the one that is there has all cores."""
    threads: list[int] = []

    def load(settings: Settings, device: str) -> Classifier:
        assert device == "cpu"
        threads.append(settings.threads_per_worker)
        return _CountingClassifier()

    monkeypatch.setattr(service.settings, "cpu_count", lambda: 3)
    monkeypatch.setattr(service.model.startup, "ready_classifier", load)
    classifier = _CountingClassifier()
    classifier.engine = engine
    settings = load_settings(["--device", "cpu", "--workers-per-device", "1"], "unit_tests")
    reply = prepare(classifier, settings)(json.loads(_job(encode(quadrants(), "PNG"), 6, 1)))
    assert reply.keys() == {"seconds", "answers"}
    assert threads == loaded
    assert classifier.predicted == ([] if loaded else [6])


def test_an_image_that_is_corrupt_is_refused() -> None:
    pipeline = Pipeline(
        [_CountingClassifier()], load_settings(["--device", "cpu", "--workers-per-device", "2"], "unit_tests")
    )
    with pytest.raises(CorruptImageError):
        pipeline.run(cat_jpeg()[:9_000], 4, 2)


def test_a_wrong_setting_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--max-batch-size", "0"]) == 2
    assert capsys.readouterr().err == "--max-batch-size=0: Input should be greater than or equal to 1\n"
