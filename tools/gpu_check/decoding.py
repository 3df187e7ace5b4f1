"""Photos a second from JPEG to the model's input: threads, processes, and nvJPEG on the GPU."""

import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import torch
from torchvision.io import decode_jpeg

from perf_tests.photos import cat_jpeg
from service.images import ImageReader
from service.settings import usable_cores
from tools.gpu_check.steps import Row

_PHOTOS = 200  # for each thread or process
_SECONDS = 1.0


def rows() -> Iterator[Row]:
    """Yield a row for each number of threads and processes, then one for each batch of nvJPEG."""
    cores = usable_cores()
    for count in sorted({1, max(1, cores // 2), cores}):
        with ThreadPoolExecutor(count) as threads:
            yield {"threads": count, "photos/s": _rate(threads, count)}
        with ProcessPoolExecutor(count, get_context("spawn")) as processes:
            yield {"processes": count, "photos/s": _rate(processes, count)}
    if not torch.cuda.is_available():
        yield {"nvJPEG": "not here: there is no GPU"}
        return
    photo = torch.frombuffer(bytearray(cat_jpeg()), dtype=torch.uint8)
    for batch in (1, 8, 64):
        yield {"nvJPEG, photos at a time": batch, "photos/s": _nvjpeg_rate([photo] * batch)}


def _decode(photos: int) -> int:
    reader, photo = ImageReader(), cat_jpeg()
    for _ in range(photos):
        reader.read(photo)
    return photos


def _rate(workers: Executor, count: int) -> float:
    list(workers.map(_decode, [1] * count))  # they have started and imported what they need
    start_s = time.monotonic()
    photos = sum(workers.map(_decode, [_PHOTOS] * count))
    return photos / (time.monotonic() - start_s)


def _nvjpeg_rate(photos: list[torch.Tensor]) -> float:
    decode_jpeg(photos, device="cuda")
    torch.cuda.synchronize()
    start_s, done = time.monotonic(), 0
    while time.monotonic() < start_s + _SECONDS:
        decode_jpeg(photos, device="cuda")
        torch.cuda.synchronize()
        done += len(photos)
    return done / (time.monotonic() - start_s)
