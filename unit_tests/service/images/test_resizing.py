"""The resizer with SIMD gives the same pixels as Pillow in any thread; where it isn't installed, Pillow resizes."""

import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec, module_from_spec

import numpy as np
import pytest
from PIL import Image

from service.images import ImageReader, resizing
from service.images.resizing import resize, resize_by_pillow
from tools.stress.image_files import cat, encode


def _squares() -> list[tuple[float, float, float]]:
    """Left, top and side of squares in the photo: random ones, and the largest."""
    chance, largest = np.random.default_rng(7), min(cat().size)
    sides = [float(largest), *chance.uniform(1, largest, 40)]
    return [((cat().width - side) * chance.random(), (cat().height - side) * chance.random(), side) for side in sides]


@pytest.mark.parametrize("size", [16, 224, 300])
def test_a_square_is_resized_as_pillow_does_it(size: int) -> None:
    """Larger or smaller, at any fraction of a pixel: the photo differs by rounding alone."""
    for left, top, side in _squares():
        by_pillow = np.asarray(resize_by_pillow(cat(), left, top, side, size)).astype(int)
        pixels = np.asarray(resize(cat(), left, top, side, size))
        assert pixels.shape == (size, size, 3)
        difference = np.abs(pixels - by_pillow)
        assert difference.mean() < 0.5, f"{difference.mean():.2f} levels on average at {(left, top, side)}"
        assert difference.max() <= 8, f"{difference.max()} levels at {(left, top, side)}"


def test_the_measure_sees_a_shift_by_half_a_pixel() -> None:
    """A square that lies half a pixel beside the right one differs by more than one level on average."""
    by_pillow, shifted = (
        np.asarray(resize_by_pillow(cat(), left, 0, 262.5, 224)).astype(int) for left in (94.25, 94.75)
    )
    assert np.abs(shifted - by_pillow).mean() > 1


@pytest.mark.skipif(
    sys.platform == "linux" and platform.machine() != "x86_64", reason="there is no wheel of cykooz_resizer"
)
def test_simd_is_used_where_there_is_a_wheel() -> None:
    """The service would be slower without a word."""
    assert resize is resizing.resize_by_simd


def test_pillow_resizes_where_there_is_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module chooses when it is imported."""
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    specification = find_spec("service.images.resizing")
    assert specification is not None
    assert specification.loader is not None
    anew = module_from_spec(specification)
    specification.loader.exec_module(anew)
    assert anew.resize is anew.resize_by_pillow


def test_threads_resize_at_the_same_time() -> None:
    """Each its own image: all come out as they do one by one."""
    squares = _squares()

    def pixels(square: tuple[float, float, float]) -> bytes:
        return resize(cat(), *square, 224).tobytes()

    one_by_one = [pixels(square) for square in squares]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(pixels, squares * 4)) == one_by_one * 4


@pytest.mark.parametrize("shorter", [298, 305, 466])
def test_a_crop_of_the_whole_side_is_within_a_jpeg_that_was_scaled(shorter: int) -> None:
    """Divided by the scale and multiplied again, these sides came out larger than the image by a rounding error."""
    file = encode(Image.new("RGB", (shorter, shorter + 1), (255, 0, 0)), "JPEG")
    assert ImageReader(size=64, crop_fraction=1.0).read(file)[..., 0].min() > 250
