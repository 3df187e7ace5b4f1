"""The one file of a form, as browsers and `curl --form` send it (multipart/form-data, RFC 7578)."""

import re
from collections.abc import Iterator

from fastapi import HTTPException

MULTIPART = "multipart/form-data"
# More than these are no form around one image; a body of nothing but boundaries would take seconds to split.
_MAX_PARTS = 100
_MAX_HEAD_BYTES = 4_096
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"^content-disposition:(.*)$", re.IGNORECASE | re.MULTILINE)
_FILENAME = re.compile(rb';\s*filename(?:\*?=)\s*"?([^";\s]*)', re.IGNORECASE)
_CALLED_IMAGE = re.compile(rb';\s*name=\s*("image"|image\s*(;|$))', re.IGNORECASE)


def file_of_form(body: bytes, content_type: str) -> bytes:
    """The content of the form's only file, whatever its field is called, or else of the field 'image'.

    Raises
    ------
    fastapi.HTTPException
        400 no multipart/form-data, 422 not exactly one file.
    """
    files: list[bytes] = []
    images: list[bytes] = []
    for head, content in _parts(body, _boundary(content_type)):
        disposition = _DISPOSITION.search(head)
        if disposition is None:
            continue
        filename = _FILENAME.search(disposition[1])
        # A browser sends a file without name and content if the user has not chosen a file.
        if filename and (filename[1] or content):
            files.append(content)
        elif _CALLED_IMAGE.search(disposition[1]):
            images.append(content)
    found = files or images
    if len(found) != 1:
        raise HTTPException(422, f"the form has {len(found)} image files, must be one: send each in its own request")
    return found[0]


def _boundary(content_type: str) -> bytes:
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise _no_form("its content type names no boundary; let the HTTP library write this header")
    return (boundary[1] or boundary[2]).rstrip().encode("latin-1")


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each part's headers and content."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, _MAX_PARTS + 1)
    if len(pieces) > _MAX_PARTS + 1:
        raise _no_form(f"it has more than {_MAX_PARTS} parts")
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return
        head, empty_line, content = piece.partition(b"\r\n\r\n")
        if not empty_line or len(head) > _MAX_HEAD_BYTES:
            raise _no_form("the headers of a part have no end, or are too long")
        yield head, content
    raise _no_form("its last boundary is missing")


def _no_form(why: str) -> HTTPException:
    return HTTPException(400, f"the body is not {MULTIPART}: {why}")
