"""Stage times, batch sizes and answers are counted over all processes of the service, and nothing is left behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service import metrics
from service.environment import METRICS_FOLDER
from service.stages import Stage, StageTimer
from unit_tests.builders.observing import growth, read_samples
from unit_tests.builders.repository import ROOT

# Of the middleware: there once a request has come.
_COUNTED_BY_REQUESTS = {"classifier_requests_total", "classifier_requests_in_flight"}


def _samples() -> dict[str, float]:
    return read_samples(metrics.exposition().decode())


def _python(program: str, environment: dict[str, str]) -> str:
    """What a fresh process prints that runs the program."""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return finished.stdout.strip()


@pytest.mark.parametrize("stage", ["decode", "queue", "batch", "predict", "encode"])
def test_a_stages_seconds_are_counted_and_summed(stage: Stage) -> None:
    """Each stage has its own count and sum."""
    before = _samples()
    metrics.observe_stage(StageTimer(stage, 0.25))
    metrics.observe_stage(StageTimer(stage, 0.5))
    grown = growth(before, _samples())
    counted = {name: value for name, value in grown.items() if "_bucket" not in name}
    assert counted == {
        f"classifier_stage_seconds_count{{{stage}}}": 2,
        f"classifier_stage_seconds_sum{{{stage}}}": 0.75,
    }


def test_a_stage_that_fails_is_timed_too() -> None:
    """The error passes through, and its time counts."""
    before = _samples()
    with pytest.raises(ZeroDivisionError), metrics.timed_stage(StageTimer("decode")):
        raise ZeroDivisionError
    assert growth(before, _samples())["classifier_stage_seconds_count{decode}"] == 1


def test_batch_sizes_are_counted_as_they_were() -> None:
    """The count is that of batches, the sum that of requests."""
    before = _samples()
    for requests in (1, 5, 64):
        metrics.observe_batch_size(requests)
    grown = growth(before, _samples())
    assert grown["classifier_batch_size_count"] == 3
    assert grown["classifier_batch_size_sum"] == 70
    assert grown["classifier_batch_size_bucket{1.0}"] == 1
    assert grown["classifier_batch_size_bucket{8.0}"] == 2
    assert grown["classifier_batch_size_bucket{64.0}"] == 3


@pytest.mark.anyio
async def test_answers_are_counted_by_status_and_requests_while_in_flight() -> None:
    """Only the path that was asked for counts, and a request that raises is no longer in flight either."""
    in_flight: list[float] = []

    def answer(request: Request) -> Response:
        in_flight.append(_samples()["classifier_requests_in_flight"])
        if "raise" in request.query_params:
            raise ZeroDivisionError
        return PlainTextResponse("", int(request.query_params["status"]))

    app = metrics.RequestMetrics(Starlette(routes=[Route("/predict", answer), Route("/health", answer)]), "/predict")
    before = _samples()
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        for path in ("/predict?status=200", "/predict?status=200", "/predict?status=422", "/health?status=503"):
            await client.get(path)
        with pytest.raises(ZeroDivisionError):
            await client.get("/predict?raise")
    after = _samples()
    grown = growth(before, after)
    assert {name: value for name, value in grown.items() if name.startswith("classifier_requests_total")} == {
        "classifier_requests_total{200}": 2,
        "classifier_requests_total{422}": 1,
        "classifier_requests_total{500}": 1,
    }
    assert in_flight == [1, 1, 1, 0, 1]
    assert after["classifier_requests_in_flight"] == 0


def test_the_metrics_are_those_of_all_processes() -> None:
    """What another process of the service observed, alive or ended, is in the sum."""
    before = _samples()
    _python("from service import metrics; metrics.observe_batch_size(7)", {})
    assert growth(before, _samples())["classifier_batch_size_sum"] == 7


@pytest.mark.parametrize("inherited", [True, False])
def test_importing_the_metrics_changes_neither_environment_nor_disk(inherited: bool, tmp_path: Path) -> None:
    """Whether the process has inherited a folder or not."""
    folder = tmp_path / "inherited"
    folder.mkdir()
    environment = {"TMPDIR": str(tmp_path), METRICS_FOLDER: str(folder) if inherited else ""}
    program = "import os; before = dict(os.environ); import service.metrics; print(os.environ == before)"
    assert _python(program, environment) == "True"
    assert list(tmp_path.rglob("*")) == [folder]


def test_the_dashboard_asks_only_for_metrics_that_there_are() -> None:
    """docs/grafana-dashboard.json; a histogram's parts count by its name."""
    metrics.observe_stage(StageTimer("decode", 0.001))
    metrics.observe_batch_size(1)
    there = set(re.findall(r"^# TYPE (\S+) ", metrics.exposition().decode(), re.MULTILINE))
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for expression in expressions for name in re.findall(r"classifier_\w+", expression)}
    assert len(asked) >= 6
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in asked} <= there | _COUNTED_BY_REQUESTS


def test_a_folder_that_is_given_and_not_there_is_made(tmp_path: Path) -> None:
    """As a deployment's manifest names it, in an empty volume."""
    folder = tmp_path / "metrics" / "classifier"
    program = (
        "from service.environment import share_metrics; share_metrics()\n"
        "from service import metrics; metrics.observe_batch_size(3); print(metrics.exposition().decode())"
    )
    assert "classifier_batch_size_sum 3.0" in _python(program, {"PROMETHEUS_MULTIPROC_DIR": str(folder)})
    assert list(folder.iterdir())


@pytest.mark.parametrize("folder", ["/proc/no/folder", "/proc", "/proc/version"])
def test_a_folder_that_cannot_be_made_or_written_to_is_a_sentence(folder: str) -> None:
    program = (
        "from service.environment import share_metrics\nfrom service.settings import SettingsError\n"
        "try:\n    share_metrics()\nexcept SettingsError as error:\n    print(error)"
    )
    sentence = _python(program, {"PROMETHEUS_MULTIPROC_DIR": folder})
    assert re.fullmatch(f"PROMETHEUS_MULTIPROC_DIR={folder}: .*; name a folder to write to", sentence)
