"""The photo that is sent: a real cat, the same bytes on every machine."""

import io
from functools import cache

import numpy as np
from PIL import Image
from skimage import data


@cache
def cat_jpeg() -> bytes:
    """scikit-image's photo of the cat Chelsea, 451x300, as a JPEG of about 50 KB."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(data.chelsea())).save(file, "JPEG", quality=95)
    return file.getvalue()
