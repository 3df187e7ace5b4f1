"""The compiled network answers as the network itself, is compiled once, and is done without where it can't be had."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

import service.model.compiled
import service.model.compiler
import service.model.forward
import service.settings
from perf_tests.targets import CLASSIFIER
from service.images import Pixels
from service.model.cache import find_or_build
from service.model.classifier import Classifier
from service.model.compiled import CompiledNetwork, load_package
from service.model.compiler import CompileJob
from service.model.errors import EngineError
from service.model.forward import EagerNetwork, chosen_engine, load_forward
from service.model.network import ImageNetwork
from service.model.startup import ready_classifier
from service.model.weights import load_model
from service.settings import Engine, Precision, Settings, load_settings
from unit_tests.builders.repository import ROOT

_CPU = torch.device("cpu")
_SIZE = 32
_HANGS_S = 60
_MODEL = "test_resnet"
# Inductor takes a minute to compile the small network.
_COMPILING = ["openvino", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network and, in time, its compiled forms."""
    folder = tmp_path_factory.mktemp("compiled")
    torch.manual_seed(1)
    torch.save(timm.create_model(_MODEL, num_classes=3).state_dict(), folder / "weights.pth")
    return folder


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The small network, for images of 32 pixels, one or two at a time, with the module's own cache.

    Two workers share four cores, whatever this machine has: all tests use the same compiled network.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(service.settings, "cpu_count", lambda: 4)
    return _settings(folder / "weights.pth")


def _settings(checkpoint: Path, *more: str) -> Settings:
    arguments = ["--model", _MODEL, "--checkpoint", str(checkpoint), "--labels", "Lynx,Wolf,Hare"]
    arguments += ["--image-size", str(_SIZE), "--micro-batch-size", "2", "--workers-per-device", "2"]
    return load_settings([*arguments, *more], "unit_tests")


@pytest.fixture
def images() -> torch.Tensor:
    """Five images of noise: two pairs and one."""
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, (5, _SIZE, _SIZE, 3), np.uint8))


def _own_answer(settings: Settings, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return EagerNetwork(ImageNetwork(load_model(settings), "float32", _CPU), 8)(images)


def _refuse_to_start(*_: object, **__: object) -> None:
    raise AssertionError("nothing is compiled again")


@pytest.mark.parametrize("engine", _COMPILING)
def test_the_compiled_network_answers_as_the_network(
    engine: Engine, settings: Settings, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """For any number of images; the second time it comes from the cache, without a compiler."""
    settings = settings.model_copy(update={"engine": engine})
    forward = load_forward(settings, _CPU, "float32")
    assert isinstance(forward, CompiledNetwork), caplog.text
    assert (forward.engine, forward.sizes) == (engine, (2, 1))
    expected = _own_answer(settings, images)
    for count in range(1, len(images) + 1):
        for use_all_cores in (False, True):
            answer = forward(images[:count], use_all_cores=use_all_cores)
            torch.testing.assert_close(answer, expected[:count], rtol=1e-3, atol=1e-4)

    caplog.clear()
    monkeypatch.setattr(subprocess, "Popen", _refuse_to_start)
    again = load_forward(settings, _CPU, "float32")
    assert isinstance(again, CompiledNetwork)
    torch.testing.assert_close(again(images), forward(images), rtol=0, atol=0)
    assert caplog.text == ""


@pytest.mark.slow
def test_a_pass_that_a_graph_can_be_made_of_answers_as_any_other(
    settings: Settings, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch runs it otherwise: no run waits for the one before."""
    entries: list[Path] = []

    def find(*arguments: Any, **options: Any) -> Path:
        entries.append(find_or_build(*arguments, **options))
        return entries[-1]

    monkeypatch.setattr(service.model.forward, "find_or_build", find)
    forward = load_forward(settings.model_copy(update={"engine": "inductor"}), _CPU, "float32")
    recordable = load_package(entries[0] / "2", "inductor", "float32", _CPU, recordable=True)
    for pair in (images[:2], images[2:4]):
        torch.testing.assert_close(recordable(pair), forward(pair), rtol=0, atol=0)


def test_in_bfloat16_the_default_model_is_compiled_and_knows_the_cat(
    classifier: Classifier, cat_batch: Pixels, caplog: pytest.LogCaptureFixture
) -> None:
    """On a CPU that has no such instruction OpenVINO computes in float32."""
    compiled = Classifier.from_settings(load_settings(["--precision", "bfloat16"], "unit_tests"), "cpu")
    assert (compiled.engine, compiled.precision) == ("openvino", "bfloat16"), caplog.text
    np.testing.assert_allclose(compiled.predict(cat_batch[:1]), classifier.predict(cat_batch[:1]), atol=0.01)


_START = """
import json, sys
import service.settings
from service.model.startup import ready_classifier
from service.settings import load_settings

service.settings.cpu_count = lambda: 4
classifier = ready_classifier(load_settings(json.loads(sys.argv[1]), "unit_tests"), "cpu")
slow = {"timm", "torchvision", "torch._dynamo"} & sys.modules.keys()
print(json.dumps([classifier.engine, *slow]))
"""


@pytest.mark.parametrize("engine", _COMPILING)
def test_a_start_with_a_compiled_model_needs_neither_timm_nor_a_compiler(engine: Engine, settings: Settings) -> None:
    """They take seconds to import."""
    load_forward(settings.model_copy(update={"engine": engine}), _CPU, "float32")
    arguments = ["--model", _MODEL, "--checkpoint", str(settings.checkpoint), "--labels", "Lynx,Wolf,Hare"]
    arguments += ["--image-size", str(_SIZE), "--micro-batch-size", "2", "--workers-per-device", "2"]
    command = [sys.executable, "-c", _START, json.dumps([*arguments, "--precision", "float32", "--engine", engine])]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(finished.stdout) == [engine]


@pytest.mark.parametrize(("engine", "threads"), [("openvino", 1), ("eager", 2)])
def test_torch_leaves_the_cores_to_openvino(engine: Engine, threads: int, settings: Settings) -> None:
    """Its threads would wait for work on them, for a softmax now and then."""
    before = torch.get_num_threads()
    change = {"engine": engine, "precision": "float32"}
    try:
        assert ready_classifier(settings.model_copy(update=change), "cpu").engine == engine
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
        torch.set_grad_enabled(True)


def test_the_default_model_is_compiled_and_gives_the_published_probability(
    classifier: Classifier, cat_batch: Pixels
) -> None:
    """With the user's own cache: the first run on a machine compiles it, as the first start of a server would."""
    compiled = Classifier.from_settings(load_settings(["--precision", "float32"], "unit_tests"), "cpu")
    assert compiled.engine == "openvino"
    np.testing.assert_allclose(compiled.predict(cat_batch), classifier.predict(cat_batch), atol=1e-4)
    probabilities = compiled.log_probabilities(cat_batch)[0].exp()
    assert float(probabilities[281:286].sum()) == pytest.approx(0.920, abs=0.005)


def test_switched_off_nothing_is_compiled(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the cache touched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    off = settings.model_copy(update={"engine": "eager"})
    forward = load_forward(off, _CPU, "float32")
    assert isinstance(forward, EagerNetwork)
    assert forward.fallback is None
    assert list(tmp_path.iterdir()) == []


def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")


def _compiler_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('this operator is not supported')"]
    monkeypatch.setattr(service.model.forward, "command_line", lambda *_: command)


def _compiler_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.model.forward, "command_line", lambda *_: ["sleep", str(_HANGS_S)])
    monkeypatch.setattr(service.model.forward, "_COMPILE_TIMEOUT_S", 0.2)


def _package_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_junk(jobs: list[CompileJob], folder: Path) -> None:
        for job in jobs:
            (folder / str(job.size)).mkdir()
            (folder / str(job.size) / "model.so").write_bytes(b"junk")

    monkeypatch.setattr(service.model.forward, "_compile", write_junk)


def _package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.model.forward, "_PACKAGES", ("timm-of-another-name", "torch"))


_FAILURES = [
    (_no_compiler, "there is no C++ compiler 'no-such-compiler'"),
    (_compiler_fails, "the compiler ended with status 1:\nthis operator is not supported"),
    (_compiler_hangs, "the compiler was not ready after 0 s"),
    (_package_is_broken, "can't be loaded"),
    (_package_is_missing, "the package timm-of-another-name is not installed"),
]


@pytest.mark.parametrize(("prepare", "reason"), _FAILURES)
def test_without_a_compiled_model_the_network_runs_as_it_is(
    prepare: Callable[[pytest.MonkeyPatch], None], reason: str, settings: Settings, images: torch.Tensor,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Where the engine is left to the service: the same answers, and a line in the log that says why it is slow."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(service.model.forward, "chosen_engine", lambda *_: "inductor")
    prepare(monkeypatch)
    start_s = time.monotonic()
    forward = load_forward(settings, _CPU, "float32")
    assert time.monotonic() - start_s < _HANGS_S, "a compiler that hangs is killed"
    assert isinstance(forward, EagerNetwork)
    assert "the model runs without being compiled, which is slower: " in caplog.text
    assert reason in caplog.text
    assert forward.fallback is not None
    assert forward.fallback.startswith("inductor can't run the model, so torch runs it without compiling: ")
    assert " ".join(reason.split()) in forward.fallback
    with torch.inference_mode():
        torch.testing.assert_close(forward(images), _own_answer(settings, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("prepare", "reason"), _FAILURES)
def test_an_engine_that_was_asked_for_is_had_or_the_start_ends(
    prepare: Callable[[pytest.MonkeyPatch], None], reason: str, settings: Settings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A user who names an engine would take the figures of another engine for its figures."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepare(monkeypatch)
    with pytest.raises(EngineError, match=r"^CLASSIFIER_ENGINE \(--engine\)=inductor can't run the model: ") as caught:
        load_forward(settings.model_copy(update={"engine": "inductor"}), _CPU, "float32")
    assert " ".join(reason.split()) in str(caught.value)


_WITHOUT_OPENVINO = """
import importlib.metadata, json, sys

sys.modules["openvino"] = None  # an import of it raises ImportError
installed = importlib.metadata.version
def version(name):
    if name == "openvino":
        raise importlib.metadata.PackageNotFoundError(name)
    return installed(name)
importlib.metadata.version = version

from pathlib import Path
import torch
import service.model.compiler, service.model.compiled
import service.model.forward as forward
from service.model.cache import CompileError
from service.settings import load_settings

def find_or_build(folder, key, build, wait_s):
    print(json.dumps(key["packages"]))
    raise CompileError("this is not about compiling")

forward.find_or_build = find_or_build
for precision in ("float16", "float32"):
    print(forward.load_forward(load_settings([], "unit_tests"), torch.device("cpu"), precision).fallback)
"""


def test_only_the_engine_openvino_needs_openvino() -> None:
    """A GPU's deployment doesn't install it. On a CPU, whose engine it is, the fallback says that it is missing."""
    command = [sys.executable, "-c", _WITHOUT_OPENVINO]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert finished.returncode == 0, finished.stderr
    packages, of_inductor, of_openvino = finished.stdout.splitlines()
    assert json.loads(packages).keys() == {"timm", "torch", "torchvision"}
    assert of_inductor.endswith("this is not about compiling")
    assert of_openvino.endswith("the package openvino is not installed")


def test_compilers_share_the_cores(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take all of them, up to 32."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = "import os, sys; sys.exit(os.environ['TORCHINDUCTOR_COMPILE_THREADS'] + ' threads')"
    monkeypatch.setattr(service.model.forward, "command_line", lambda *_: [sys.executable, "-c", program])
    with pytest.raises(EngineError, match="2 threads"):  # four cores, two sizes
        load_forward(settings.model_copy(update={"engine": "openvino"}), _CPU, "float32")


class _AskedError(Exception):
    """The cache was asked for an entry."""


def _key(settings: Settings, precision: Precision, monkeypatch: pytest.MonkeyPatch, device: torch.device = _CPU) -> str:
    keys: list[Mapping[str, object]] = []

    def find(_: Path, key: Mapping[str, object], *__: Any, **___: Any) -> Path:
        keys.append(key)
        raise _AskedError

    monkeypatch.setattr(service.model.forward, "find_or_build", find)
    with suppress(_AskedError):
        load_forward(settings, device, precision)
    [key] = keys
    return json.dumps(key, sort_keys=True)


def test_everything_that_changes_the_compiled_model_changes_its_key(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another network, image size, precision, batch size, thread count, CPU, torch or source is another entry."""
    weights = folder / "weights.pth"
    two = folder / "two.pth"
    torch.save(timm.create_model(_MODEL, num_classes=3).state_dict(), two)
    keys = [
        _key(settings, "float32", monkeypatch),
        _key(settings, "bfloat16", monkeypatch),
        *(
            _key(other, "float32", monkeypatch)
            for other in (
                _settings(two),
                _settings(weights, "--image-size", "64"),
                _settings(weights, "--micro-batch-size", "3"),
                _settings(weights, "--workers-per-device", "1"),
                _settings(weights, "--engine", "inductor"),
            )
        ),
    ]
    for module, name, value in [
        (torch.cpu, "get_capabilities", lambda: {"architecture": "another"}),
        (service.model.forward, "version", lambda name: f"another {name}"),
        (service.model.forward, "_SOURCES", ("network.py",)),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            keys.append(_key(settings, "float32", patch))
    assert len(set(keys)) == len(keys)
    assert _key(settings.model_copy(update={"port": 9000}), "float32", monkeypatch) == keys[0], "the rest doesn't count"


def test_gpus_of_one_kind_share_the_compiled_model(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's workers on each of them, and the model's own worker, which names none."""
    kinds = {None: "NVIDIA L4", 0: "NVIDIA L4", 1: "NVIDIA L4", 2: "NVIDIA L40"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: kinds[device.index])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 9))
    keys = [
        _key(settings, "bfloat16", monkeypatch, torch.device(name)) for name in ("cuda", "cuda:0", "cuda:1", "cuda:2")
    ]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_start_has_more_time_than_compiling_may_take() -> None:
    """A worker may wait for another one's compiler to give up, and then loads the model without compiling it."""
    start_timeout_s = load_settings([], "unit_tests").start_timeout_s
    assert 2 * service.model.forward._COMPILE_TIMEOUT_S < start_timeout_s < CLASSIFIER.ready_deadline_s


@pytest.mark.parametrize(
    ("flags", "device", "precision", "engine"),
    [
        ([], "cpu", "float32", "openvino"),
        ([], "cpu", "bfloat16", "openvino"),
        ([], "cpu", "float16", "inductor"),
        ([], "cuda", "float32", "inductor"),
        (["--engine", "inductor"], "cpu", "float32", "inductor"),
        (["--engine", "eager"], "cuda", "bfloat16", "eager"),
    ],
)
def test_the_engine_is_that_of_the_settings_or_the_fastest(
    flags: list[str], device: str, precision: Precision, engine: Engine
) -> None:
    """OpenVINO where it computes in the precision that is wanted."""
    assert chosen_engine(load_settings(flags, "unit_tests"), torch.device(device), precision) == engine
