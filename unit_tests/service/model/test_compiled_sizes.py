"""The batch sizes that are compiled, and how a batch is divided among them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import service.model.compiled
import service.settings
from service.model.compiled import CompiledNetwork, CompilingEngine, load_package, split_sizes
from service.model.forward import compiled_sizes
from service.settings import Precision, load_settings


@pytest.mark.parametrize(
    ("flags", "engine", "device", "precision", "sizes"),
    [
        ([], "openvino", "cpu", "float32", (1,)),
        ([], "openvino", "cpu", "bfloat16", (4, 1)),
        ([], "inductor", "cpu", "float32", (1,)),
        ([], "inductor", "cpu", "bfloat16", (8, 1)),
        (["--workers-per-device", "1"], "openvino", "cpu", "float32", (8, 1)),
        ([], "inductor", "cuda", "bfloat16", (64, 32, 16, 8, 4, 2, 1)),
        (["--max-batch-size", "48"], "inductor", "cuda", "bfloat16", (64, 32, 16, 8, 4, 2, 1)),
        (["--max-batch-size", "1"], "inductor", "cuda", "bfloat16", (1,)),
        (["--max-batch-size", "1000"], "inductor", "cuda", "bfloat16", (256, 128, 64, 32, 16, 8, 4, 2, 1)),
        (["--micro-batch-size", "5"], "openvino", "cpu", "float32", (5, 1)),
        (["--micro-batch-size", "1"], "inductor", "cuda", "float16", (1,)),
    ],
)
def test_few_sizes_are_compiled(
    flags: list[str], engine: CompilingEngine, device: str, precision: Precision, sizes: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Largest first, and 1 among them: each takes half a minute. On a GPU any batch fits well into one of them."""
    monkeypatch.setattr(service.settings, "cpu_count", lambda: 2)
    assert compiled_sizes(load_settings(flags, "unit_tests"), engine, torch.device(device), precision) == sizes


@given(st.integers(1, 300), st.sets(st.integers(2, 80), max_size=3))
def test_a_batch_is_split_into_compiled_sizes_alone(count: int, larger: set[int]) -> None:
    """They add up to the batch, the largest come first, and nothing is padded."""
    sizes = sorted({*larger, 1}, reverse=True)
    parts = split_sizes(count, sizes)
    assert sum(parts) == count
    assert set(parts) <= set(sizes)
    assert parts == sorted(parts, reverse=True)


@pytest.mark.parametrize(("device", "runners", "index"), [("cpu", 1, -1), ("cuda", 2, 0), ("cuda:1", 2, 1)])
def test_on_a_gpu_a_second_batch_is_queued_while_the_first_is_computed(
    device: str, runners: int, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner waits for its own last run, so that each batch in flight needs one. Here nothing is loaded."""
    loaded: list[tuple[object, ...]] = []
    monkeypatch.setattr(torch._C._aoti, "AOTIModelPackageLoader", lambda *arguments: loaded.append(arguments))
    load_package(Path("package"), "inductor", "bfloat16", torch.device(device))
    assert loaded == [("package", "model", False, runners, index)]


@pytest.mark.parametrize(
    ("count", "passes"),
    [(1, [1]), (3, [4]), (32, [32]), (63, [64]), (64, [64]), (65, [64, 1]), (200, [64, 64, 64, 8])],
)
def test_on_a_gpu_a_batch_is_filled_up_to_the_next_size(
    count: int, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One forward pass for any batch up to the largest size, and each image's own logits. Here on a CPU."""
    computed: list[int] = []

    def load(package: Path, *_: object, **__: object) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(images: torch.Tensor) -> torch.Tensor:
            assert images.shape == (int(package.name), 2, 2, 3)
            computed.append(len(images))
            return images[:, 0, 0, :2].float()

        return forward

    monkeypatch.setattr(service.model.compiled, "load_package", load)
    sizes = compiled_sizes(load_settings([], "unit_tests"), "inductor", torch.device("cuda"), "bfloat16")
    forward = CompiledNetwork({size: Path(str(size)) for size in sizes}, "inductor", "bfloat16", torch.device("cuda"))
    images = torch.randint(0, 256, (count, 2, 2, 3), dtype=torch.uint8)
    torch.testing.assert_close(forward(images), images[:, 0, 0, :2].float(), rtol=0, atol=0)
    assert computed == passes
