"""Bytes to one uint8 image of the model's input size; every kind of bad image has an error of its own.

The geometry is timm's evaluation transform (resize the shorter side, crop the centre, bicubic) done in one step: only
the box that the crop shows is resized, and a JPEG is scaled down while it is decoded.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

_ORIENTATION_TAG = 0x0112
# EXIF orientation to the operation that undoes it (EXIF 2.32, section 4.6.4).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises for a file that breaks off or contradicts itself differs by format.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, AssertionError, struct.error,
)  # fmt: skip

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class ImageError(Exception):
    """The bytes are no image that can be classified. The message is meant for the client."""


class EmptyImageError(ImageError):
    """No bytes at all."""


class UnsupportedImageError(ImageError):
    """Not an image, or one of a format that is not supported."""


class ImageTooLargeError(ImageError):
    """More pixels than allowed."""


class CorruptImageError(ImageError):
    """An image of a supported format that breaks off or contradicts itself."""


@dataclass(frozen=True)
class ImageReader:
    """How an image file becomes the model's input.

    Parameters
    ----------
    size:
        Pixels a side of the result.
    crop_fraction:
        Share of the shorter side that the centre crop shows; timm's `crop_pct`.
    max_pixels:
        Most pixels that the file may have, checked before memory is spent on them.
    """

    size: int = 224
    crop_fraction: float = 0.875
    max_pixels: int = 50_000_000

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
        image = _open(data)
        width, height = image.size
        if width * height > self.max_pixels:
            raise ImageTooLargeError(
                f"the image has {width}x{height} = {width * height:,} pixels; at most {self.max_pixels:,} are allowed"
            )
        if any(tile.codec_name == "bmp_rle" for tile in image.tile):
            # Pillow unpacks it in Python, pixel by pixel: one kilobyte could hold this process up for seconds.
            raise UnsupportedImageError("run-length coded BMP files are not supported; send it uncompressed, or as PNG")
        try:
            return np.asarray(self._upright_crop(image))
        except Image.DecompressionBombError as error:
            raise ImageTooLargeError(str(error)) from None
        except _DECODE_ERRORS as error:
            raise CorruptImageError(f"the {image.format} image is truncated or corrupt: {error}") from None

    def _upright_crop(self, image: ImageFile.ImageFile) -> Image.Image:
        shorter_side = min(image.size)
        wanted = self.size / self.crop_fraction
        if image.format == "JPEG":
            image.draft("RGB", (int(wanted), int(wanted)))
        orientation = image.getexif().get(_ORIENTATION_TAG)
        image.load()
        scale = min(image.size) / shorter_side
        side = shorter_side * self.crop_fraction * scale
        left, top = (image.width - side) / 2, (image.height - side) / 2
        rgb = _to_rgb(image)
        crop = rgb.resize((self.size, self.size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
        upright = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
        return crop if upright is None else crop.transpose(upright)


def _open(data: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise UnsupportedImageError(
            f"not an image of a supported type ({', '.join(FORMATS)}), or one whose header is broken"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(str(error)) from None
    except _DECODE_ERRORS as error:
        raise CorruptImageError(f"the image's header is corrupt: {error}") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):
        # 16-bit greyscale: Pillow's own conversion clips at 255 instead of scaling.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
