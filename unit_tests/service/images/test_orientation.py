"""How a photo is turned is found wherever cameras and programs write it."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.images import ImageReader
from tools.stress.image_files import encode, exif, quadrants, segment, with_chunks, with_segments

READER = ImageReader()
_TAG = 0x0112
_PNG = encode(quadrants(), "PNG")
_JPEG = encode(quadrants(), "JPEG", quality=95)
_XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
_EXIF = exif([(0x010F, 2, 4, b"Make"), (_TAG, 3, 1, b"\3\0")])
_RAW_PROFILE = b"\nexif\n%8d\n%s\n" % (
    len(_EXIF) + 6,
    b"\n".join((b"Exif\0\0" + _EXIF).hex().encode()[i : i + 72] for i in range(0, 200, 72)),
)


@pytest.mark.parametrize(
    ("file", "plain"),
    [
        pytest.param(with_segments(_JPEG, segment(0xE1, b"Exif\0\0" + _EXIF)), _JPEG, id="JPEG"),
        pytest.param(
            with_segments(_JPEG, segment(0xE1, b"Exif\0\0" + exif([(_TAG, 3, 1, b"\0\3")], ">"))),
            _JPEG,
            id="big-endian",
        ),
        pytest.param(
            with_segments(_JPEG, segment(0xE1, b"Exif\0\0" + exif([(_TAG, 4, 1, b"\3\0\0\0")]))), _JPEG, id="a long"
        ),
        pytest.param(
            with_segments(_JPEG, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP)), _JPEG, id="JPEG, XMP alone"
        ),
        pytest.param(with_chunks(_PNG, (b"eXIf", _EXIF)), _PNG, id="PNG"),
        pytest.param(with_chunks(_PNG, (b"eXIf", b"Exif\0\0" + _EXIF)), _PNG, id="PNG with JPEG's prefix"),
        pytest.param(with_chunks(_PNG, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP)), _PNG, id="PNG, XMP alone"),
        pytest.param(with_chunks(_PNG, (b"tEXt", b"Raw profile type exif\0" + _RAW_PROFILE)), _PNG, id="ImageMagick"),
        pytest.param(
            with_chunks(_PNG, (b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(_RAW_PROFILE))),
            _PNG,
            id="ImageMagick, compressed",
        ),
        pytest.param(
            encode(quadrants(), "WEBP", lossless=True, exif=b"Exif\0\0" + _EXIF),
            encode(quadrants(), "WEBP", lossless=True),
            id="WebP",
        ),
        pytest.param(
            encode(quadrants(), "WEBP", lossless=True, xmp=_XMP),
            encode(quadrants(), "WEBP", lossless=True),
            id="WebP, XMP alone",
        ),
    ],
)
def test_a_photo_upside_down_is_turned(file: bytes, plain: bytes) -> None:
    assert np.array_equal(READER.read(file), np.rot90(READER.read(plain), 2))


@pytest.mark.parametrize(
    "wrong",
    [
        exif([(_TAG, 2, 1, b"\3\0")]),
        exif([(_TAG, 3, 1, b"\x63\0")]),
        b"MM*\0" + _EXIF[4:],
        b"II+\0" + _EXIF[4:],
        _EXIF[:4] + struct.pack("<I", 2**31) + _EXIF[8:],
        _EXIF[:20],
    ],
)
def test_an_orientation_that_makes_no_sense_turns_nothing(wrong: bytes) -> None:
    assert np.array_equal(READER.read(with_chunks(_PNG, (b"eXIf", wrong))), READER.read(_PNG))


def test_what_pillow_writes_is_read() -> None:
    """All of an Exif object's tags, and the one that counts among them."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0110], tags[_TAG], tags[0x0132] = "Maker", "Model", 3, "2026:11:26 10:00:00"
    tags.get_ifd(0x8769)[0x9286] = b"comment"
    for file_format in ("JPEG", "PNG", "WEBP"):
        file, plain = encode(quadrants(), file_format, exif=tags), encode(quadrants(), file_format)
        assert np.array_equal(READER.read(file), np.rot90(READER.read(plain), 2))
