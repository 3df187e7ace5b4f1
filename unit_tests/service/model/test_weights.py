"""Weights come from the package, a checkpoint or the hub; what doesn't fit is refused, and never run."""

import pickle
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from service.images import Pixels
from service.model.errors import WeightsError
from service.model.weights import LoadedModel, load_model, outputs_by_label, weights_digest
from service.settings import Settings, load_settings
from unit_tests.builders.classifiers import eager_classifier

_MODEL = "test_resnet"
_State = dict[str, Tensor]


def _settings(checkpoint: Path, model: str = _MODEL, labels: str = "Lynx,Wolf,Hare") -> Settings:
    return load_settings(["--model", model, "--checkpoint", str(checkpoint), "--labels", labels], "unit_tests")


@pytest.fixture(scope="module")
def state() -> _State:
    """Fine-tuned weights: a small network of timm's with three outputs and weights of its own."""
    torch.manual_seed(1)
    weights: _State = timm.create_model(_MODEL, num_classes=3).state_dict()
    return weights


def _write_pth(state: _State, folder: Path) -> Path:
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


def _write_safetensors(state: _State, folder: Path) -> Path:
    save_file(state, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def _write_lightning(state: _State, folder: Path) -> Path:
    content = {
        "epoch": 3,
        "global_step": 1200,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
        "hyper_parameters": {"lr": 0.001, "labels": ["Lynx", "Wolf", "Hare"]},
    }
    torch.save(content, folder / "weights.ckpt")
    return folder / "weights.ckpt"


def test_the_embedded_weights_are_imagenets_with_cats_and_dogs(embedded: LoadedModel) -> None:
    """The default model reports what its 1000 outputs say about cats and dogs, normalised as timm's is."""
    groups = {label: tuple(outputs) for label, outputs in outputs_by_label(load_settings([], "unit_tests")).items()}
    assert groups == {"Cat": tuple(range(281, 286)), "Dog": tuple(range(151, 269))}
    assert (embedded.mean, embedded.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (embedded.image_size, embedded.crop_fraction) == (224, 0.875)
    assert not embedded.network.training
    assert not any(parameter.requires_grad for parameter in embedded.network.parameters())


@pytest.mark.parametrize("write", [_write_pth, _write_safetensors, _write_lightning])
def test_a_checkpoint_of_each_kind_gives_the_same_predictions(
    write: Any, state: _State, cat_batch: Pixels, tmp_path: Path
) -> None:
    """The labels are the outputs in order, and the numbers are those of the network that was saved."""
    settings = _settings(write(state, tmp_path))
    loaded = load_model(settings)
    network = timm.create_model(_MODEL, num_classes=3).eval()
    network.load_state_dict(state)
    with torch.inference_mode():
        tensor = torch.from_numpy(cat_batch).permute(0, 3, 1, 2) / 255
        expected = network((tensor - 0.5) / 0.5).softmax(dim=1)

    assert outputs_by_label(settings) == {"Lynx": (0,), "Wolf": (1,), "Hare": (2,)}
    probabilities = eager_classifier(loaded, outputs_by_label(settings)).predict(cat_batch)
    assert probabilities.tolist()[0] == pytest.approx(expected.tolist()[0], rel=1e-4)
    assert max(probabilities[0]) - min(probabilities[0]) > 0.01, "the outputs can be told apart"


def test_the_digest_tells_weights_apart_by_content(state: _State, tmp_path: Path) -> None:
    """The same file elsewhere has the same digest; one number changed, and the embedded weights, have others."""
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    changed = {**state, "fc.bias": state["fc.bias"] + 1e-3}
    paths = [_write_pth(weights, folder) for weights, folder in zip((state, state, changed), folders, strict=True)]
    digests = [weights_digest(_settings(path)) for path in paths]
    assert digests[0] == digests[1]
    assert len({*digests, weights_digest(load_settings([], "unit_tests"))}) == 3


def test_a_checkpoint_that_is_gone_is_named(state: _State, tmp_path: Path) -> None:
    """It was there when the settings were read."""
    settings = _settings(_write_pth(state, tmp_path))
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(WeightsError, match=r"the weights .*weights.pth can't be read: No such file or directory"):
        weights_digest(settings)


def test_the_hubs_weights_are_told_apart_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub may serve others under the same name."""
    create = timm.create_model
    settings = load_settings(["--model", _MODEL], "unit_tests")

    def digest(seed: int) -> str:
        def from_hub(name: str, **_: object) -> torch.nn.Module:
            torch.manual_seed(seed)
            network: torch.nn.Module = create(name)
            return network

        # The hub's part alone is left out: without a network nobody could download the weights.
        monkeypatch.setattr(timm, "create_model", from_hub)
        return weights_digest(settings)

    assert digest(1) == digest(1) != digest(2)


def _without_two(state: _State) -> _State:
    return {name: tensor for name, tensor in state.items() if name not in ("conv1.0.weight", "fc.bias")}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(_without_two, "2 missing: conv1.0.weight, fc.bias", id="missing"),
        pytest.param(lambda state: {**state, "extra.a": torch.ones(1)}, "1 unexpected: extra.a", id="unexpected"),
        pytest.param(
            lambda state: {**state, "fc.bias": torch.ones(7)}, r"1 of another shape: fc.bias (7,) instead of (3,)",
            id="wrong shape",
        ),
        pytest.param(
            lambda state: {f"backbone.{name}": tensor for name, tensor in state.items()}, "more; ", id="other names",
        ),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    change: Any, problem: str, state: _State, tmp_path: Path
) -> None:
    """The message names the file, the model and the first tensors that don't fit."""
    path = _write_pth(change(state), tmp_path)
    with pytest.raises(WeightsError) as caught:
        load_model(_settings(path))
    assert problem in str(caught.value)
    assert str(path) in str(caught.value)
    assert repr(_MODEL) in str(caught.value)


def test_a_checkpoint_with_more_outputs_than_labels_is_refused(state: _State, tmp_path: Path) -> None:
    """Two labels for three outputs would name the wrong ones."""
    with pytest.raises(WeightsError, match=r"fc.bias \(3,\) instead of \(2,\)"):
        load_model(_settings(_write_pth(state, tmp_path), labels="Lynx,Wolf"))


class _Touch:
    """Pickles as an instruction to write a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("in_zip", [True, False], ids=["torch.save", "bare pickle"])
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_code_in_a_checkpoint_is_refused_and_not_run(in_zip: bool, suffix: str, state: _State, tmp_path: Path) -> None:
    """Loading a stranger's file does nothing but load tensors."""
    path, victim = tmp_path / f"weights{suffix}", tmp_path / "victim"
    content = {"state_dict": state, "callback": _Touch(victim)}
    if in_zip:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match="can't be read without running code from it"):
        load_model(_settings(path))
    assert not victim.exists()
    torch.load(path, weights_only=False) if in_zip else pickle.loads(path.read_bytes())
    assert victim.exists(), "the test's own file would have run code"


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"this is no checkpoint", b"\0" * 5000, b"\x80\x02}q\x00."])
def test_a_file_that_is_no_checkpoint_is_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    """Nothing, text, zeros, an empty dictionary: each is refused with the file's name."""
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"the checkpoint .*weights\S+ (can't be read|holds no state_dict)"):
        load_model(_settings(path))


@pytest.mark.parametrize(
    "content", [{"epoch": 3}, {"state_dict": {}}, {"state_dict": {"conv1.weight": 3}}, [1, 2], torch.ones(3)]
)
def test_a_checkpoint_without_tensors_by_name_is_refused(content: object, tmp_path: Path) -> None:
    """What torch can read is not yet a state_dict."""
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="holds no state_dict"):
        load_model(_settings(tmp_path / "weights.pth"))


@pytest.mark.parametrize("name", ["no_such_model", "resnet18.no_such_tag", "timm/resnet18"])
def test_an_unknown_model_is_refused_by_name(name: str) -> None:
    """A name that timm doesn't know is the user's error, with timm's own words."""
    with pytest.raises(WeightsError, match=f"timm can't create the model '{name}'"):
        load_model(load_settings(["--model", name], "unit_tests"))


def test_a_hub_that_cannot_be_reached_is_told_with_a_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Offline, with nothing in the cache: the message names the default model and the checkpoint setting."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"can't be fetched.*'tf_efficientnet_lite0'.*CLASSIFIER_CHECKPOINT"):
        load_model(load_settings(["--model", "resnet18"], "unit_tests"))


def test_a_model_of_other_classes_needs_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cats and dogs are among 11,821 outputs is not known, so such a model is refused without labels."""
    create = timm.create_model
    # The hub's part alone is left out: without a network nobody could download the weights.
    monkeypatch.setattr(timm, "create_model", lambda name, **_: create(name, num_classes=11_821))
    with pytest.raises(WeightsError, match=r"has 11821 outputs, not ImageNet-1k's 1000.*CLASSIFIER_LABELS"):
        load_model(load_settings(["--model", "test_resnet"], "unit_tests"))
