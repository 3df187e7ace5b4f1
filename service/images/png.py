"""PNG files: only what the pixels need is given to Pillow, which refuses a file for a comment that it can't read."""

import io
import re
import struct
import zlib

from PIL.PngImagePlugin import PngImageFile

from service.images.errors import CorruptImageError, ImageTooLargeError
from service.images.orientation import transposition
from service.images.parts import ImageParts

MAGIC = b"\x89PNG\r\n\x1a\n"
# A file of 20 MB has 2,500 where each holds the usual 8 KB.
_MAX_CHUNKS = 50_000
_MAX_TEXT_BYTES = 1_000_000
_RAW_PROFILE = re.compile(rb"Raw profile type (?:exif|APP1)\0")
_HEAD = struct.Struct(">I4s")
_IS_ANCILLARY = 0x20
_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_GREY, _RGB, _PALETTE = b"\0", b"\2", b"\3"


def read_parts(data: bytes) -> ImageParts:
    """Open the file; of an animated one the picture that is no part of the animation, or its first.

    Raises
    ------
    ImageTooLargeError
        For more chunks than a picture needs.
    CorruptImageError
        For a palette that is missing: Pillow would take another.
    """
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[: len(MAGIC)]]
    kinds: set[bytes] = set()
    header = exif = profile = xmp = b""
    position = len(MAGIC)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            break
        length, kind = _HEAD.unpack_from(data, position)
        chunk = view[position : position + 12 + length]
        position += len(chunk)
        kinds.add(kind)
        if not kind[0] & _IS_ANCILLARY:
            kept.append(chunk)
        if kind == b"IHDR":
            header = bytes(chunk[8:-4])
        elif kind == b"tRNS":
            kept.append(_transparency(bytes(chunk), header))
        elif kind == b"eXIf":
            exif = exif or bytes(chunk[8:-4])
        elif kind in (b"tEXt", b"zTXt") and _RAW_PROFILE.match(chunk, 8):
            profile = profile or bytes(chunk)
        elif kind == b"iTXt" and bytes(chunk[8:26]) == b"XML:com.adobe.xmp\0":
            xmp = xmp or bytes(chunk[8:-4])
        elif kind == b"IEND":
            break
    else:
        raise ImageTooLargeError(f"the PNG file has more than {_MAX_CHUNKS:,} chunks; save it again with fewer")
    if header[9:10] == _PALETTE and b"PLTE" not in kinds:
        raise CorruptImageError("the PNG image is corrupt: it has no palette")
    # Most files need no copy.
    plain = data if kinds <= _NEEDED else b"".join(kept)
    return ImageParts(PngImageFile(io.BytesIO(plain)), plain, transposition(exif or _raw_profile(profile), xmp))


def _transparency(chunk: bytes, header: bytes) -> bytes:
    """The chunk with its colour in the depth that Pillow gives the pixels; nothing for one that is damaged."""
    content, depth, colour_type = chunk[8:-4], header[8:9], header[9:10]
    if chunk[-4:] != struct.pack(">I", zlib.crc32(chunk[4:-4])):
        return b""
    if colour_type == _GREY and len(content) == 2 and depth in (b"\2", b"\4"):
        largest = (1 << depth[0]) - 1
        (grey,) = struct.unpack(">H", content)
        content = struct.pack(">H", (grey & largest) * 255 // largest)
    elif colour_type == _RGB and len(content) == 6 and depth == b"\x10":
        content = struct.pack(">3H", *(colour >> 8 for colour in struct.unpack(">3H", content)))
    return _HEAD.pack(len(content), b"tRNS") + content + struct.pack(">I", zlib.crc32(b"tRNS" + content))


def _raw_profile(chunk: bytes) -> bytes:
    """The EXIF that ImageMagick wrote as a text of hexadecimal digits, before PNG had a chunk for it."""
    text = chunk[8:-4].partition(b"\0")[2]
    try:
        if chunk[4:8] == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MAX_TEXT_BYTES)
        # A line break, the name, the length, then the digits.
        return bytes.fromhex("".join(text[:_MAX_TEXT_BYTES].decode("latin-1").split("\n")[3:]))
    except (zlib.error, ValueError):
        return b""
