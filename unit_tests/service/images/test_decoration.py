"""What only decorates a picture never keeps it from being read, whatever is wrong with it."""

import struct
import zlib

import numpy as np
import pytest

from service.images import CorruptImageError, ImageReader
from tools.stress.image_files import cat, encode, exif, png, png_chunks, quadrants, segment, with_chunks, with_segments

READER = ImageReader()
_PNG = encode(quadrants(), "PNG")
_JPEG = encode(quadrants(), "JPEG", quality=95)
_GIF = encode(quadrants(), "GIF")
_AFTER_COLOURS = 13 + 3 * 2 ** ((_GIF[10] & 7) + 1)


def _same(file: bytes, plain: bytes) -> None:
    assert np.array_equal(READER.read(file), READER.read(plain))


def _with_wrong_checksum(kind: bytes, content: bytes) -> bytes:
    chunk = png((kind, content))[8:-1] + b"?"
    return _PNG[:33] + chunk + _PNG[33:]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"iCCP", b"x\0\0" + zlib.compress(b"profile")),
        (b"tEXt", b"Software\0x"),
        (b"pHYs", b"\0\0\1\0\0\0\1\0\1"),
        (b"tIME", b"\7\xe8\1\1\0\0\0"),
        (b"gAMA", b"\0\0\xb1\x8f"),
        (b"tRNS", b"\0\xc8\0\x1e\0\x28"),
    ],
)
def test_a_wrong_checksum_leaves_out_the_chunk_and_not_the_picture(kind: bytes, content: bytes) -> None:
    """As libpng, browsers and every viewer have it."""
    _same(_with_wrong_checksum(kind, content), _PNG)


_TWO_MEGABYTES = zlib.compress(bytes(2_000_000))


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([(b"zTXt", b"Comment\0\0" + _TWO_MEGABYTES)], id="2 MB of zTXt"),
        pytest.param([(b"iTXt", b"Comment\0\1\0\0\0" + _TWO_MEGABYTES)], id="2 MB of iTXt"),
        pytest.param([(b"iCCP", b"x\0\0" + _TWO_MEGABYTES)], id="2 MB of iCCP"),
        pytest.param([(b"iCCP", b"")], id="iCCP without anything"),
        pytest.param([(b"eXIf", b"no TIFF")], id="eXIf is no TIFF"),
        pytest.param([(b"eXIf", b"II*\0")], id="eXIf breaks off"),
        pytest.param(
            [(b"eXIf", exif([(0x010F, 2, 4, b"Make"), (0x0112, 3, 1, b"\3\0")])[:-10])],
            id="eXIf breaks off in its entries",
        ),
        pytest.param([(b"tEXt", b"Raw profile type exif\0\nexif\n   40\n4578696600004")], id="raw profile cut off"),
        pytest.param([(b"zTXt", b"Raw profile type exif\0\0\x78\x9c???")], id="raw profile that doesn't inflate"),
        pytest.param([(b"zTXt", b"Raw profile type exif\0\0" + _TWO_MEGABYTES)], id="raw profile of 2 MB"),
        pytest.param([(b"acTL", b"")], id="animation control without anything"),
        pytest.param([(b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", bytes(26))], id="frame control of zeros"),
        pytest.param([(b"pHYs", b"\0"), (b"cHRM", b"\0"), (b"sRGB", b"")], id="chunks that are too short"),
    ],
)
def test_what_is_wrong_in_a_chunk_beside_the_picture_is_not_seen(chunks: list[tuple[bytes, bytes]]) -> None:
    _same(with_chunks(_PNG, *chunks), _PNG)


@pytest.mark.parametrize("options", [{"exif": b"Exif\0\0nonsense"}, {"exif": b"\xff" * 99}, {"xmp": b"\xff<x:xmpmeta"}])
def test_nonsense_in_a_webps_metadata_is_not_seen(options: dict[str, bytes]) -> None:
    plain = encode(quadrants(), "WEBP", lossless=True)
    _same(encode(quadrants(), "WEBP", lossless=True, **options), plain)


_MANY_ENTRIES = segment(0xE1, b"Exif\0\0" + exif([(0x9000, 7, 4, b"abcd")] * 5_000))


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"), id="EXIF that points nowhere"),
        pytest.param(segment(0xE1, b"Exif\0\0"), id="EXIF without anything"),
        pytest.param(_MANY_ENTRIES * 60, id="300,000 EXIF entries"),
        pytest.param(segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 200), id="a broken index of pictures"),
        pytest.param(segment(0xE2, b"ICC_PROFILE\0\1\2half"), id="half a colour profile"),
        pytest.param(segment(0xED, b"Photoshop 3.0\x008BIM\xff"), id="Photoshop's cut off"),
        pytest.param(b"\xff" * 3_000_000, id="fill bytes"),
        pytest.param(segment(0xFE, b"") + b"\0" * 3_000_000, id="zeros"),
    ],
)
def test_what_stands_before_a_jpegs_picture_is_not_seen(segments: bytes) -> None:
    _same(with_segments(_JPEG, segments), _JPEG)


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(b"\x21\xfe" + (b"\xff" + b"a" * 255) * 5_000 + b"\0", id="a long comment"),
        pytest.param(b"\x21\xff\x0bICCRGBG1012\xff" + b"?" * 255 + b"\0", id="a colour profile"),
        pytest.param(b"\0" * 3_000_000, id="zeros"),
        pytest.param(b"\x21\xf9\4\1\0\0\1\0\x21\xf9\4\0\0\0\0\0", id="two graphic controls: the last counts"),
    ],
)
def test_what_stands_before_a_gifs_picture_is_not_seen(blocks: bytes) -> None:
    _same(_GIF[:_AFTER_COLOURS] + blocks + _GIF[_AFTER_COLOURS:], _GIF)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "restart_marker_blocks": 5}])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(options: dict[str, int], lost: int) -> None:
    """Cameras and downloads that end two bytes too early."""
    for picture in (quadrants(), cat(), quadrants().convert("CMYK"), cat().convert("L")):
        file = encode(picture, "JPEG", quality=90, **options)
        _same(file[:-lost], file)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("lost", [8, 20, 100, 1_000])
def test_a_jpeg_that_lacks_pixels_is_not(options: dict[str, bool], lost: int) -> None:
    """Not even a few at its end: grey would stand there."""
    file = encode(cat(), "JPEG", quality=90, **options)
    with pytest.raises(CorruptImageError, match="truncated"):
        READER.read(file[:-lost])


def test_a_picture_is_all_that_is_given_to_pillow() -> None:
    """Each ancillary chunk that PNG knows, before the picture and after it."""
    names = (
        "cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST tRNS eXIf pHYs sPLT tIME tEXt zTXt iTXt acTL fcTL fdAT oFFs"
    )
    *chunks, end = png_chunks(_PNG)
    nonsense = [(name.encode(), b"?") for name in names.split() if name != "tRNS"]
    _same(png(chunks[0], *nonsense, *chunks[1:], *nonsense, end), _PNG)
