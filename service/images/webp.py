"""WebP files: Pillow makes room for the whole picture when it opens one, so its size is read before."""

import io

from PIL.WebPImagePlugin import WebPImageFile

from service.images.orientation import transposition
from service.images.parts import ImageParts


def is_webp(data: bytes) -> bool:
    """Whether it begins as WebP's container does."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read_size(data: bytes) -> tuple[int, int]:
    """Width and height as the first chunk has them; zeros where it breaks off or is unknown."""
    kind, head = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    return 0, 0


def read_parts(data: bytes) -> ImageParts:
    """Open the file; of an animated one the first picture."""
    image = WebPImageFile(io.BytesIO(data))
    return ImageParts(image, data, transposition(image.info.get("exif", b""), image.info.get("xmp", b"")))
