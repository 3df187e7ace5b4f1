"""GIF files: remove the parts before the first picture that are not needed to read it.

Pillow reads these parts in Python, and byte by byte if they are not valid, which is slow.
"""

import io
import re

from PIL.GifImagePlugin import GifImageFile

from service.images.errors import ImageTooLargeError
from service.images.parts import ImageParts

MAGIC = b"GIF8"
# A comment or a colour profile has a block for each 255 bytes.
_MAX_BLOCKS = 100_000
_EXTENSION, _PICTURE = 0x21, 0x2C
_GRAPHIC_CONTROL, _DISPOSAL = 0xF9, 0x1C
_NEXT = re.compile(rb"[^!,;]*")


def read_parts(data: bytes) -> ImageParts:
    """Open the file; if it is animated, its first picture.

    Raises
    ------
    ImageTooLargeError
        If there are more blocks before the picture than any real file has.
    """
    plain = _plain(data)
    return ImageParts(GifImageFile(io.BytesIO(plain)), plain, None)


def _plain(data: bytes) -> bytes:
    colours = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (colours & 7) + 1 if colours & 0x80 else 0)
    head, control = data[:position], b""
    blocks = 0
    while (found := _NEXT.match(data, position)) and found.end() < len(data):
        start = position = found.end()
        if data[start] == _PICTURE:
            return head + control + data[start:]
        if data[start] != _EXTENSION or start + 1 >= len(data):
            break
        position += 2
        size = 1
        while size and position < len(data):
            size = data[position]
            position += size + 1
            blocks += 1
            if blocks > _MAX_BLOCKS:
                raise ImageTooLargeError(f"the GIF file has more than {_MAX_BLOCKS:,} blocks before its picture")
        if data[start + 1] == _GRAPHIC_CONTROL:
            control = _without_disposal(data[start:position])
    return data[:position]


def _without_disposal(control: bytes) -> bytes:
    """Remove the disposal for the second picture: Pillow would allocate memory for it before the size is checked."""
    return control[:3] + bytes([control[3] & ~_DISPOSAL]) + control[4:] if len(control) > 3 else control
