"""Find how to turn a photo upright, by its EXIF or XMP; ignore other entries and errors in them."""

import re
import struct

from PIL import Image

_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The integer types of TIFF that a writer may have used, each with the format of its first value in the entry.
_VALUES = {1: "B", 3: "H", 4: "I"}
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")


def transposition(exif: bytes, xmp: bytes) -> Image.Transpose | None:
    """Return the operation that turns the photo upright (EXIF 2.32, section 4.6.4); None if none is needed or known.

    Parameters
    ----------
    exif:
        A TIFF structure, with or without the prefix that JPEG gives it; empty if there is none.
    xmp:
        XML of the XMP, which counts if the EXIF has no orientation.
    """
    orientation = _from_exif(exif)
    if orientation is None and (found := _XMP.search(xmp)):
        orientation = int(found[1])
    return None if orientation is None else _UPRIGHT.get(orientation)


def _from_exif(exif: bytes) -> int | None:
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None or struct.unpack_from(f"{order}H", tiff, 2) != (42,):
            return None
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for position in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, position)
            if tag == _TAG and kind in _VALUES:
                (value,) = struct.unpack_from(f"{order}{_VALUES[kind]}", tiff, position + 8)
                return int(value)
    except struct.error:
        pass  # the EXIF is truncated
    return None
