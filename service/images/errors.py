"""What can be wrong with an image file."""


class ImageError(Exception):
    """The bytes are no image that can be classified. The message is meant for the client."""


class EmptyImageError(ImageError):
    """No bytes at all."""


class UnsupportedImageError(ImageError):
    """Not an image, or one of a format that is not supported."""


class ImageTooLargeError(ImageError):
    """More pixels than allowed, or more parts than any image needs."""


class CorruptImageError(ImageError):
    """An image of a supported format that breaks off or contradicts itself."""
