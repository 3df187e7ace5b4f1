"""Bytes to one uint8 image of the model's input size; every kind of bad image has an error of its own."""

from service.images.errors import (
    CorruptImageError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    UnsupportedImageError,
)
from service.images.reader import ImageReader, Pixels

__all__ = [
    "CorruptImageError",
    "EmptyImageError",
    "ImageError",
    "ImageReader",
    "ImageTooLargeError",
    "Pixels",
    "UnsupportedImageError",
]
