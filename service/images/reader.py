"""From an image file to the model's input.

The geometry is timm's evaluation transform (resize the shorter side, crop the centre, bicubic) done in one step: only
the box that the crop shows is resized, and a JPEG is scaled down while it is decoded. Colour profiles are ignored, as
they are where such models are trained.
"""

import io
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from service.images import gif, jpeg, png, webp
from service.images.colours import flatten, is_plain_rgb
from service.images.errors import CorruptImageError, EmptyImageError, ImageTooLargeError, UnsupportedImageError
from service.images.parts import ImageParts
from service.images.resizing import resize

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# Those whose files are read part by part before Pillow gets them.
_READ_PARTS = {jpeg.MAGIC: jpeg.read_parts, png.MAGIC: png.read_parts, gif.MAGIC: gif.read_parts}

# What Pillow raises for a file that breaks off or contradicts itself differs by format.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, AssertionError, struct.error,
)  # fmt: skip
# Pillow's own limit; here `ImageReader.max_pixels` counts, whatever it is.
Image.MAX_IMAGE_PIXELS = None

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class ImageReader:
    """Turns an image file into the model's input.

    Parameters
    ----------
    size:
        Width and height of the result in pixels.
    crop_fraction:
        Share of the shorter side that the centre crop shows; timm's `crop_pct`.
    max_pixels:
        Most pixels that the file may have, checked before memory is spent on them.
    """

    size: int = 224
    crop_fraction: float = 0.875
    max_pixels: int = 52_000_000

    def read(self, data: bytes) -> Pixels:
        """Decode a JPEG, PNG, WebP, GIF (first frame) or BMP file.

        Returns
        -------
        numpy.ndarray
            uint8 RGB of shape (size, size, 3), upright, transparency over white.

        Raises
        ------
        ImageError
            One of its subclasses says what is wrong with the file.
        """
        if not data:
            raise EmptyImageError("the image is empty (0 bytes)")
        if webp.is_webp(data):
            self._check_size(*webp.read_size(data))
        parts = _open(data)
        image = parts.image
        self._check_size(*image.size)
        if any(tile.codec_name == "bmp_rle" for tile in image.tile):
            # Pillow unpacks it in Python, pixel by pixel: one kilobyte could hold this process up for seconds.
            raise UnsupportedImageError("run-length coded BMP files are not supported; send it uncompressed, or as PNG")
        try:
            crop = self._crop(self._load(parts))
        except _DECODE_ERRORS as error:
            raise CorruptImageError(f"the {image.format} image is truncated or corrupt: {error}") from None
        return np.asarray(crop if parts.upright is None else crop.transpose(parts.upright))

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise ImageTooLargeError(
                f"the image has {width}x{height} = {width * height:,} pixels; at most {self.max_pixels:,} are allowed"
            )

    def _load(self, parts: ImageParts) -> Image.Image:
        if parts.image.format != "JPEG":
            parts.image.load()
            return parts.image
        side = int(self.size / self.crop_fraction)
        parts.image.draft("RGB", (side, side))
        try:
            parts.image.load()
        except OSError:
            whole = jpeg.load_without_end(parts.file, (side, side))
            if whole is None:
                raise
            return whole
        return parts.image

    def _crop(self, image: Image.Image) -> Image.Image:
        """The centre in the model's size."""
        side = min(image.size) * self.crop_fraction
        left, top = (image.width - side) / 2, (image.height - side) / 2
        if not is_plain_rgb(image):
            # Bicubic interpolation looks at two pixels beyond the box, in the size of the result.
            margin = math.ceil(2 * max(1, side / self.size)) + 1
            x, y = max(0, int(left) - margin), max(0, int(top) - margin)
            right, bottom = math.ceil(left + side) + margin, math.ceil(top + side) + margin
            image = flatten(image, (x, y, min(image.width, right), min(image.height, bottom)))
            left, top = left - x, top - y
        return resize(image, left, top, side, self.size)


def _open(data: bytes) -> ImageParts:
    read_parts = next((read for magic, read in _READ_PARTS.items() if data.startswith(magic)), _read_bmp)
    if webp.is_webp(data):
        read_parts = webp.read_parts
    try:
        return read_parts(data)
    except UnidentifiedImageError:
        raise UnsupportedImageError(
            f"not an image of a supported type ({', '.join(FORMATS)}), or one whose header is broken"
        ) from None
    except _DECODE_ERRORS as error:
        raise CorruptImageError(f"the image's header is corrupt: {error}") from None


def _read_bmp(data: bytes) -> ImageParts:
    return ImageParts(Image.open(io.BytesIO(data), formats=("BMP",)), data, None)
