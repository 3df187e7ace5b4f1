"""No file costs more time or memory than a large photo."""

import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.images import CorruptImageError, ImageReader, ImageTooLargeError
from tools.stress.image_files import (
    cat,
    encode,
    png,
    png_chunks,
    quadrants,
    segment,
    with_chunks,
    with_scans,
    with_segments,
)
from unit_tests.builders.repository import ROOT

READER = ImageReader()
_PNG = encode(quadrants(), "PNG")
_JPEG = encode(quadrants(), "JPEG")
_GIF = encode(quadrants(), "GIF")
_AFTER_COLOURS = 13 + 3 * 2 ** ((_GIF[10] & 7) + 1)
_PROGRESSIVE = encode(quadrants().resize((3000, 2250)), "JPEG", progressive=True)
_COMMENT_WITH_END = segment(0xFE, b"\xff\xd9")
_DEADLINE_S = 1.0


@pytest.mark.parametrize(
    ("file", "what"),
    [
        pytest.param(with_scans(_PROGRESSIVE, 3_000), "100 scans", id="scans"),
        pytest.param(
            _PROGRESSIVE[:-2] + _COMMENT_WITH_END + with_scans(_PROGRESSIVE, 3_000)[len(_PROGRESSIVE) - 2 :],
            "100 scans",
            id="scans behind a comment that looks like the end",
        ),
        pytest.param(with_segments(_JPEG, segment(0xFE, b"") * 1_000_000), "2,000 segments", id="comments"),
        pytest.param(with_segments(_JPEG, segment(0xC4, b"") * 1_000_000), "2,000 segments", id="tables"),
        pytest.param(with_chunks(_PNG, *[(b"tEXt", b"a\0b")] * 300_000), "50,000 chunks", id="PNG comments"),
        pytest.param(
            png(*png_chunks(_PNG)[:-1], *[(b"IDAT", b"")] * 300_000, (b"IEND", b"")), "50,000 chunks", id="PNG pixels"
        ),
        pytest.param(
            _GIF[:_AFTER_COLOURS] + b"\x21\xfe\0" * 2_000_000 + _GIF[_AFTER_COLOURS:],
            "100,000 blocks",
            id="GIF comments",
        ),
        pytest.param(
            _GIF[:_AFTER_COLOURS] + b"\x21\xfe" + b"\1a" * 2_000_000 + b"\0" + _GIF[_AFTER_COLOURS:],
            "100,000 blocks",
            id="GIF comment in blocks of a byte",
        ),
    ],
)
def test_more_parts_than_an_image_needs_are_refused_at_once(file: bytes, what: str) -> None:
    """With the limit in the sentence."""
    start_s = time.thread_time()
    with pytest.raises(ImageTooLargeError, match=f"file has more than {what}"):
        READER.read(file)
    assert time.thread_time() - start_s < _DEADLINE_S


@pytest.mark.parametrize(
    "file",
    [
        b"\xff\xd8\xff\xd9" + segment(0xFE, b"") * 1_000_000,
        b"\xff\xd8\xff\xdb\0\2" + bytes(5_000_000),
        b"\xff\xd8\xff\xdb\0\2" + b"\xff" * 5_000_000,
    ],
    ids=["segments after the end", "zeros", "fill bytes"],
)
def test_a_jpeg_without_a_picture_is_not_read_to_its_end(file: bytes) -> None:
    start_s = time.thread_time()
    with pytest.raises(CorruptImageError):
        READER.read(file)
    assert time.thread_time() - start_s < _DEADLINE_S


def test_as_many_scans_as_encoders_write_are_read() -> None:
    """The ten of libjpeg, and ten times as many."""
    assert READER.read(_PROGRESSIVE).shape == READER.read(with_scans(_PROGRESSIVE, 80)).shape == (224, 224, 3)


def test_what_follows_a_photo_is_not_counted() -> None:
    """A video that phones put there looks like thousands of scans, and a second picture has its own."""
    photo = encode(cat(), "JPEG", progressive=True)
    assert np.array_equal(READER.read(photo + b"\xff\xda" * 5_000), READER.read(photo))


@pytest.mark.parametrize("chunk", [b"Raw profile type exif\0\0", b"Raw profile type APP1\0\0"])
def test_only_one_raw_profile_is_inflated(chunk: bytes) -> None:
    """Thousands of kilobytes that inflate to megabytes would take minutes."""
    bomb = (b"zTXt", chunk + zlib.compress(bytes(1_000_000)))
    start_s = time.thread_time()
    READER.read(with_chunks(_PNG, *[bomb] * 5_000))
    assert time.thread_time() - start_s < _DEADLINE_S


def test_a_phones_two_pictures_in_a_file_are_scaled_while_they_are_decoded() -> None:
    """MPO, as phones write it, costs what a JPEG does: the first picture counts."""
    photo = cat().resize((4032, 3024))
    one, two = encode(photo, "JPEG", quality=90), encode(photo, "MPO", quality=90, save_all=True, append_images=[cat()])
    assert np.array_equal(READER.read(two), READER.read(one))
    seconds = []
    for file in (one, two):
        start_s = time.thread_time()
        for _ in range(3):
            READER.read(file)
        seconds.append(time.thread_time() - start_s)
    assert seconds[1] < 2 * seconds[0]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP"])
def test_more_pixels_than_pillow_likes_are_read_where_they_are_allowed(file_format: str) -> None:
    """Pillow's own limits are 89 and 179 million."""
    file = encode(Image.new("1" if file_format != "JPEG" else "L", (20_000, 9_000)), file_format)
    assert ImageReader(max_pixels=180_000_000).read(file).max() == 0
    with pytest.raises(ImageTooLargeError, match="at most 179,999,999 are allowed"):
        ImageReader(max_pixels=179_999_999).read(file)


def _webp(kind: bytes, head: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(head)) + head
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


_GIF_HEAD = struct.pack("<6sHHBBB", b"GIF89a", 40_000, 40_000, 0, 0, 0)
_GIF_PICTURE = struct.pack("<BHHHHB", 0x2C, 0, 0, 40_000, 40_000, 0) + b"\2\0;"


@pytest.mark.parametrize(
    "file",
    [
        *(_GIF_HEAD + b"\x21\xf9\4" + bytes([disposal << 2]) + b"\0\0\0\0" + _GIF_PICTURE for disposal in range(4)),
        _GIF_HEAD.replace(struct.pack("<HH", 40_000, 40_000), b"\1\0\1\0") + _GIF_PICTURE,
        _webp(b"VP8X", bytes(4) + b"\xff\x3f\0" * 2),
        _webp(b"VP8L", b"\x2f\xff\xff\xff\x0f"),
        _webp(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f"),
    ],
    ids=[*(f"GIF, disposal {disposal}" for disposal in range(4)), "GIF, frame", "VP8X", "VP8L", "VP8"],
)
def test_no_room_is_made_for_more_pixels_than_allowed(file: bytes) -> None:
    """Pillow makes it when it opens these formats."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageTooLargeError, match="pixels; at most 52,000,000 are allowed"):
        READER.read(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("size", [(8160, 6144), (8192, 6144), (6144, 8192), (8064, 6048)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["", "progressive"])
def test_the_photo_of_a_50_megapixel_phone_is_allowed(size: tuple[int, int], options: dict[str, bool]) -> None:
    """Of several makers, and upright."""
    assert READER.read(encode(Image.new("L", size, 9), "JPEG", **options)).max() == 9


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_costs_little_memory(mode: str, tmp_path: Path) -> None:
    """What is decoded, and the part that is shown: below nine bytes a pixel in all, where they were twenty."""
    file = tmp_path / "large.png"
    image = Image.new(mode, (5_000, 4_000))
    image.save(file, transparency=0 if mode == "P" else (0, 0, 0) if mode == "RGB" else None)
    program = (
        "import resource, sys; from pathlib import Path; from service.images import ImageReader\n"
        "reader, data = ImageReader(), Path(sys.argv[1]).read_bytes(); reader.read(Path(sys.argv[2]).read_bytes())\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert reader.read(data).min() == 255\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    small = tmp_path / "small.png"
    image.resize((10, 10)).save(small)
    ran = subprocess.run(
        [sys.executable, "-c", program, file, small], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert int(ran.stdout) * 1024 / 20e6 < 9
