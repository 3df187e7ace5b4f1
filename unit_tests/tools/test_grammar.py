"""Changes by grammar reach behind a file's outer form, and are the same for the same seed."""

import random

import pytest

from service.images import ImageError, ImageReader
from tools.stress.grammar import mutate
from tools.stress.image_files import encode, quadrants


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what it finds in the changed files
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_many_changed_files_are_still_images(file_format: str) -> None:
    """Some aren't; none is anything else than an image or an image's error."""
    file, reader = encode(quadrants(), file_format), ImageReader(32)
    images, changed = 0, set()
    for seed in range(300):
        mutant = mutate(file, random.Random(seed))
        assert mutant == mutate(file, random.Random(seed))
        changed.add(mutant)
        try:
            images += reader.read(mutant).shape == (32, 32, 3)
        except ImageError:
            continue
    assert 30 < images < 290
    assert len(changed) > 60


@pytest.mark.parametrize(
    ("file_format", "parts"),
    [
        ("PNG", [b"eXIf", b"zTXt", b"iCCP", b"tRNS", b"acTL", b"Raw profile type exif\0"]),
        ("JPEG", [b"Exif\0\0II*\0", b"Exif\0\0MM\0*", b"\xff\xe2"]),
    ],
)
def test_chunks_segments_scans_and_exif_are_among_the_changes(file_format: str, parts: list[bytes]) -> None:
    """However many seconds a run has, it comes to each."""
    file = encode(quadrants(), file_format, **({"progressive": True} if file_format == "JPEG" else {}))
    mutants = [mutate(file, random.Random(seed)) for seed in range(600)]
    if file_format == "JPEG":
        assert max(mutant.count(b"\xff\xda") for mutant in mutants) > 100, "more scans than are read"
    assert [part for part in parts if not any(part in mutant for mutant in mutants)] == []


@pytest.mark.parametrize("file", [b"", b"text", encode(quadrants(), "GIF")])
def test_what_has_no_known_form_stays_as_it_is(file: bytes) -> None:
    assert mutate(file, random.Random(1)) == file


@pytest.mark.parametrize("file", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\1IHDR"])
def test_stumps_can_be_changed(file: bytes) -> None:
    for seed in range(100):
        mutate(file, random.Random(seed))
