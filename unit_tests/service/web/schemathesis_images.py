"""What schemathesis sends where the OpenAPI description takes an image: some are images, some are not."""

import schemathesis
from hypothesis import strategies as st

from tools.stress.image_files import cat_png, encode, quadrants

_FILES = [cat_png(), cat_png()[:2_000], *(encode(quadrants(), name) for name in ("JPEG", "WEBP", "GIF", "BMP", "TIFF"))]
_images = st.one_of(st.sampled_from(_FILES), st.binary(max_size=1_000))

for media_type in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, _images)
