"""A square of an image in another size, by the bicubic interpolation with antialiasing that timm's transform has.

cykooz_resizer computes the same as Pillow with SIMD instructions, in a fifth of the time; see docs/decisions (resizing
with SIMD). It has no wheel for Linux on ARM, where Pillow resizes.
"""

from importlib.util import find_spec

from PIL import Image


def resize_by_simd(image: Image.Image, left: float, top: float, side: float, size: int) -> Image.Image:
    """Resize by cykooz_resizer, in this thread and without the interpreter's lock."""
    from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer

    resized = Image.new("RGB", (size, size))
    # Its name for the filter that Pillow calls bicubic.
    filtered = ResizeAlg.convolution(FilterType.catmull_rom)
    # One resizer works for one thread at a time, and making one costs 6 µs.
    Resizer().resize_pil(image, resized, ResizeOptions(filtered, crop_box=CropBox(left, top, side, side)))
    return resized


def resize_by_pillow(image: Image.Image, left: float, top: float, side: float, size: int) -> Image.Image:
    """Resize by Pillow, without the interpreter's lock."""
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


resize = resize_by_simd if find_spec("cykooz_resizer") else resize_by_pillow
"""Resize a square of an image.

Parameters
----------
image:
    RGB.
left, top, side:
    The square in pixels, fractions included; within the image.
size:
    Pixels a side of the result, which is RGB.
"""
