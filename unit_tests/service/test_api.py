"""The hooks of a batch and of an answer turn decoded images into responses, in order."""

import json
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import Response

import service.api
from servegate.load.server_timing import parse_server_timing
from service.api import ImageClassifierAPI, _step_back
from service.app import build_server
from service.images import Pixels
from service.model.classifier import Classifier
from service.model.errors import ModelError
from service.predictions import Predictions
from service.settings import load_settings
from service.stages import BatchStages


@pytest.fixture(scope="module")
def api() -> Iterator[ImageClassifierAPI]:
    """The API as a worker has it after its start."""
    settings = load_settings(["--max-batch-size", "4", "--precision", "float32"], "unit_tests")
    api: ImageClassifierAPI = build_server(settings).lit_api
    on_signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = torch.get_num_threads()
    try:
        api.setup("cpu")
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "Ctrl-C must not end a worker"
    finally:
        for number, handler in on_signals.items():
            signal.signal(number, handler)
    api.pre_setup()
    yield api
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)


def _queued(api: ImageClassifierAPI, images: list[Pixels]) -> list[int]:
    """Slots with the images; they are free again, and stay as they are until they are used."""
    table = api._table
    slots = [slot for _ in images if (slot := table.arrive(0)) is not None]
    for slot, pixels in zip(slots, images, strict=True):
        table.queue(slot, pixels)
        table.free(slot)
    return slots


def _respond_all(api: ImageClassifierAPI, images: list[Pixels]) -> list[Response]:
    """What becomes of a batch in a worker, and then of each answer in its HTTP process."""
    slots, stages = _queued(api, images), BatchStages.begin(len(images))
    queued_at_s = [api._table.queued_at_s(slot) for slot in slots]
    rows = api.predict(api.batch(slots, stages), stages)
    assert len(rows) == len(images)
    read = BatchStages.from_numbers(stages.to_numbers())
    return [
        api.encode_response(row, {"stages": read.list_for_request(queued_s)})
        for row, queued_s in zip(rows, queued_at_s, strict=True)
    ]


def _answer_all(api: ImageClassifierAPI, images: list[Pixels]) -> list[Predictions]:
    return [Predictions.model_validate_json(bytes(response.body)) for response in _respond_all(api, images)]


def test_the_batch_settings_reach_litserve(api: ImageClassifierAPI) -> None:
    """LitServe reads batch size and timeout from the API."""
    assert api.max_batch_size == 4
    assert api.batch_timeout == 0.01
    assert api.api_path == "/predict"


def test_the_hooks_answer_each_image_in_its_place(api: ImageClassifierAPI, cat_batch: Pixels) -> None:
    """A batch gets one answer an image, in the order of the requests, whoever its neighbours are."""
    noise = np.random.default_rng(3).integers(0, 256, (224, 224, 3), np.uint8)
    cat = cat_batch[0]
    [cat_alone], [noise_alone] = _answer_all(api, [cat]), _answer_all(api, [noise])
    assert cat_alone.predictions[0].label == "Cat"
    assert cat_alone.predictions[0].probability == pytest.approx(0.996, abs=0.003)
    assert noise_alone.predictions[0].probability != pytest.approx(cat_alone.predictions[0].probability, abs=0.001)

    for answer, expected in zip(_answer_all(api, [cat, noise, cat]), [cat_alone, noise_alone, cat_alone], strict=True):
        assert [item.label for item in answer.predictions] == [item.label for item in expected.predictions]
        assert [item.probability for item in answer.predictions] == pytest.approx(
            [item.probability for item in expected.predictions], abs=1e-5
        )


def test_a_batch_is_a_stack_of_bytes(api: ImageClassifierAPI, cat_batch: Pixels) -> None:
    """What the model gets is uint8 of shape (n, size, size, 3)."""
    stacked = api.batch(_queued(api, [cat_batch[0]] * 3), BatchStages.begin(3))
    assert stacked.shape == (3, 224, 224, 3)
    assert stacked.dtype == np.uint8


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [([0.25, 0.75], ["Dog", "Cat"]), ([0.75, 0.25], ["Cat", "Dog"]), ([0.5, 0.5], ["Cat", "Dog"])],
)
def test_an_answer_is_plain_json_best_first(
    api: ImageClassifierAPI, probabilities: list[float], labels: list[str]
) -> None:
    """Strings and floats, the most probable label first, and a tie in the labels' order."""
    response = api.encode_response(np.array(probabilities, np.float32), {"stages": []})
    expected = [
        {"label": label, "probability": value} for label, value in zip(labels, sorted(probabilities)[::-1], strict=True)
    ]
    assert json.loads(bytes(response.body)) == {"predictions": expected}
    assert response.headers["content-type"] == "application/json"


def test_an_answer_tells_its_stages(api: ImageClassifierAPI, cat_batch: Pixels) -> None:
    """Those of the worker, in their order, with the batch's size where it was shared."""
    began_s = time.time()
    for response in _respond_all(api, [cat_batch[0]] * 3):
        spans = parse_server_timing(response.headers["server-timing"])
        assert [span.name for span in spans] == ["queue", "batch", "predict", "encode"]
        assert [span.shared for span in spans] == [1, 3, 3, 1]
        assert [span.cpu_s is None for span in spans] == [True, False, False, False]
        ends_s = [span.ended_at_s or 0.0 for span in spans]
        assert began_s - 1e-6 <= ends_s[0] <= ends_s[1] <= ends_s[2] <= ends_s[3] <= time.time()
        # One after the other: each begins when the one before has ended, or after.
        assert all(
            end_s - span.duration_s >= before_s - 1e-3
            for before_s, end_s, span in zip(ends_s[:-1], ends_s[1:], spans[1:], strict=True)
        )


def test_the_answers_probabilities_sum_to_one(api: ImageClassifierAPI, cat_batch: Pixels) -> None:
    """All labels are reported, so nothing is missing from 1."""
    [answer] = _answer_all(api, [cat_batch[0]])
    assert sum(item.probability for item in answer.predictions) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("free_others", "use_all_cores"), [(0, False), (1, False), (2, True)])
def test_a_batch_takes_the_cores_of_workers_that_are_all_idle(free_others: int, use_all_cores: bool) -> None:
    """Two of three are others; while one of them predicts, its core is not to be had."""
    api: ImageClassifierAPI = build_server(load_settings(["--workers-per-device", "3"], "unit_tests")).lit_api
    for worker_id in range(1, 1 + free_others):
        api._table.collect(worker_id)
    seen: list[bool] = []

    class Listening(Classifier):
        def __init__(self) -> None:
            pass

        def predict(
            self, images: Pixels, *, use_all_cores: bool = False
        ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
            seen.append(use_all_cores)
            return np.full((len(images), 2), 0.5, np.float32)

    api._classifier = Listening()
    api.predict(np.zeros((1, 224, 224, 3), np.uint8), BatchStages.begin(1))
    assert seen == [use_all_cores]


class _Failing(Classifier):
    """Raises an error for each batch."""

    def __init__(self, *, device_works: bool) -> None:
        self._works = device_works

    def predict(self, images: Pixels, *, use_all_cores: bool = False) -> np.ndarray[tuple[int, int], Any]:
        raise RuntimeError("CUDA error: device-side assert triggered")

    def device_works(self) -> bool:
        return self._works


def _predict_failing(device_works: bool) -> None:
    api: ImageClassifierAPI = build_server(load_settings([], "unit_tests")).lit_api
    api._classifier = _Failing(device_works=device_works)
    with pytest.raises(RuntimeError, match="device-side assert"):
        api.predict(np.zeros((1, 224, 224, 3), np.uint8), BatchStages.begin(1))


@pytest.mark.parametrize(("device_works", "exitcode"), [(True, 0), (False, 1)])
def test_a_worker_whose_device_is_lost_ends(device_works: bool, exitcode: int) -> None:
    """Else it would answer 500 to every request that it can get, and fast. Any other error fails its batch alone."""
    worker = get_context("spawn").Process(target=_predict_failing, args=(device_works,))
    worker.start()
    worker.join(60)
    worker.kill()
    assert worker.exitcode == exitcode


@pytest.mark.parametrize(("device", "steps_back"), [("cpu", 1), ("cuda:0", 0)])
def test_only_a_worker_that_computes_on_the_cpu_steps_back(
    device: str, steps_back: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU would wait for the processes that decode."""
    calls: list[None] = []
    monkeypatch.setattr(service.api, "_step_back", lambda: calls.append(None))
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def no_model(*_: object) -> None:
        raise ModelError("no model here")

    monkeypatch.setattr("service.model.startup.ready_classifier", no_model)
    api: ImageClassifierAPI = build_server(load_settings([], "unit_tests")).lit_api
    with pytest.raises(ModelError):
        api.setup(device)
    assert len(calls) == steps_back
    assert api._details.read() == {"failure": "no model here"}


def test_a_worker_serves_where_it_may_not_step_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox denies it, or the server was started with a higher niceness than the workers'."""
    asked: list[int] = []

    def nice(increment: int) -> int:
        asked.append(increment)
        if increment < 0:
            raise PermissionError
        return 15

    monkeypatch.setattr(os, "nice", nice)
    _step_back()
    assert asked == [0, 0]

    def denied(increment: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "nice", denied)
    _step_back()
