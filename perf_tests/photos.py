"""The photos that are sent, with the right answer: a real cat, the same bytes on every machine."""

import base64
import io
from functools import cache

import numpy as np
from PIL import Image
from skimage import data

from servegate.api import Workload

# float32's answer for the photo; every precision and size stays within the tolerance of it.
_CAT = 0.9962
_TOLERANCE = 0.02


@cache
def cat_jpeg() -> bytes:
    """scikit-image's photo of the cat Chelsea, 451x300, as a JPEG of about 50 KB."""
    return _as_jpeg(_chelsea())


@cache
def large_cat_jpeg() -> bytes:
    """The cat as a camera with 11 megapixels would have it, 4032x2688."""
    return _as_jpeg(_chelsea().resize((4032, 2688), Image.Resampling.BICUBIC))


def cat_workload(photo: bytes) -> Workload:
    """A photo of the cat as base64 in JSON, as most clients send it."""
    return Workload.from_json(
        "/predict",
        {"image": base64.b64encode(photo).decode()},
        expected={"predictions": [{"label": "Cat", "probability": _CAT}, {"label": "Dog", "probability": 1 - _CAT}]},
        tolerance=_TOLERANCE,
    )


def _chelsea() -> Image.Image:
    return Image.fromarray(np.asarray(data.chelsea()))


def _as_jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()
