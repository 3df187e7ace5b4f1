"""JPEG files: Pillow gets only the parts that the pixels need, and their number has a limit.

Pillow reads the head in Python, and libjpeg has no limits: a file of some megabytes could occupy a thread for minutes.
"""

import io
import re

from PIL import ImageChops
from PIL.JpegImagePlugin import JpegImageFile

from service.images.errors import CorruptImageError, ImageTooLargeError
from service.images.orientation import transposition
from service.images.parts import ImageParts

MAGIC = b"\xff\xd8\xff"
# A photo has about ten of each. Extended XMP of many megabytes takes some hundred segments.
_MAX_SEGMENTS = 2_000
_MAX_SCANS = 100

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD8), _SOI}
_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Not APP0 (JFIF) and APP14 (Adobe), which define the colour space.
_DECORATION = {*range(0xE1, 0xEE), 0xEF, 0xFE}
_MARKER = re.compile(rb"[^\xff]*\xff+")
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Bytes without a marker. If a scan is incomplete, the decoder reads them as its rest, and the picture changes.
_NONSENSE = bytes(range(1, 255))


def read_parts(data: bytes) -> ImageParts:
    """Open the file, which may also be one of several pictures (MPO): the first counts.

    Raises
    ------
    ImageTooLargeError
        If it has more segments or scans than any photo has.
    CorruptImageError
        If the file has no picture.
    """
    exif = xmp = b""
    kept: list[memoryview] = [memoryview(data)[:2]]
    position, components, is_progressive = 2, 0, False
    is_whole, is_plain, end = True, False, 2
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.match(data, position)
        if marker is None or marker.end() >= len(data):
            break
        position = marker.end() + 1
        code = data[position - 1]
        if code in _WITHOUT_LENGTH:
            continue
        start = position - 2
        if code == _EOI:
            raise CorruptImageError("the JPEG image is truncated or corrupt: it ends before its picture begins")
        if code == _SOS:
            # If one scan has all components, libjpeg reads no second scan.
            if is_progressive or data[position + 2 : position + 3] != bytes([components]):
                _limit_scans(data, start)
            kept.append(memoryview(data)[start:])
            is_plain = is_whole and start == end
            break
        position += int.from_bytes(data[position : position + 2], "big")
        if code == 0xE1:
            content = data[start + 4 : position]
            if content.startswith(b"Exif\0\0"):
                exif = exif or content
            elif content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                xmp = xmp or content
        elif code in _FRAME:
            components, is_progressive = data[min(start + 9, len(data) - 1)], code in _PROGRESSIVE
        if code not in _DECORATION:
            kept.append(memoryview(data)[start:position])
            is_whole = is_whole and start == end
            end = position
    else:
        raise ImageTooLargeError(f"the JPEG file has more than {_MAX_SEGMENTS:,} segments; save it again without them")
    # Most files need no copy.
    plain = data if is_plain else b"".join(kept)
    return ImageParts(JpegImageFile(io.BytesIO(plain)), plain, transposition(exif, xmp))


def _limit_scans(data: bytes, start: int) -> None:
    scans, marker = 0, _MARKER_IN_SCAN.search(data, start)
    while marker is not None and data[marker.end() - 1] != _EOI:
        if data[marker.end() - 1] == _SOS:
            scans += 1
            if scans > _MAX_SCANS:
                raise ImageTooLargeError(f"the JPEG file has more than {_MAX_SCANS} scans; save it again with fewer")
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        marker = _MARKER_IN_SCAN.search(data, marker.end() + length)


def load_without_end(plain: bytes, size: tuple[int, int]) -> JpegImageFile | None:
    """Load the picture of a file that lacks only its end marker; None if it lacks more.

    libjpeg reports no error and fills missing pixels with grey. So the file is decoded with two different ends, and the
    two pictures are equal only if no pixel is missing.

    Parameters
    ----------
    size:
        The size to which the decoder may scale it down.
    """
    start = plain.find(b"\xff\xda")
    if start < 0 or plain.find(b"\xff\xd9", start) >= 0:
        return None
    whole, other = (_load(plain.rstrip(b"\xff") + more + b"\xff\xd9", size) for more in (b"", _NONSENSE))
    return whole if ImageChops.difference(whole, other).getbbox() is None else None


def _load(file: bytes, size: tuple[int, int]) -> JpegImageFile:
    image = JpegImageFile(io.BytesIO(file))
    image.draft("RGB", size)
    image.load()
    return image
