"""The photos that are sent, with the right answer: a real cat, the same bytes on every machine."""

import base64
import io
from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
from PIL import Image
from skimage import data

from servegate.api import Workload

# float32's answer for the photo; every precision and size stays within the tolerance of it.
_CAT = 0.9962
_TOLERANCE = 0.02
_ORIENTATION = 0x0112  # in EXIF
_TURN_RIGHT = 6


@cache
def cat_jpeg() -> bytes:
    """scikit-image's photo of the cat Chelsea, 451x300, as a JPEG of about 50 KB."""
    return _as_jpeg(_chelsea())


@cache
def large_cat_jpeg() -> bytes:
    """The cat as a camera with 11 megapixels would have it, 4032x2688."""
    return _as_jpeg(_chelsea().resize((4032, 2688), Image.Resampling.BICUBIC))


@cache
def phone_jpeg() -> bytes:
    """The cat as a phone with 12 megapixels stores it: held upright, so turned by its EXIF tag, and progressive."""
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURN_RIGHT
    upright = _chelsea().crop((113, 0, 338, 300)).resize((3024, 4032), Image.Resampling.BICUBIC)
    return _as_jpeg(upright.transpose(Image.Transpose.ROTATE_90), progressive=True, exif=exif)


@cache
def screenshot_png() -> bytes:
    """The cat on a phone's screen, 1440x2960, in a window with transparent corners."""
    screen = Image.new("RGBA", (1440, 2960), (24, 24, 28, 0))
    screen.paste((245, 245, 245, 255), (0, 80, 1440, 2880))
    screen.paste(_chelsea().resize((1440, 958), Image.Resampling.BICUBIC), (0, 1001))
    file = io.BytesIO()
    screen.save(file, "PNG")
    return file.getvalue()


def cat_workload(photo: bytes) -> Workload:
    """A photo of the cat as base64 in JSON, as most clients send it."""
    document = {"image": base64.b64encode(photo).decode()}
    return Workload.from_json("/predict", document, expected=_answer(), tolerance=_TOLERANCE)


def raw_workload(photo: bytes, content_type: str) -> Workload:
    """A photo's bytes as they are, as phones and curl send them."""
    return Workload("/predict", photo, {"Content-Type": content_type}, _answer(), _TOLERANCE)


class PhotoKinds(Mapping[str, Workload]):
    """Photos as people really send them, by their kind. Making one takes up to a second, so it is made on demand."""

    def __getitem__(self, kind: str) -> Workload:
        return _KINDS[kind]()

    def __iter__(self) -> Iterator[str]:
        return iter(_KINDS)

    def __len__(self) -> int:
        return len(_KINDS)


_KINDS = {
    "phone": lambda: raw_workload(phone_jpeg(), "image/jpeg"),
    "screenshot": lambda: raw_workload(screenshot_png(), "image/png"),
    "small": lambda: cat_workload(cat_jpeg()),
}


def _answer() -> object:
    return {"predictions": [{"label": "Cat", "probability": _CAT}, {"label": "Dog", "probability": 1 - _CAT}]}


def _chelsea() -> Image.Image:
    return Image.fromarray(np.asarray(data.chelsea()))


def _as_jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()
