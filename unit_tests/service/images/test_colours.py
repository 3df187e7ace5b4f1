"""Colours come out as every viewer shows them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.images import ImageReader
from tools.stress.image_files import cat, encode, png, quadrants, with_chunks

READER = ImageReader()


def _bmp(
    alpha: int, *, pixels: int = 64, odd: int | None = None, header_bytes: int = 108, is_top_down: bool = False
) -> bytes:
    """32 bits with an alpha mask, as screenshot tools write it."""
    body = bytearray(bytes((10, 20, 200, alpha)) * pixels * pixels)
    if odd is not None:
        body[3] = odd
    size = len(body)
    height = -pixels if is_top_down else pixels
    header = struct.pack("<IiiHHIIiiII", header_bytes, pixels, height, 1, 32, 3, size, 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs"
    header = header.ljust(header_bytes, b"\0")[:header_bytes]
    return struct.pack("<2sIII", b"BM", 14 + len(header) + size, 0, 14 + len(header)) + header + body


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(_bmp(0), (200, 20, 10), id="alpha 0 everywhere"),
        pytest.param(_bmp(0, header_bytes=56), (200, 20, 10), id="alpha 0 everywhere, Adobe's header"),
        pytest.param(_bmp(0, header_bytes=124), (200, 20, 10), id="alpha 0 everywhere, Windows' newest header"),
        pytest.param(_bmp(0, is_top_down=True), (200, 20, 10), id="alpha 0 everywhere, from the top down"),
        pytest.param(_bmp(255), (200, 20, 10), id="opaque"),
        pytest.param(_bmp(128), (227, 137, 132), id="half transparent"),
        pytest.param(_bmp(0, odd=255), (255, 255, 255), id="all but one pixel, which isn't shown"),
    ],
)
def test_a_bmp_whose_alpha_nobody_has_written_is_opaque(file: bytes, expected: tuple[int, int, int]) -> None:
    """Alpha counts where any pixel has it."""
    assert READER.read(file)[112, 112].tolist() == list(expected)


# Bit depth, PNG's colour type, a row of eight pixels, and the colour that is transparent.
_ONE_COLOUR = [
    (1, 0, b"\xff", b"\0\1"),
    (2, 0, b"\x55" * 2, b"\0\1"),
    (4, 0, b"\x55" * 4, b"\0\5"),
    (8, 0, b"\7" * 8, b"\0\7"),
    (16, 0, b"\x12\x34" * 8, b"\x12\x34"),
    (8, 2, b"\x12\x34\x56" * 8, b"\0\x12\0\x34\0\x56"),
    (16, 2, b"\x12\x34\x56\x78\x9a\xbc" * 8, b"\x12\x34\x56\x78\x9a\xbc"),
]


@pytest.mark.parametrize(("depth", "colour_type", "row", "transparent"), _ONE_COLOUR)
def test_the_transparent_colour_of_a_png_is_white_in_each_depth(
    depth: int, colour_type: int, row: bytes, transparent: bytes
) -> None:
    """And another colour isn't."""
    header = b"IHDR", struct.pack(">IIBBBBB", 8, 8, depth, colour_type, 0, 0, 0)
    pixels = b"IDAT", zlib.compress((b"\0" + row) * 8)
    assert READER.read(png(header, (b"tRNS", transparent), pixels, (b"IEND", b""))).min() == 255
    opaque = READER.read(png(header, pixels, (b"IEND", b"")))
    other = b"\0\0" * (len(transparent) // 2)
    assert np.array_equal(READER.read(png(header, (b"tRNS", other), pixels, (b"IEND", b""))), opaque)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_looks_as_if_the_photo_had_been_laid_on_white(mode: str) -> None:
    """Also where a photo is converted in several strips, and scaled."""
    photo = cat().resize((1804, 1200))
    alpha = Image.linear_gradient("L").resize(photo.size)
    if mode == "P":
        transparent = photo.quantize(64)
        file = encode(transparent, "PNG", transparency=bytes(range(0, 256, 4)))
        transparent = Image.open(io.BytesIO(file)).convert("RGBA")
    else:
        transparent = photo.convert("LA" if mode == "LA" else "RGBA")
        transparent.putalpha(alpha)
        file = encode(transparent, "PNG")
        transparent = transparent.convert("RGBA")
    white = Image.new("RGBA", photo.size, "white")
    expected = READER.read(encode(Image.alpha_composite(white, transparent).convert("RGB"), "PNG"))
    assert np.abs(READER.read(file).astype(int) - expected).max() <= 1


def test_sixteen_bits_of_grey_are_converted_in_strips() -> None:
    """Each has its rows, and only those of the one grey are white."""
    deep = np.linspace(0, 65535, 1_500 * 2_000).astype(np.uint16).reshape(1_500, 2_000)
    file = encode(Image.fromarray(deep), "PNG")
    shallow = READER.read(encode(Image.fromarray((deep >> 8).astype(np.uint8)), "PNG"))
    assert np.array_equal(READER.read(file), shallow)
    deep[700:800] = 77
    file = with_chunks(encode(Image.fromarray(deep), "PNG"), (b"tRNS", struct.pack(">H", 77)))
    assert READER.read(file)[112].min() == 255


def _other_primaries() -> bytes:
    """A profile of sRGB with red and blue in each other's place: whoever applies it shows other colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")


def test_the_profile_of_another_order_of_primaries_would_change_the_colours() -> None:
    """Else the next test would say nothing."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(_other_primaries()))
    converted = ImageCms.profileToProfile(quadrants(), profile, ImageCms.createProfile("sRGB"))
    assert isinstance(converted, Image.Image)
    assert np.abs(np.asarray(converted).astype(int) - np.asarray(quadrants())).mean() > 20


@pytest.mark.parametrize(
    "profile",
    [_other_primaries(), ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), b"no profile"],
    ids=["red and blue in each other's place", "Lab", "nonsense"],
)
def test_colour_profiles_are_ignored(profile: bytes) -> None:
    """As where such models are trained; README and /openapi.json say so."""
    for file_format in ("JPEG", "PNG", "WEBP"):
        options = {"icc_profile": profile}
        assert np.array_equal(
            READER.read(encode(quadrants(), file_format, **options)), READER.read(encode(quadrants(), file_format))
        )
