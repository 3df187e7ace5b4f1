"""The real server: it answers under load, ends cleanly on a signal, and says why it doesn't start."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
import timm
import torch
from PIL import Image

from perf_tests.photos import cat_jpeg
from servegate.processes.managed import ManagedProcess
from servegate.processes.ports import free_port, is_port_free
from servegate.processes.server import ServerProcess
from service.server import build_server, main
from service.settings import load_settings
from tools.stress.image_files import cat_png, encode, json_body, quadrants
from tools.stress.server_processes import workers_of
from unit_tests.builders.observing import growth, read_samples, wait_until
from unit_tests.builders.repository import ROOT

_SERVER = [sys.executable, "-m", "service.server"]
_TIMEOUT_S = 60.0


# Body and content type of a bad request, and its status.
_BAD_REQUESTS = [
    (b"{", "application/json", 400),
    (b'{"image": "@@@@"}', "application/json", 400),
    (b"{}", "application/json", 422),
    (cat_jpeg()[:9_000], "image/jpeg", 422),
    (encode(quadrants(), "TIFF"), "image/tiff", 415),
    (cat_jpeg(), "text/plain", 415),
    (encode(Image.new("1", (9_000, 9_000)), "PNG"), "image/png", 413),
    (b" " * 31_000_000, "application/json", 413),
]


def _ask(url: str, body: bytes, content_type: str = "application/json") -> requests.Response:
    return requests.post(f"{url}/predict", data=body, headers={"content-type": content_type}, timeout=_TIMEOUT_S)


def _metrics(url: str) -> dict[str, float]:
    return read_samples(requests.get(f"{url}/metrics", timeout=_TIMEOUT_S).text)


def _living_processes(group: int) -> list[str]:
    living: list[str] = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                living.append(" ".join(process.cmdline()))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue  # ended while the list was made
    return living


def test_the_settings_reach_litserve() -> None:
    """Device, workers, batches and timeouts are those of the settings."""
    flags = ["--device", "cpu", "--workers-per-device", "3", "--max-batch-size", "5", "--batch-timeout-s", "0.2"]
    server = build_server(load_settings([*flags, "--request-timeout-s", "7", "--stop-timeout-s", "8"], "unit_tests"))
    assert (server.devices, server.workers_per_device, server.timeout) == (["cpu"], 3, 7)
    assert (server.lit_api.max_batch_size, server.lit_api.batch_timeout) == (5, 0.2)
    assert server.uvicorn_graceful_timeout == 8


def test_a_wrong_setting_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong; nothing is started."""
    assert main(["--port", "80"]) == 2
    assert capsys.readouterr().err == "--port=80: Input should be greater than or equal to 1024\n"


def test_good_and_bad_requests_at_once_each_get_their_own_answer(server: ServerProcess) -> None:
    """32 at a time, a quarter of them bad: nobody pays for a neighbour, and the metrics have counted each."""
    cat = (json_body(cat_jpeg()), "application/json", 200)
    calls = [call for bad in _BAD_REQUESTS for call in (cat, cat, bad, cat)]
    before = _metrics(server.url)
    with ThreadPoolExecutor(len(calls)) as pool:
        responses = list(pool.map(lambda call: _ask(server.url, *call[:2]), calls))
    grown = growth(before, _metrics(server.url))

    assert [response.status_code for response in responses] == [status for _, _, status in calls]
    for response in responses:
        if response.ok:
            best = response.json()["predictions"][0]
            assert best["label"] == "Cat"
            assert best["probability"] == pytest.approx(0.996, abs=0.01)
        else:
            assert isinstance(response.json()["detail"], str)

    assert grown["classifier_batch_size_sum"] == 24
    assert grown["classifier_batch_size_count"] < 24, "some were predicted together"
    for stage in ("batch", "predict"):
        assert grown[f"classifier_stage_seconds_count{{{stage}}}"] == grown["classifier_batch_size_count"]
    for stage in ("queue", "encode"):
        assert grown[f"classifier_stage_seconds_count{{{stage}}}"] == 24
    answers = {name: count for name, count in grown.items() if name.startswith("classifier_requests_total")}
    assert answers == {f"classifier_requests_total{{{status}}}": 2 for status in (400, 413, 415, 422)} | {
        "classifier_requests_total{200}": 24
    }
    assert "classifier_requests_in_flight" not in grown, "none is left"


def _run_client(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.client", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)


def test_the_client_prints_a_line_a_file(server: ServerProcess, tmp_path: Path) -> None:
    """Several files of several types: status 0, best label first."""
    jpeg, png = tmp_path / "cat.jpg", tmp_path / "cat.png"
    jpeg.write_bytes(cat_jpeg())
    png.write_bytes(cat_png())
    finished = _run_client(jpeg, png, "--url", server.url)
    assert (finished.returncode, finished.stderr) == (0, "")
    answer = r"Cat 99\.\d%, Dog 0\.\d%"
    assert re.fullmatch(f"{re.escape(str(jpeg))}: {answer}\n{re.escape(str(png))}: {answer}\n", finished.stdout)


def test_files_that_fail_do_not_stop_the_clients_others(server: ServerProcess, tmp_path: Path) -> None:
    """A missing file, a folder, text and half an image: a sentence each, status 1, and the good file's line."""
    good, none, text, half = (tmp_path / f"{name}.jpg" for name in ("good", "none", "text", "half"))
    good.write_bytes(cat_jpeg())
    text.write_text("no image")
    half.write_bytes(cat_jpeg()[:9_000])
    finished = _run_client(none, tmp_path, text, half, good, "--url", f"{server.url}/")
    assert finished.returncode == 1
    assert finished.stdout.startswith(f"{good}: Cat 99")
    expected = [
        f"{none}: can't read the file: No such file or directory",
        f"{tmp_path}: can't read the file: Is a directory",
        f"{text}: the server refuses it (415): not an image of a supported type",
        f"{half}: the server refuses it (422): the JPEG image is truncated",
    ]
    for line, start in zip(finished.stderr.splitlines(), expected, strict=True):
        assert line.startswith(start)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder for a server's temporary files. Not pytest's: its path would be too long for a socket's."""
    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        yield Path(folder)


def _interrupt_group(process: ManagedProcess) -> None:
    os.killpg(process.pid, signal.SIGINT)


def _terminate(process: ManagedProcess) -> None:
    os.kill(process.pid, signal.SIGTERM)


def _interrupt_children_late(process: ManagedProcess) -> None:
    """Ctrl-C on a busy machine: the parent's word to drain comes before the terminal's signal."""
    children = psutil.Process(process.pid).children()
    _terminate(process)
    wait_until(lambda: "Waiting for connections to close" in process.log_tail(), "the server drains", 25)
    for child in children:
        child.send_signal(signal.SIGINT)


# A shell starts the background jobs of a script with SIGINT ignored, and a program inherits that.
_IGNORING_SIGINT = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        pytest.param([], _terminate, id="SIGTERM"),
        pytest.param([], _interrupt_group, id="Ctrl-C", marks=pytest.mark.slow),
        pytest.param([], _interrupt_children_late, id="Ctrl-C that comes late", marks=pytest.mark.slow),
        pytest.param(_IGNORING_SIGINT, _interrupt_group, id="SIGINT to a background job", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_server_answers_what_is_in_flight_and_leaves_nothing(
    start: list[str], stop: Callable[[ManagedProcess], None], own_folder: Path
) -> None:
    """Under load: each request in flight gets its 200, status 0, and no process, port, folder or traceback stays."""
    command = [*start, *_SERVER, "--workers-per-device", "1"]
    environment = {"TMPDIR": str(own_folder), "PROMETHEUS_MULTIPROC_DIR": ""}
    with (
        ServerProcess(command, cwd=ROOT, env=environment, ready_deadline_s=180) as server,
        ThreadPoolExecutor(16) as pool,
    ):
        process, port = server.process, server.port
        assert list(own_folder.glob("classifier-metrics-*")), "its files are where they are looked for"
        [worker] = workers_of(process.pid)
        worker.suspend()  # so that all requests are in flight for sure when the signal comes
        answers = [pool.submit(_ask, server.url, json_body(cat_jpeg())) for _ in range(16)]
        wait_until(
            lambda: _metrics(server.url).get("classifier_stage_seconds_count{decode}") == 16, "all are in flight", 30
        )
        stop(process)
        worker.resume()

        assert [answer.result().status_code for answer in answers] == [200] * 16
        wait_until(lambda: process.returncode is not None, "it has ended", 25)
        assert process.returncode == 0
        wait_until(lambda: _living_processes(process.pid) == [], "its processes have ended", 5)
        assert is_port_free(port)
        assert list(own_folder.glob("classifier-metrics-*")) == []
        assert "Traceback" not in process.log_tail()
        assert "Finished server process" in process.log_tail()


def test_a_server_that_is_stopped_while_it_starts_leaves_nothing(own_folder: Path) -> None:
    """SIGTERM while its worker hangs in loading: status 130, as for any interrupted program, and no process stays."""
    command = [*_SERVER, "--workers-per-device", "1", "--port", str(free_port())]
    environment = {"TMPDIR": str(own_folder), "PROMETHEUS_MULTIPROC_DIR": ""}
    with ManagedProcess(command, cwd=ROOT, env=environment, name="the server") as process:
        wait_until(lambda: workers_of(process.pid) != [], "it has started a worker", 60)
        workers_of(process.pid)[0].suspend()  # it would hang for ever
        _terminate(process)
        wait_until(lambda: process.returncode is not None, "it has ended", 25)
        assert process.returncode == 130
        wait_until(lambda: _living_processes(process.pid) == [], "its processes have ended", 5)
        assert "Traceback" not in process.log_tail()
        assert list(own_folder.glob("classifier-metrics-*")) == []


def _compilers(cache: Path) -> list[psutil.Process]:
    """The processes that compile into the cache: an argument names a folder in it."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(argument.startswith(str(cache)) for argument in process.info["cmdline"] or ())
    ]


@pytest.mark.slow
def test_a_server_that_is_stopped_while_it_compiles_leaves_nothing(own_folder: Path) -> None:
    """SIGTERM at a first start: status 130, and neither the compiler nor the server stays."""
    command = [*_SERVER, "--workers-per-device", "1", "--port", str(free_port())]
    environment = {"TMPDIR": str(own_folder), "XDG_CACHE_HOME": str(own_folder), "PROMETHEUS_MULTIPROC_DIR": ""}
    with ManagedProcess(command, cwd=ROOT, env=environment, name="the server") as process:
        wait_until(lambda: _compilers(own_folder) != [], "it compiles", 60)
        _terminate(process)
        wait_until(lambda: process.returncode is not None, "it has ended", 25)
        assert process.returncode == 130
        # The compiler sees by itself, now and then, that nobody waits for it.
        wait_until(lambda: _living_processes(process.pid) == [], "its processes have ended", 30)
        wait_until(lambda: _compilers(own_folder) == [], "its compiler has ended", 30)


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_ends_the_server_with_its_names(own_folder: Path) -> None:
    """The server doesn't wait for ever for a worker that can't load: it ends, and says which tensors."""
    state = timm.create_model("test_resnet", num_classes=2).state_dict()
    state["fc.weights"] = state.pop("fc.weight")
    torch.save(state, own_folder / "weights.pth")
    flags = ["--model", "test_resnet", "--checkpoint", str(own_folder / "weights.pth"), "--labels", "Cat,Dog"]
    command = [*_SERVER, "--workers-per-device", "1", "--port", str(free_port()), *flags]
    environment = {"TMPDIR": str(own_folder), "PROMETHEUS_MULTIPROC_DIR": ""}
    with ManagedProcess(command, cwd=ROOT, env=environment, name="the server") as process:
        wait_until(lambda: process.returncode is not None, "it has ended", 120)
        assert process.returncode == 1
        assert "1 missing: fc.weight; 1 unexpected: fc.weights" in process.log_tail()
        assert process.log_tail().splitlines()[-1].startswith("the server did not start: ")
        wait_until(lambda: _living_processes(process.pid) == [], "its processes have ended", 5)
        assert list(own_folder.glob("classifier-metrics-*")) == []
