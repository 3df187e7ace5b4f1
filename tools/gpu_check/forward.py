"""Milliseconds a batch of the model alone: engines, precisions, two in flight, CUDA graphs, padding, copies."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import fmean, median

import numpy as np
import torch

from perf_tests.photos import cat_jpeg
from service.images import ImageReader
from service.model.classifier import Classifier, default_precision
from service.model.compiled import split_sizes
from service.model.errors import ModelError
from service.model_worker import Job, measure
from service.settings import WORKERS_ON_GPU, Precision, Settings, load_settings
from tools.gpu_check.steps import Row

_SECONDS = 0.4  # of each measurement
_EXPECTED_CAT, _TOLERANCE = 0.9962, 0.02


def rows() -> Iterator[Row]:
    """Yield a row for each engine, precision and size, then one for each comparison."""
    torch.set_grad_enabled(False)
    settings = load_settings([], "gpu-check")
    kind = settings.resolved_device
    sizes = (1, 8, 64, 256) if kind == "cuda" else (1, 8)
    precisions: tuple[Precision, ...] = ("bfloat16", "float16") if kind == "cuda" else (default_precision(kind),)
    for precision in precisions:
        for engine in ("eager", "inductor"):
            yield from _measure_engine(settings, {"engine": engine, "precision": precision}, sizes)
    if kind == "cuda":
        graphs = {"engine": "inductor", "precision": precisions[0], "cuda_graphs": True}
        yield from _measure_engine(settings, graphs, sizes)
    else:
        yield {"CUDA graphs": "not here: there is no GPU"}
    yield from _measure_copies(kind, sizes)


def _measure_engine(settings: Settings, chosen: Mapping[str, object], sizes: tuple[int, ...]) -> Iterator[Row]:
    """Measure the service's own classifier with these settings."""
    before_mib = _used_mib()
    try:
        classifier = Classifier.from_settings(settings.model_copy(update=chosen), settings.resolved_device)
    except ModelError as error:
        yield {**chosen, "could not be had": str(error)}
        return
    photo = np.stack([ImageReader().read(cat_jpeg())])
    cat = float(classifier.predict(photo)[0, classifier.labels.index("Cat")])
    yield {**chosen, **classifier.details, "P(cat)": cat, "right": abs(cat - _EXPECTED_CAT) <= _TOLERANCE}
    for size in sizes:
        alone_s = _seconds(partial(classifier.predict, np.repeat(photo, size, axis=0)))
        together_s = _seconds_in_flight(classifier, settings, size, rounds=max(3, round(_SECONDS / alone_s)))
        yield {**chosen, "batch": size, "ms": 1e3 * alone_s, f"ms with {WORKERS_ON_GPU} in flight": 1e3 * together_s}
    yield {**chosen, "MiB of the GPU that it holds": _used_mib() - before_mib}
    if chosen["engine"] == "inductor" and "cuda_graphs" not in chosen and sizes[-1] > 63:
        yield from _compare_padding(classifier, np.repeat(photo, 63, axis=0))


def _compare_padding(classifier: Classifier, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Iterator[Row]:
    """Compute 63 images in one forward pass of 64, and in passes that are exactly full."""
    parts = np.split(images, np.cumsum(split_sizes(len(images), (64, 32, 16, 8, 4, 2, 1)))[:-1])
    yield {"63 images": "filled up to 64", "ms": 1e3 * _seconds(lambda: classifier.predict(images))}
    yield {
        "63 images": f"split into {len(parts)}",
        "ms": 1e3 * _seconds(lambda: [classifier.predict(part) for part in parts]),
    }


def _measure_copies(kind: str, sizes: tuple[int, ...]) -> Iterator[Row]:
    for size in sizes:
        images = torch.zeros((size, 224, 224, 3), dtype=torch.uint8)
        if kind == "cpu":
            yield {"copy of a batch": size, "ms": 1e3 * _seconds(images.clone)}
            continue
        pinned = images.pin_memory()
        yield {
            "copy of a batch to the GPU": size,
            "pageable ms": 1e3 * _seconds(partial(images.to, "cuda")),
            "pinned ms": 1e3 * _seconds(partial(pinned.to, "cuda", non_blocking=True)),
            "into pinned ms": 1e3 * _seconds(partial(pinned.copy_, images)),
        }


def _used_mib() -> int:
    """Measure the GPU's memory in use, without what torch keeps to use again; 0 on a CPU."""
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    return (total_bytes - free_bytes) >> 20


def _seconds_in_flight(classifier: Classifier, settings: Settings, size: int, rounds: int) -> float:
    """The mean time between completions, as the gate's cells of the model alone have it on a GPU."""
    measure(Job(size, 2, WORKERS_ON_GPU), classifier, settings.image_size)  # warms up
    return fmean(measure(Job(size, rounds, WORKERS_ON_GPU), classifier, settings.image_size))


def _seconds(work: Callable[[], object]) -> float:
    """The median of the calls in some time, the device synchronised."""
    synchronize: Callable[[], object] = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    for _ in range(2):
        work()
    synchronize()
    taken, end_s = list[float](), time.monotonic() + _SECONDS
    while time.monotonic() < end_s:
        start_s = time.perf_counter()
        work()
        synchronize()
        taken.append(time.perf_counter() - start_s)
    return median(taken)
