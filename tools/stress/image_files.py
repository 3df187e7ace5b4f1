"""Image files and requests that the tests send."""

import base64
import io
import json
from functools import cache

import numpy as np
from PIL import Image
from skimage import data

QUADRANTS = {(56, 56): (200, 30, 40), (56, 168): (30, 180, 50), (168, 56): (40, 60, 190), (168, 168): (220, 210, 30)}
"""Row and column in the 224x224 result, with the colour that `quadrants()` has there."""


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    """The image as a file of the format."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def quadrants() -> Image.Image:
    """320x240 pixels in four colours, so that each way of turning it looks different."""
    pixels = np.zeros((240, 320, 3), np.uint8)
    for (row, column), colour in QUADRANTS.items():
        top, left = (0 if row < 112 else 120), (0 if column < 112 else 160)
        pixels[top : top + 120, left : left + 160] = colour
    return Image.fromarray(pixels)


@cache
def cat() -> Image.Image:
    """scikit-image's photo of the cat Chelsea, 451x300, without any loss."""
    return Image.fromarray(np.asarray(data.chelsea()))


@cache
def cat_png() -> bytes:
    """The cat as a PNG."""
    return encode(cat(), "PNG")


def json_body(file: bytes) -> bytes:
    """The body of a request with the file in base64."""
    return json.dumps({"image": base64.b64encode(file).decode()}).encode()
