"""The record that the readers of all image formats return."""

from dataclasses import dataclass

from PIL import Image, ImageFile


@dataclass(frozen=True)
class ImageParts:
    """An image file, opened and not yet decoded.

    Attributes
    ----------
    image:
        The image, which reads from `file`.
    file:
        The file without the parts that the pixels don't need.
    upright:
        The operation that turns the decoded image upright; None if none is needed.
    """

    image: ImageFile.ImageFile
    file: bytes
    upright: Image.Transpose | None
