"""The classifier's numbers are those of the weights, in every precision and whatever the batch."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch

from service.images import Pixels
from service.model.classifier import Classifier, _PinnedBuffer, default_precision
from service.model.weights import CAT_AND_DOG, LoadedModel, load_model, outputs_by_label
from service.settings import Precision, Settings, load_settings
from unit_tests.builders.classifiers import eager_classifier

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def batch(cat_batch: Pixels) -> Pixels:
    """Seven different images: the cat turned and brightened, and noise."""
    noise = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), np.uint8)
    turned = [np.rot90(cat_batch[0], turns) for turns in range(4)]
    return np.concatenate([np.stack(turned), noise])


def _uncompiled(*arguments: str) -> Settings:
    return load_settings(["--engine", "eager", *arguments], "unit_tests")


def _cat_and_dog_shares(classifier: Classifier, images: Pixels) -> tuple[float, float]:
    """P(cat) and P(dog) among all 1000 classes of ImageNet."""
    probabilities = classifier.log_probabilities(images)[0].exp()
    assert probabilities.shape == (1000,)
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)
    cat, dog = (float(probabilities[list(classes)].sum()) for classes in CAT_AND_DOG.values())
    return cat, dog


def test_the_cat_is_a_cat_with_the_published_probability(classifier: Classifier, cat_batch: Pixels) -> None:
    """Timm's transform and these weights give 0.920 for cats and 0.0035 for dogs; only the right input does."""
    cat, dog = _cat_and_dog_shares(classifier, cat_batch)
    assert cat == pytest.approx(0.920, abs=0.005)
    assert dog == pytest.approx(0.0035, abs=0.0005)


def test_the_numbers_are_those_of_timms_network(
    embedded: LoadedModel, classifier: Classifier, cat_batch: Pixels
) -> None:
    """All 1000 agree with the network on an input that is normalised by hand."""
    with torch.inference_mode():
        normalised = (torch.from_numpy(cat_batch).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        expected = embedded.network(normalised).log_softmax(dim=1)
    torch.testing.assert_close(classifier.log_probabilities(cat_batch), expected, rtol=1e-3, atol=1e-3)


def test_another_normalisation_gives_clearly_other_numbers(embedded: LoadedModel, cat_batch: Pixels) -> None:
    """ImageNet's mean and deviation, wrong for these weights, still say Cat: the number tells, not the label."""
    wrong = replace(embedded, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
    cat, _ = _cat_and_dog_shares(eager_classifier(wrong), cat_batch)
    assert cat == pytest.approx(0.851, abs=0.015)


def test_the_labels_probabilities_are_the_shares_of_their_classes(classifier: Classifier, cat_batch: Pixels) -> None:
    """P(Cat) is the cat classes' share of cats and dogs together."""
    cat, dog = _cat_and_dog_shares(classifier, cat_batch)
    probabilities = classifier.predict(cat_batch)
    assert probabilities[0].tolist() == pytest.approx([cat / (cat + dog), dog / (cat + dog)], rel=1e-4)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_probabilities_have_a_row_an_image_and_sum_to_one(classifier: Classifier, batch: Pixels, count: int) -> None:
    """Probabilities are float32 of shape (n, labels), also where there is neither cat nor dog."""
    probabilities = classifier.predict(batch[:count])
    assert probabilities.shape == (count, 2)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    assert probabilities.sum(axis=1).tolist() == pytest.approx([1.0] * count, abs=1e-6)


@pytest.mark.parametrize("micro_batch_size", [1, 3, 64])
def test_a_batch_gives_what_its_images_give_alone(
    embedded: LoadedModel, classifier: Classifier, batch: Pixels, micro_batch_size: int
) -> None:
    """However a batch is split, each image gets its own answer, in its own place."""
    alone = np.concatenate([classifier.predict(batch[index : index + 1]) for index in range(len(batch))])
    together = eager_classifier(embedded, micro_batch_size=micro_batch_size).predict(batch)
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5)
    assert len(np.unique(alone[:, 0].round(4))) == len(batch), "the images can be told apart"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_every_precision_gives_nearly_the_same_answer(precision: Precision, cat_batch: Pixels) -> None:
    """It agrees with float32 to 0.02, and is float32 itself."""
    classifier = Classifier.from_settings(_uncompiled("--precision", precision), "cpu")
    assert classifier.precision == precision
    # One forward pass: on a CPU without bfloat16 it is thirty times slower.
    probabilities = classifier.log_probabilities(cat_batch).exp()[0]
    assert probabilities.dtype == torch.float32
    assert float(probabilities[281:286].sum()) == pytest.approx(0.920, abs=0.02)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({}, "float32"), ({"avx2": True, "avx512_f": True, "amx_tile": True}, "float32"),
     ({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True, "avx512_bf16": False}, "bfloat16")],
)  # fmt: skip
def test_a_cpu_computes_in_bfloat16_only_where_it_can(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str
) -> None:
    """Without AMX or AVX512-BF16 it would be emulated, thirty times slower."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert default_precision("cpu") == expected


def test_a_device_that_computes_no_more_is_found_out(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a GPU that torch can't use at all. One without free memory works."""
    assert classifier.device_works()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(classifier, "_device", torch.device("cuda"))
    assert not classifier.device_works()

    def no_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "ones", no_memory)
    assert classifier.device_works()


def test_a_gpus_images_go_through_memory_that_is_pinned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here without a GPU to pin it for: batches of any size come out as they are, and only a larger one pins again."""
    pinned, empty = list[int](), torch.empty

    def count_pinned(shape: torch.Size, *, dtype: torch.dtype, pin_memory: bool = False) -> torch.Tensor:
        assert pin_memory
        pinned.append(shape[0])
        return empty(shape, dtype=dtype)

    buffer = _PinnedBuffer()
    monkeypatch.setattr(torch, "empty", count_pinned)
    for count in (64, 1, 63, 64, 65, 2):
        images = torch.randint(0, 256, (count, 4, 4, 3), dtype=torch.uint8)
        torch.testing.assert_close(buffer.copy(images), images, rtol=0, atol=0)
    assert pinned == [64, 65]


def test_batches_in_flight_keep_their_own_answers(classifier: Classifier, batch: Pixels) -> None:
    """Whatever was queued since, and in whatever order they are asked for."""
    parts = [batch[:2], batch[2:3], batch[3:7]]
    results = [classifier.enqueue(part, place=place) for place, part in enumerate(parts)]
    answers = [result() for result in reversed(results)]
    for part, answer in zip(parts, reversed(answers), strict=True):
        np.testing.assert_array_equal(answer, classifier.predict(part))


class StandInStreams:
    """Torch's streams and events without a GPU, and a log of their use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self._current, self._made = "the usual stream", 0
        for name in ("Stream", "stream", "current_stream", "synchronize"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def Stream(self, device: object) -> str:  # noqa: N802 (torch's name)
        self._made += 1
        return f"stream {self._made}"

    def stream(self, name: str) -> "_Context":
        return _Context(self, name)

    def current_stream(self, device: object) -> "StandInStreams":
        return self

    def record_event(self) -> "_Event":
        self.log.append(f"queued in {self._current}")
        return _Event(self, self._current)

    def synchronize(self, device: object) -> None:
        self.log.append("waited for the device")

    def enter(self, name: str) -> str:
        before, self._current = self._current, name
        return before


@dataclass
class _Event:
    streams: StandInStreams
    stream: str

    def synchronize(self) -> None:
        self.streams.log.append(f"waited for {self.stream}")


@dataclass
class _Context:
    streams: StandInStreams
    stream: str
    before: str = ""

    def __enter__(self) -> None:
        self.before = self.streams.enter(self.stream)

    def __exit__(self, *error: object) -> None:
        self.streams.enter(self.before)


def test_on_a_gpu_a_batch_is_queued_in_its_own_stream_and_only_its_result_is_waited_for(
    classifier: Classifier, batch: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second stream is made once, when the weights are on the device. The images stay on the CPU here."""
    monkeypatch.setattr(classifier, "_device", SimpleNamespace(type="cuda"))
    monkeypatch.setattr(classifier, "_places", [])
    monkeypatch.setattr(classifier, "_to_device", lambda images, _: torch.from_numpy(images))
    streams = StandInStreams(monkeypatch)
    first, second = (classifier.enqueue(batch[:1], place=place) for place in (0, 1))
    first()
    third = classifier.enqueue(batch[:1], place=0)
    second()
    fourth = classifier.enqueue(batch[:1], place=1)
    third()
    fourth()
    assert streams.log == [
        "queued in the usual stream",
        "waited for the device",
        "queued in stream 1",
        "waited for the usual stream",
        "queued in the usual stream",
        "waited for stream 1",
        "queued in stream 1",
        "waited for the usual stream",
        "waited for stream 1",
    ]


def test_each_batch_in_flight_has_pinned_memory_of_its_own(classifier: Classifier) -> None:
    """The next batch must not overwrite images that are still copied to the GPU."""
    first, second = classifier._place(0), classifier._place(1)
    assert first.staging is not second.staging
    assert (classifier._place(0), classifier._place(1)) == (first, second)


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_computes_in_bfloat16_or_else_float16(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    """Emulation doesn't count on a GPU either."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert default_precision("cuda") == expected


def test_the_settings_decide_precision_and_micro_batch(cat_batch: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` asks the hardware, and a precision that is named is taken."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert Classifier.from_settings(_uncompiled(), "cpu").precision == "float32"
    split = _uncompiled("--precision", "float32", "--micro-batch-size", "2")
    assert Classifier.from_settings(split, "cpu").predict(np.concatenate([cat_batch] * 5)).shape == (5, 2)


def test_another_architecture_is_served_with_its_own_normalisation(cat_batch: Pixels, tmp_path: Path) -> None:
    """A ResNet-18 from a checkpoint: its mean and deviation are ImageNet's, and its numbers are the network's own."""
    torch.manual_seed(2)
    network = timm.create_model("resnet18", num_classes=2).eval()
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    arguments = ["--model", "resnet18", "--checkpoint", str(tmp_path / "resnet.pth"), "--labels", "Cat,Dog"]
    settings = load_settings(arguments, "unit_tests")
    loaded = load_model(settings)
    assert (loaded.mean, loaded.std) == (_IMAGENET_MEAN, _IMAGENET_STD)

    with torch.inference_mode():
        tensor = torch.from_numpy(cat_batch).permute(0, 3, 1, 2) / 255
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (_IMAGENET_MEAN, _IMAGENET_STD))
        expected = network((tensor - mean) / std).softmax(dim=1)
    probabilities = eager_classifier(loaded, outputs_by_label(settings)).predict(cat_batch)
    assert probabilities[0].tolist() == pytest.approx(expected[0].tolist(), rel=1e-3)
