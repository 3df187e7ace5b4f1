"""Checkpoints as frameworks write them and people pass them on: loaded, or told what to do."""

import argparse
import enum
import functools
import io
import logging
import os
import random
import re
import tarfile
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save
from torch import Tensor

from service.model.errors import WeightsError
from service.model.weights import load_model
from service.settings import Settings, load_settings

_MODEL = "test_resnet"
_State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> _State:
    """Fine-tuned weights: a small network of timm's with two outputs and weights of its own."""
    torch.manual_seed(1)
    weights: _State = timm.create_model(_MODEL, num_classes=2).state_dict()
    return weights


def _settings(checkpoint: Path, *flags: str, model: str = _MODEL) -> Settings:
    return load_settings(
        ["--model", model, "--checkpoint", str(checkpoint), "--labels", "Cat,Dog", *flags], "unit_tests"
    )


def _loads(content: object, state: _State, folder: Path, name: str = "weights.pth") -> None:
    torch.save(content, folder / name)
    loaded = load_model(_settings(folder / name)).network.state_dict()
    for key, tensor in state.items():
        assert torch.equal(loaded[key], tensor), key


def _refusal(path: Path, *flags: str, model: str = _MODEL) -> str:
    with pytest.raises(WeightsError) as caught:
        load_model(_settings(path, *flags, model=model))
    text = str(caught.value)
    assert str(path) in text or "CLASSIFIER_IMAGE_SIZE" in text
    assert "weights_only" not in text
    assert "\x1b" not in text
    assert "\n" not in text
    return text


def _named(state: _State, prefix: str) -> _State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "model.", "module.", "net.", "network.", "_orig_mod."),
        *("model._orig_mod.", "_orig_mod.module.", "module.model.", "model.net.", "module._orig_mod.model.net."),
    ],
)
def test_what_wrappers_put_before_the_names_is_taken_off(prefix: str, state: _State, tmp_path: Path) -> None:
    """DataParallel, torch.compile, Lightning, and one in another."""
    _loads(_named(state, prefix), state, tmp_path)
    _loads({"state_dict": _named(state, prefix), "epoch": 3}, state, tmp_path)


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_what_wrappers_put_between_the_names_is_taken_off(wrapper: str, state: _State, tmp_path: Path) -> None:
    """Where a part of the network alone was compiled or sharded."""
    inner = {name.replace("layer1.", f"layer1.{wrapper}"): tensor for name, tensor in state.items()}
    assert inner.keys() != state.keys()
    _loads(_named(inner, "model."), state, tmp_path)


@pytest.mark.parametrize(
    "place", ["state_dict", "model_state_dict", "model", "net", "module", "params", "state_dict_ema"]
)
def test_the_weights_are_found_where_frameworks_put_them(place: str, state: _State, tmp_path: Path) -> None:
    content = {place: OrderedDict(state), "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "epoch": 7}
    _loads(content, state, tmp_path)


@pytest.mark.parametrize("place", ["state_dict_ema", "model_ema"])
def test_of_timms_checkpoints_the_moving_average_is_taken(
    place: str, state: _State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As timm's own loader does; the log says so."""
    content = {
        "state_dict": {name: tensor + 1 for name, tensor in state.items()},
        place: state,
        "arch": _MODEL,
        "args": argparse.Namespace(model=_MODEL, lr=0.1),
        "metric": 97.5,
    }
    with caplog.at_level(logging.WARNING):
        _loads(content, state, tmp_path, "model_best.pth.tar")
    assert f"holds {place}, state_dict: {place} is taken" in caplog.text


def test_what_else_a_lightning_module_has_is_left_aside_and_named(
    state: _State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its loss, its metrics, and a moving average of the network."""
    more = {"criterion.weight": torch.ones(2), "val_acc.tp": torch.zeros(2), "_extra_state": {"a": 1}}
    ema = {f"ema.module.{name}": tensor + 1 for name, tensor in state.items()}
    with caplog.at_level(logging.WARNING):
        _loads({"state_dict": {**more, **_named(state, "model."), **ema}}, state, tmp_path, "last.ckpt")
    assert "left aside criterion.weight, ema.module." in caplog.text
    assert "more" in caplog.text


def test_counters_of_batches_may_be_missing(state: _State, tmp_path: Path) -> None:
    """Old versions of torch had none, and nothing reads them."""
    without = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(state)
    _loads(without, without, tmp_path)


def test_some_counters_of_batches_may_be_missing_below_a_prefix(state: _State, tmp_path: Path) -> None:
    """As where a part of the network comes from an older file; the others count."""
    without = {name: tensor for name, tensor in state.items() if name != "bn1.num_batches_tracked"}
    assert len(without) == len(state) - 1
    _loads({"state_dict": _named(without, "model.")}, without, tmp_path, "last.ckpt")


@pytest.mark.parametrize(
    "name", ["w.pt", "w.bin", "w.pth.tar", "W.PTH", "w.CKPT", "pytorch_model", "w.safetensors", "w"]
)
@pytest.mark.parametrize("kind", ["torch.save", "torch.save of old", "safetensors"])
def test_the_content_counts_and_not_the_name(kind: str, name: str, state: _State, tmp_path: Path) -> None:
    path = tmp_path / name
    if kind == "safetensors":
        path.write_bytes(save(state))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch.save")
    assert torch.equal(load_model(_settings(path)).network.state_dict()["fc.bias"], state["fc.bias"])


def _square(x: float) -> float:
    return x * x


class _Reduction(enum.Enum):
    MEAN = 1


@dataclass
class _Config:
    lr: float = 0.1


class _Node(dict[str, object]):
    """As YACS and MMEngine have it."""

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        self.is_frozen = True


class _Groups(list[object]):
    """As a framework's own lists."""

    def __init__(self, values: Sequence[object] = ()) -> None:
        super().__init__(values)
        self.kind = "groups"


@pytest.mark.parametrize(
    "hyper_parameters",
    [
        pytest.param({"data": Path("/data/cats")}, id="path"),
        pytest.param({"lr": np.float64(0.1), "n": np.int64(3), "a": np.ones(3)}, id="numpy"),
        pytest.param({"optimizer": functools.partial(torch.optim.SGD, lr=0.1)}, id="partial of a class"),
        pytest.param({"schedule": functools.partial(_square, 2)}, id="partial of a function"),
        pytest.param(argparse.Namespace(lr=0.1, path=Path("/data")), id="argparse's namespace"),
        pytest.param(types.SimpleNamespace(lr=0.1), id="namespace"),
        pytest.param({"loss": torch.nn.CrossEntropyLoss(), "device": torch.device("cpu")}, id="module"),
        pytest.param({Path("/a"): {1, 2}, "d": OrderedDict(a=1), "s": frozenset((1,)), "c": 1j}, id="containers"),
        pytest.param({"type": int, "none": type(None), "d": defaultdict(list, a=[1]), "f": max}, id="built-in types"),
        pytest.param({"history": deque([1.5], maxlen=20), "more": deque()}, id="queues"),
        pytest.param({"at": datetime(2026, 1, 2), "n": Decimal("0.1"), "rng": random.getstate()}, id="library's own"),
        pytest.param({"reduction": _Reduction.MEAN, "config": _Config()}, id="enumeration and dataclass"),
        pytest.param({"config": _Node(lr=_Node(a=0.1)), "groups": _Groups([1, {"a": 2}])}, id="containers of its own"),
        pytest.param({"level": logging.Logger("x").level, "log": logging.LogRecord}, id="class of its own"),
    ],
)
def test_hyper_parameters_of_any_class_are_no_obstacle(hyper_parameters: object, state: _State, tmp_path: Path) -> None:
    """The tensors are loaded; what the classes would do isn't done."""
    _loads({"state_dict": _named(state, "model."), "hyper_parameters": hyper_parameters}, state, tmp_path, "last.ckpt")


def _write(content: bytes) -> Callable[[Path, _State], object]:
    return lambda path, _: path.write_bytes(content)


def _saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _torchscript(path: Path, _: _State) -> None:
    script: Any = torch.jit.script(torch.nn.Linear(2, 2))
    script.save(str(path))


def _tar(path: Path, state: _State) -> None:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("weights.pth")
        member.size = len(_saved(state))
        archive.addfile(member, io.BytesIO(_saved(state)))


_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 13421772\n"
)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        pytest.param(_write(_POINTER), "it is a pointer of Git LFS, not the file itself; .* git lfs pull", id="LFS"),
        pytest.param(_write(b"\n<!DOCTYPE html><html>Sign in"), "it is a web page, as a download without", id="HTML"),
        pytest.param(
            _write(b"<?xml version='1.0'?><Error><Code>AccessDenied"), "it is XML, as a storage", id="S3's error"
        ),
        pytest.param(_torchscript, "it is TorchScript, a program with its weights", id="TorchScript"),
        pytest.param(_write(b"\x89HDF\r\n\x1a\n"), "it is HDF5, as Keras writes it", id="Keras"),
        pytest.param(_tar, "it is compressed; unpack it first", id="tar.gz"),
        pytest.param(
            lambda path, _: torch.save(timm.create_model(_MODEL, num_classes=2), path),
            r"it is a whole pickled model \(timm.models.resnet.ResNet\)",
            id="whole model",
        ),
        pytest.param(
            lambda path, _: torch.save({"epoch": 1, "model": torch.nn.Linear(2, 2)}, path),
            r"it is a whole pickled model \(torch.nn.modules.linear.Linear\)",
            id="whole model in a dictionary",
        ),
        pytest.param(
            lambda path, state: path.write_bytes(_saved(state)[:200_000]), "breaks off, as half a download", id="half"
        ),
        pytest.param(
            lambda path, state: path.write_bytes(save(state)[:-1_000]), "breaks off, as half a", id="half, safetensors"
        ),
        pytest.param(
            lambda path, state: path.write_bytes(save(state)[:1_000]),
            "breaks off, as half a",
            id="its head, safetensors",
        ),
        pytest.param(
            lambda path, state: torch.save({**state, "x": Path("/a")}, path, _use_new_zipfile_serialization=False),
            "can't be read without running code from it: it names pathlib.",
            id="an old torch.save with a path",
        ),
        pytest.param(
            _write(b"PK\5\6" + bytes(18)), "it is a zip archive that torch.save hasn't written", id="empty zip"
        ),
    ],
)
def test_what_is_no_checkpoint_is_told_what_it_is_and_what_to_do(
    write: Callable[[Path, _State], object], sentence: str, state: _State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    write(path, state)
    assert re.search(sentence, _refusal(path))


def _system_call() -> Any:
    class Call:
        def __reduce__(self) -> tuple[Any, ...]:

            return os.system, ("touch /tmp/nobody",)

    return Call()


def test_a_file_that_would_run_a_command_is_refused_with_its_name(state: _State, tmp_path: Path) -> None:
    torch.save({"state_dict": state, "callback": _system_call()}, tmp_path / "weights.ckpt")
    assert "without running code from it: it names posix.system" in _refusal(tmp_path / "weights.ckpt")


def test_one_logit_for_two_labels_is_told_how_to_make_two(state: _State, tmp_path: Path) -> None:
    """And what it is told gives the same probabilities; also below a prefix."""
    one = {**state, "fc.weight": state["fc.weight"][:1], "fc.bias": state["fc.bias"][:1]}
    for content in (one, {"state_dict": _named(one, "net."), "epoch": 3}):
        torch.save(content, tmp_path / "weights.pth")
        sentence = _refusal(tmp_path / "weights.pth")
        assert "it has one output where two labels need two; torch.cat([-w / 2, w / 2]) of the last layer's" in sentence
    logit = one["fc.bias"]
    two = torch.cat([-logit / 2, logit / 2])
    assert two.softmax(0)[1] == pytest.approx(logit.sigmoid().item())


@pytest.mark.parametrize("name", ["fc.weight", "bn1.running_var"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, name: str, state: _State, tmp_path: Path) -> None:
    """Their answer would be `"probability": null`; also of what is counted and not learnt, and below a prefix."""
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken[name].view(-1)[0] = value
    for content in (broken, {"state_dict": _named(broken, "model.")}):
        torch.save(content, tmp_path / "weights.pth")
        assert f"has NaN or infinity in {name}: its training has diverged" in _refusal(tmp_path / "weights.pth")


@pytest.mark.parametrize("model", ["vit_tiny_patch16_384", "efficientnet_b4"])
def test_a_model_of_larger_images_is_not_served_with_small_ones(model: str, tmp_path: Path) -> None:
    """The size is left at 224, where it knows others."""
    network: Any = timm.create_model(model, num_classes=2)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    size = network.pretrained_cfg["input_size"][-1]
    sentence = _refusal(tmp_path / "weights.pth", model=model)
    assert (
        f"'{model}' takes images of {size} pixels a side, not 224: set CLASSIFIER_IMAGE_SIZE={size} (--im" in sentence
    )
    assert load_model(_settings(tmp_path / "weights.pth", "--image-size", str(size), model=model)).image_size == size


def test_another_size_may_be_asked_for_where_the_model_takes_it(state: _State, tmp_path: Path) -> None:
    """Convolutions take any; a transformer with positions does not."""
    torch.save(state, tmp_path / "weights.pth")
    assert load_model(_settings(tmp_path / "weights.pth", "--image-size", "96")).image_size == 160
    torch.save(timm.create_model("test_vit", num_classes=2).state_dict(), tmp_path / "vit.pth")
    for flags in ([], ["--image-size", "96"]):
        assert "set CLASSIFIER_IMAGE_SIZE=160" in _refusal(tmp_path / "vit.pth", *flags, model="test_vit")
