"""What the formats have in common."""

from dataclasses import dataclass

from PIL import Image, ImageFile


@dataclass(frozen=True)
class ImageParts:
    """An image file, opened and not yet decoded.

    Attributes
    ----------
    image:
        Reads from `file`.
    file:
        The file without what only decorates it.
    upright:
        What turns the decoded image upright.
    """

    image: ImageFile.ImageFile
    file: bytes
    upright: Image.Transpose | None
