"""Whatever colours a decoded image has, as RGB, with white where it is transparent."""

import numpy as np
from PIL import Image

# The conversions take several bytes a pixel: that many pixels at a time.
_STRIP_PIXELS = 1_000_000


def is_plain_rgb(image: Image.Image) -> bool:
    """Whether there is nothing to convert."""
    return image.mode == "RGB" and not image.has_transparency_data


def flatten(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """A part of the image as RGB.

    Parameters
    ----------
    box:
        Left, top, right and bottom; within the image.
    """
    left, top, right, bottom = box
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        # Programs that don't use the alpha channel leave it 0, and an image without any visible pixel makes no sense.
        image.putalpha(255)
    flat = Image.new("RGB", (right - left, bottom - top), "white")
    rows = max(1, _STRIP_PIXELS // flat.width)
    for row in range(top, bottom, rows):
        _paste(image.crop((left, row, right, min(row + rows, bottom))), flat, row - top)
    return flat


def _paste(strip: Image.Image, flat: Image.Image, row: int) -> None:
    if strip.mode.startswith("I"):
        # 16-bit greyscale: Pillow's own conversion clips at 255 instead of scaling, and forgets the transparency.
        deep = np.asarray(strip)
        grey = (deep.astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        grey[deep == strip.info.get("transparency", -1)] = 255
        flat.paste(Image.fromarray(grey).convert("RGB"), (0, row))
    elif strip.has_transparency_data:
        rgba = strip.convert("RGBA")
        flat.paste(rgba, (0, row), rgba)
    else:
        flat.paste(strip.convert("RGB"), (0, row))
