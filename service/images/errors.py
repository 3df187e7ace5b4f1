"""The errors of image files."""


class ImageError(Exception):
    """The bytes are no image that can be classified. The message is meant for the client."""


class EmptyImageError(ImageError):
    """The file is empty."""


class UnsupportedImageError(ImageError):
    """The file is not an image, or its format is not supported."""


class ImageTooLargeError(ImageError):
    """The image has more pixels than allowed, or more parts than any image needs."""


class CorruptImageError(ImageError):
    """An image of a supported format that breaks off or contradicts itself."""
