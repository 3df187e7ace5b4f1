"""Coverage-guided fuzzing of the way from a request's body to an image: `make fuzz`, minutes configurable.

Whatever the bytes are, they become an image of the model's size or an error of the client's with a sentence, in bounded
time and memory; anything else ends the run and leaves the input in the corpus, which grows from run to run.
Half of the inputs are changed by their format's grammar: chunks, segments, scans, EXIF.
"""

import argparse
import random
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import atheris

# Their code is told apart by what it does with an input.
with atheris.instrument_imports():
    from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    from service.images import ImageReader
    from service.web.image_request import Intake, decode_body

from fastapi import HTTPException

from service.transport.request_table import RequestTable
from tools.stress.grammar import mutate
from tools.stress.image_files import cat_png, encode, json_body, quadrants

_PLUGINS = (BmpImagePlugin, GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
# At the places that the seeds name.
_CONTENT_TYPES = ("application/json", "image/png", "", "text/plain", "multipart/form-data; boundary=x")
_FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n%s\r\n--x--'
_SIZE = 32
# More than this for one small image is a MemoryError, which is found with its input. libFuzzer's own limit looks at the
# peak since the process that started this one: a test run that compiled models has one of gigabytes.
_MEMORY_BYTES = 1 << 30
# Of CPU time: a million pixels take some 50 ms, here with instrumented code.
_MOST_SECONDS = 3.0
_INTAKE = Intake(
    # Small, so that an input costs little; the limits are reached all the same.
    reader=ImageReader(_SIZE, max_pixels=1_000_000),
    max_image_bytes=60_000,
    request_timeout_s=1.0,
    decoders=ThreadPoolExecutor(1),
    table=RequestTable(_SIZE, slots=1, processes=1, labels=2, devices=1, workers_per_device=1),
)


def seeds() -> list[bytes]:
    """A good image of each format, raw and as base64; the first byte chooses the content type."""
    files = [encode(quadrants(), name) for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP")]
    files += [encode(quadrants().convert(mode), "PNG") for mode in ("L", "P", "LA", "RGBA", "1")]
    files += [encode(quadrants().convert("CMYK"), "JPEG"), cat_png()[:2_000]]
    return (
        [b"\0" + json_body(file) for file in files]
        + [b"\1" + file for file in files]
        + [*(b"\4" + _FORM % files[0], b"\0{}", b"\3", b"")]
    )


def check(data: bytes) -> None:
    """Raise if the body doesn't become an image or an error of the client's."""
    content_type = _CONTENT_TYPES[data[0] % len(_CONTENT_TYPES)] if data else ""
    start_s = time.process_time()
    try:
        _check_answer(data[1:], content_type)
    finally:
        duration_s = time.process_time() - start_s
    if duration_s > _MOST_SECONDS:
        raise TimeoutError(f"{len(data)} bytes took {duration_s:.1f} s")


def _check_answer(body: bytes, content_type: str) -> None:
    try:
        pixels = decode_body(body, content_type, _INTAKE)
    except HTTPException as error:
        if 400 <= error.status_code < 500 and error.detail:
            return
        raise
    if pixels.shape != (_SIZE, _SIZE, 3) or pixels.dtype != "uint8":
        raise ValueError(f"an image of {pixels.shape} {pixels.dtype}")


def change(data: bytes, max_size: int, seed: int) -> bytes:
    """Another input: by the grammar of its image's format, or as libFuzzer changes bytes."""
    chance = random.Random(seed)
    if len(data) > 1 and chance.random() < 0.5:
        changed = data[:1] + mutate(data[1:], chance)
        if changed != data and len(changed) <= max_size:
            return changed
    changed_at_random: bytes = atheris.Mutate(data, max_size)
    return changed_at_random


def main() -> None:
    """Fuzz until the time is over or something is found."""
    parser = argparse.ArgumentParser(prog="python -m tools.stress.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz"), help="folder of inputs, kept and grown")
    arguments = parser.parse_args()
    arguments.corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (arguments.corpus / f"seed-{number}").write_bytes(seed)
    Image.init()
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    flags = [f"-max_total_time={arguments.minutes * 60:.0f}", "-max_len=20000", "-rss_limit_mb=0", "-timeout=60"]
    found = f"-artifact_prefix={arguments.corpus}/found-"
    atheris.Setup([sys.argv[0], *flags, found, str(arguments.corpus)], check, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
