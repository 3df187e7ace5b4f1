"""Image files and requests that the tests send."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image
from skimage import data

QUADRANTS = {(56, 56): (200, 30, 40), (56, 168): (30, 180, 50), (168, 56): (40, 60, 190), (168, 168): (220, 210, 30)}
"""Row and column in the 224x224 result, with the colour that `quadrants()` has there."""


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    """The image as a file of the format."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def quadrants() -> Image.Image:
    """320x240 pixels in four colours, so that each way of turning it looks different."""
    pixels = np.zeros((240, 320, 3), np.uint8)
    for (row, column), colour in QUADRANTS.items():
        top, left = (0 if row < 112 else 120), (0 if column < 112 else 160)
        pixels[top : top + 120, left : left + 160] = colour
    return Image.fromarray(pixels)


@cache
def cat() -> Image.Image:
    """scikit-image's photo of the cat Chelsea, 451x300, without any loss."""
    return Image.fromarray(np.asarray(data.chelsea()))


@cache
def cat_png() -> bytes:
    """The cat as a PNG."""
    return encode(cat(), "PNG")


def json_body(file: bytes) -> bytes:
    """The body of a request with the file in base64."""
    return json.dumps({"image": base64.b64encode(file).decode()}).encode()


Chunk = tuple[bytes, bytes]
"""A PNG chunk's kind and content."""


def png(*chunks: Chunk) -> bytes:
    """A PNG file of these chunks, each with a correct checksum."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def png_chunks(file: bytes) -> list[Chunk]:
    """The chunks of a good PNG file."""
    chunks, position = [], 8
    while position < len(file):
        length = int.from_bytes(file[position : position + 4], "big")
        chunks.append((file[position + 4 : position + 8], file[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def with_chunks(file: bytes, *chunks: Chunk) -> bytes:
    """The PNG file with more chunks after its header."""
    header, *others = png_chunks(file)
    return png(header, *chunks, *others)


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(file: bytes, segments: bytes) -> bytes:
    """The JPEG file with more bytes after its first marker."""
    return file[:2] + segments + file[2:]


def with_scans(file: bytes, count: int) -> bytes:
    """The progressive JPEG file with its last scan so many times more, without data but well-formed."""
    start = file.rindex(b"\xff\xda")
    length = int.from_bytes(file[start + 2 : start + 4], "big")
    return file[:-2] + file[start : start + 2 + length] * count + file[-2:]


def exif(entries: Sequence[tuple[int, int, int, bytes]], order: str = "<") -> bytes:
    """EXIF of entries with tag, type, number of values and their four bytes."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(struct.pack(f"{order}HHI4s", *entry) for entry in entries)
    return head + struct.pack(f"{order}IH", 8, len(entries) & 0xFFFF) + body + bytes(4)
