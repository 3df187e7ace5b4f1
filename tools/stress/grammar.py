"""Changes to image files that keep their outer form: what bytes changed at random seldom get past."""

import random
import struct
from collections.abc import Callable

from tools.stress.image_files import exif, png, png_chunks, segment

_CHUNKS = (b"tRNS", b"eXIf", b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"PLTE", b"IDAT", b"IHDR")
_SEGMENTS = (0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE)
_MOST_PARTS = 300


def mutate(file: bytes, chance: random.Random) -> bytes:
    """The file with a part more, less, twice or elsewhere; as it is where it has no known form.

    Parameters
    ----------
    chance:
        Makes all choices.
    """
    change = _change_of(file)
    return file if change is None else change(file, chance)


def _change_of(file: bytes) -> Callable[[bytes, random.Random], bytes] | None:
    if file.startswith(b"\x89PNG\r\n\x1a\n"):
        return _change_png
    if file.startswith(b"\xff\xd8"):
        return _change_jpeg
    return None


def _change_png(file: bytes, chance: random.Random) -> bytes:
    chunks = png_chunks(file)[:_MOST_PARTS]
    position = chance.randrange(len(chunks) + 1)
    match chance.choice(("insert", "repeat", "drop", "move", "damage")):
        case "insert":
            chunks[position:position] = [(chance.choice(_CHUNKS), _content(chance))]
        case "repeat":
            chunks[position:position] = chunks[position : position + 1] * chance.choice((1, 2, 100))
        case "drop":
            del chunks[position : position + 1]
        case "move":
            chance.shuffle(chunks)
        case "damage":
            return _damage(png(*chunks), chance)
    return png(*chunks)


def _change_jpeg(file: bytes, chance: random.Random) -> bytes:
    scan = max(2, file.find(b"\xff\xda"))
    match chance.choice(("segment", "exif", "scans", "fill", "cut", "damage")):
        case "segment":
            return file[:2] + segment(chance.choice(_SEGMENTS), _content(chance)) + file[2:]
        case "exif":
            return file[:2] + segment(0xE1, b"Exif\0\0" + _exif(chance)) + file[2:]
        case "scans":
            return file[:-2] + file[scan : scan + chance.choice((10, 14, 200))] * chance.choice((1, 5, 150)) + file[-2:]
        case "fill":
            return file[:2] + chance.choice((b"\xff", b"\0", b"\xff\0")) * chance.choice((1, 500)) + file[2:]
        case "cut":
            return file[: -chance.choice((1, 2, 3, 50))]
        case _:
            return _damage(file, chance)


def _content(chance: random.Random) -> bytes:
    return chance.choice((b"", _exif(chance), b"Raw profile type exif\0", chance.randbytes(chance.randrange(40))))


def _exif(chance: random.Random) -> bytes:
    tags = (0x0112, 0x8769, 0x0201, chance.randrange(65_536))
    entries = [
        (chance.choice(tags), chance.randrange(14), chance.choice((0, 1, 2**31)), chance.randbytes(4))
        for _ in range(chance.choice((0, 1, 3, 200)))
    ]
    return exif(entries, chance.choice("<>"))


def _damage(file: bytes, chance: random.Random) -> bytes:
    position = chance.randrange(len(file))
    wrong = struct.pack(">B", chance.choice((0, 1, 127, 128, 255)))
    return file[:position] + wrong + file[position + 1 :]
