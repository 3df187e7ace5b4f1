"""Every image file becomes one upright uint8 image of the model's size; every bad one has an error of its own."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from perf_tests.photos import cat_jpeg
from service.images import (
    CorruptImageError,
    EmptyImageError,
    ImageError,
    ImageReader,
    ImageTooLargeError,
    Pixels,
    UnsupportedImageError,
)
from service.model.weights import LoadedModel
from tools.stress.image_files import QUADRANTS, cat, cat_png, encode, quadrants

READER = ImageReader()
_PICTURE = quadrants()

# EXIF orientation to how a camera that writes it has turned the picture (EXIF 2.32, section 4.6.4).
_TURNED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

_GOOD_FILES = {
    "JPEG": encode(_PICTURE, "JPEG", quality=95),
    "progressive JPEG": encode(_PICTURE, "JPEG", quality=95, progressive=True),
    "CMYK JPEG": encode(_PICTURE.convert("CMYK"), "JPEG", quality=95),
    "JPEG of several pictures (MPO)": encode(
        _PICTURE, "MPO", quality=95, save_all=True, append_images=[_PICTURE.rotate(180)]
    ),
    "PNG": encode(_PICTURE, "PNG"),
    "PNG with opaque alpha": encode(_PICTURE.convert("RGBA"), "PNG"),
    "palette PNG": encode(_PICTURE.quantize(8), "PNG"),
    "animated PNG": encode(_PICTURE, "PNG", save_all=True, append_images=[_PICTURE.rotate(180)]),
    "GIF": encode(_PICTURE, "GIF"),
    "animated GIF": encode(_PICTURE, "GIF", save_all=True, append_images=[_PICTURE.rotate(180)]),
    "WebP": encode(_PICTURE, "WEBP", quality=95),
    "lossless WebP": encode(_PICTURE, "WEBP", lossless=True),
    "animated WebP": encode(_PICTURE, "WEBP", save_all=True, append_images=[_PICTURE.rotate(180)], lossless=True),
    "BMP": encode(_PICTURE, "BMP"),
    "palette BMP": encode(_PICTURE.quantize(8), "BMP"),
}

every_good_file = pytest.mark.parametrize("file", _GOOD_FILES.values(), ids=_GOOD_FILES.keys())


def _difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.float64) - other).mean())


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of these chunks, each with a correct checksum."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _png_header(width: int, height: int, *, bits: int = 8, colour_type: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)


@every_good_file
def test_every_format_comes_out_with_its_own_colours(file: bytes) -> None:
    """The first frame, not mirrored, not turned, with its colours, as uint8 of the model's size."""
    pixels = READER.read(file)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    for (row, column), colour in QUADRANTS.items():
        assert pixels[row, column].tolist() == pytest.approx(colour, abs=6)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(encode(Image.new("L", (300, 300), 77), "PNG"), 77, id="grey PNG"),
        pytest.param(encode(Image.new("L", (300, 300), 77), "JPEG"), 77, id="grey JPEG"),
        pytest.param(encode(Image.new("1", (300, 300), 1), "PNG"), 255, id="black and white"),
        pytest.param(encode(Image.fromarray(np.full((300, 300), 77 * 256, np.uint16)), "PNG"), 77, id="16-bit grey"),
        pytest.param(encode(Image.fromarray(np.full((300, 300), 65535, np.uint16)), "PNG"), 255, id="16-bit white"),
        pytest.param(encode(Image.fromarray(np.full((300, 300), 255, np.uint16)), "PNG"), 0, id="16-bit nearly black"),
    ],
)
def test_grey_files_keep_their_brightness(file: bytes, expected: int) -> None:
    """Grey becomes RGB of the same brightness; 16 bits are scaled to 8, not clipped."""
    np.testing.assert_array_equal(READER.read(file), np.full((224, 224, 3), expected))


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(encode(Image.new("RGBA", (300, 300), (9, 8, 7, 0)), "PNG"), id="RGBA PNG"),
        pytest.param(encode(Image.new("LA", (300, 300), (9, 0)), "PNG"), id="grey PNG with alpha"),
        pytest.param(
            encode(Image.new("RGB", (300, 300), (9, 8, 7)), "PNG", transparency=(9, 8, 7)), id="RGB PNG, one colour"
        ),
        pytest.param(encode(Image.new("L", (300, 300), 9), "PNG", transparency=9), id="grey PNG, one colour"),
        pytest.param(
            encode(Image.new("RGB", (300, 300), (9, 8, 7)).quantize(), "PNG", transparency=0), id="palette PNG"
        ),
        pytest.param(encode(Image.new("P", (300, 300), 9), "GIF", transparency=9), id="GIF"),
        pytest.param(encode(Image.new("RGBA", (300, 300), (9, 8, 7, 0)), "WEBP", lossless=True), id="WebP"),
    ],
)
def test_transparent_pixels_come_out_white(file: bytes) -> None:
    """Whatever colour a file hides under its transparency, the model sees white."""
    assert READER.read(file).min() == 255


def test_half_transparent_pixels_come_out_half_white() -> None:
    """Alpha blends with white."""
    pixels = READER.read(encode(Image.new("RGBA", (300, 300), (0, 0, 0, 128)), "PNG"))
    assert np.abs(pixels.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("file_format", "options"), [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})]
)
def test_a_photo_comes_out_upright(orientation: int, file_format: str, options: dict[str, int]) -> None:
    """For each EXIF orientation the result is that of the photo which was never turned."""
    way = _TURNED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encode(cat() if way is None else cat().transpose(way), file_format, exif=exif, **options)
    by_pillow = ImageOps.exif_transpose(Image.open(io.BytesIO(turned)))
    assert by_pillow.size == cat().size, "the test's own table is right"

    upright = READER.read(encode(cat(), file_format, **options))
    assert _difference(READER.read(turned), upright) < (3 if file_format == "JPEG" else 0.5)
    assert _difference(READER.read(turned)[:, ::-1], upright) > 20, "the measure sees a mirrored photo"


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    """A wrong EXIF value is no reason to refuse a photo."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert _difference(READER.read(encode(cat(), "PNG", exif=exif)), READER.read(cat_png())) == 0


def test_an_orientation_that_is_no_whole_number_turns_nothing() -> None:
    """EXIF 2.32 says SHORT; here it is a RATIONAL, 6/1."""
    exif = b"MM\0*" + struct.pack(">IHHHIIIII", 8, 1, 0x0112, 5, 1, 26, 0, 6, 1)
    rows = zlib.compress(b"".join(b"\0" + bytes([row] * 3 * 256) for row in range(256)))
    ends = (b"IDAT", rows), (b"IEND", b"")
    plain, turned = _png(_png_header(256, 256), *ends), _png(_png_header(256, 256), (b"eXIf", exif), *ends)
    assert Image.open(io.BytesIO(turned)).getexif()[0x0112] == 6
    assert _difference(READER.read(turned), READER.read(plain)) == 0


_LARGE = cat().resize((4032, 2688), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("file", "tolerance"),
    [
        pytest.param(cat_jpeg(), 1.5, id="451x300 JPEG"),
        pytest.param(cat_png(), 1.5, id="451x300 PNG"),
        pytest.param(encode(cat().transpose(Image.Transpose.ROTATE_90), "PNG"), 1.5, id="300x451 PNG"),
        pytest.param(encode(_LARGE, "JPEG", quality=90), 1.0, id="4032x2688 JPEG, scaled while it is decoded"),
        pytest.param(encode(_LARGE, "BMP"), 0.5, id="4032x2688 BMP"),
    ],
)
def test_the_geometry_is_that_of_timms_evaluation(file: bytes, tolerance: float, embedded: LoadedModel) -> None:
    """The result differs from timm's own transform by little; one pixel to the side would be more than 4."""
    transform = create_transform(**resolve_model_data_config(embedded.network), is_training=False, normalize=False)
    by_timm = np.asarray(transform(Image.open(io.BytesIO(file)).convert("RGB")).permute(1, 2, 0))
    assert _difference(READER.read(file), by_timm) < tolerance
    assert _difference(np.roll(READER.read(file), 1, axis=1), by_timm) > 4


def _plain(file_format: str, width: int, height: int, mode: str = "RGB") -> bytes:
    image = Image.new(mode, (width, height))
    more = {"save_all": True, "append_images": [image.resize((40, 30))]} if file_format == "MPO" else {}
    return encode(image, file_format, **more)


@pytest.mark.parametrize(
    ("file", "decoded"),
    [
        pytest.param(_plain("JPEG", 4032, 2688), (504, 336), id="a phone's photo, an eighth"),
        pytest.param(_plain("JPEG", 2048, 2048), (256, 256), id="just as large as the crop needs"),
        pytest.param(_plain("JPEG", 2047, 2048), (512, 512), id="an eighth would be too small"),
        pytest.param(_plain("JPEG", 451, 300), (451, 300), id="a small one"),
        pytest.param(_plain("MPO", 4032, 2688), (504, 336), id="a phone's two pictures in a file"),
        pytest.param(_plain("JPEG", 4032, 2688, "L"), (504, 336), id="grey"),
        pytest.param(_plain("JPEG", 4032, 2688, "CMYK"), (504, 336), id="for printers"),
        pytest.param(_plain("JPEG", 4032, 2688)[:-2], (504, 336), id="without its end marker"),
        pytest.param(_plain("PNG", 2048, 2048), (2048, 2048), id="PNG, which can't be scaled"),
    ],
)
def test_a_jpeg_is_scaled_down_while_it_is_decoded(
    file: bytes, decoded: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as the crop allows: decoded in full, a phone's photo takes three times as long and 16 times the memory."""
    sizes: list[tuple[int, int]] = []
    load = ImageFile.ImageFile.load

    def noting(image: ImageFile.ImageFile) -> object:
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", noting)
    READER.read(file)
    assert {*sizes} == {decoded}


def test_a_jpeg_is_scaled_for_the_model_that_reads_it() -> None:
    """A crop of a half needs twice the pixels, so that no detail is lost: stripes that a smaller copy would blur."""
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = stripes[:, 2::8] = stripes[:, 3::8] = 255
    pixels = ImageReader(size=256, crop_fraction=0.5).read(encode(Image.fromarray(stripes), "JPEG", quality=95))
    assert pixels.std() > 100


def test_size_and_crop_are_as_asked() -> None:
    """Another size and crop show another part: with a fraction of 1 the whole shorter side."""
    whole = ImageReader(size=96, crop_fraction=1.0).read(encode(_PICTURE, "PNG"))
    expected = np.asarray(_PICTURE.crop((40, 0, 280, 240)).resize((96, 96), Image.Resampling.BICUBIC))
    assert _difference(whole, expected) < 0.5


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 4000), (4000, 1)])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_tiny_and_narrow_images_are_images(size: tuple[int, int], file_format: str) -> None:
    """One pixel is enough, and no shape is too narrow."""
    pixels = READER.read(encode(Image.new("RGB", size, (255, 0, 0)), file_format))
    assert pixels.reshape(-1, 3).mean(axis=0).tolist() == pytest.approx([255, 0, 0], abs=3)


def test_no_bytes_are_an_error_of_their_own() -> None:
    """An empty file is called empty."""
    with pytest.raises(EmptyImageError, match=r"^the image is empty \(0 bytes\)$"):
        READER.read(b"")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(cat_jpeg(), id="JPEG"),
        pytest.param(encode(cat(), "JPEG", progressive=True), id="progressive JPEG"),
        pytest.param(encode(cat().convert("CMYK"), "JPEG"), id="CMYK JPEG"),
        pytest.param(cat_png(), id="PNG"),
        pytest.param(encode(cat().quantize(), "PNG"), id="palette PNG"),
        pytest.param(encode(cat(), "GIF"), id="GIF"),
        pytest.param(encode(cat(), "WEBP"), id="WebP"),
        pytest.param(encode(cat(), "WEBP", lossless=True), id="lossless WebP"),
        pytest.param(encode(cat(), "BMP"), id="BMP"),
    ],
)
def test_a_truncated_file_is_corrupt(file: bytes, kept: float) -> None:
    """A file that breaks off is refused, not filled up with grey."""
    with pytest.raises(CorruptImageError, match=r"truncated|corrupt"):
        READER.read(file[: int(len(file) * kept)])


@every_good_file
def test_a_file_cut_in_its_header_is_refused(file: bytes) -> None:
    """So few bytes that the format may not be known any more: an error about the image, whichever."""
    for length in range(1, 24):
        with pytest.raises((CorruptImageError, UnsupportedImageError)):
            READER.read(file[:length])


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(b"this is no image", id="text"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="SVG"),
        pytest.param(b"\0" * 5000, id="zeros"),
        pytest.param(encode(_PICTURE, "TIFF"), id="TIFF"),
        pytest.param(encode(_PICTURE, "ICO"), id="ICO"),
        pytest.param(encode(_PICTURE, "PDF"), id="PDF"),
    ],
)
def test_what_is_no_supported_image_is_called_so(file: bytes) -> None:
    """The message names the supported types."""
    with pytest.raises(UnsupportedImageError, match="JPEG, PNG, WEBP, GIF, BMP"):
        READER.read(file)


def test_a_run_length_coded_bmp_is_refused() -> None:
    """These 1,084 bytes say 49 million pixels, each of which Pillow would write in a loop of its own."""
    header = struct.pack("<IiiHHIIiiII", 40, 49_000_000, 1, 1, 8, 1, 6, 0, 0, 256, 0)
    start = 14 + len(header) + 256 * 4
    file = struct.pack("<2sIII", b"BM", start + 6, 0, start) + header + bytes(256 * 4) + b"\1\2\0\0\0\1"
    said = "^run-length coded BMP files are not supported; send it uncompressed, or as PNG$"
    with pytest.raises(UnsupportedImageError, match=said):
        READER.read(file)


@pytest.mark.parametrize("size", [(10_000, 6_000), (10_000, 10_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_memory_is_spent(size: tuple[int, int]) -> None:
    """The file holds a header and no pixels: to decode it would find it corrupt, so it was not decoded."""
    with pytest.raises(ImageTooLargeError, match=r"pixels"):
        READER.read(_png(_png_header(*size), (b"IDAT", b"")))


def test_the_pixel_limit_itself_is_allowed() -> None:
    """The limit is the most pixels that an image may have."""
    file = encode(Image.new("RGB", (40, 25)), "PNG")
    assert ImageReader(max_pixels=1000).read(file).shape == (224, 224, 3)
    with pytest.raises(ImageTooLargeError, match="40x25 = 1,000 pixels; at most 999 are allowed"):
        ImageReader(max_pixels=999).read(file)


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(
            _png(_png_header(1, 1, colour_type=3), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")),
            id="palette without colours",
        ),
        pytest.param(
            _png(_png_header(1, 1), (b"IDAT", zlib.compress(b"\0abc")[:-6] + b"\0" * 6), (b"IEND", b"")),
            id="pixels don't inflate",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_corrupt(file: bytes) -> None:
    """Whatever Pillow raises for it."""
    with pytest.raises(CorruptImageError):
        READER.read(file)


def test_a_broken_header_is_told_from_a_broken_picture() -> None:
    """The one is found when the file is opened, the other when it is decoded, and each is told with its reason."""
    with pytest.raises(CorruptImageError, match=r"^the image's header is corrupt: Unsupported BMP header type"):
        READER.read(struct.pack("<2sIII", b"BM", 40, 0, 14) + struct.pack("<I", 7) + bytes(40))
    with pytest.raises(CorruptImageError, match=r"^the JPEG image is truncated or corrupt: image file is truncated"):
        READER.read(cat_jpeg()[:20_000])


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what it finds in the damaged files
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(_GOOD_FILES)), st.integers(0, 2**32))
def test_a_damaged_file_is_an_image_or_an_image_error(name: str, seed: int) -> None:
    """No damage to a file, in its header or beyond, raises anything but an ImageError."""
    chance = random.Random(seed)
    file = bytearray(_GOOD_FILES[name])
    end = chance.choice([300, len(file)])
    for _ in range(chance.randint(1, 6)):
        file[chance.randrange(min(end, len(file)))] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
    try:
        pixels = ImageReader(max_pixels=1_000_000).read(bytes(file))
    except ImageError:
        return
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
