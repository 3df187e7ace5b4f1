"""Tests of the request that an endpoint is sent."""

from pathlib import Path

import pytest

from servegate.errors import SetupError
from servegate.setup.requests import GivenRequest, match_paths
from servegate.setup.server_code import Endpoint

ONE, TWO = Endpoint("/predict"), Endpoint("/tags")


@pytest.mark.parametrize(
    ("given", "endpoints", "matched"),
    [
        (['{"a=b": 1}'], [ONE], {"/predict": '{"a=b": 1}'}),
        (["/predict=@photo.jpg"], [ONE, TWO], {"/predict": "@photo.jpg"}),
        (['/tags={"t": "="}', "/predict=3"], [ONE, TWO], {"/tags": '{"t": "="}', "/predict": "3"}),
    ],
)
def test_which_endpoint_a_request_is_for(given: list[str], endpoints: list[Endpoint], matched: dict[str, str]) -> None:
    assert match_paths(given, endpoints, "--request") == matched


@pytest.mark.parametrize("given", ["3", "/nowhere=3"])
def test_an_endpoint_that_is_not_clear(given: str) -> None:
    with pytest.raises(SetupError, match="which endpoint is it for") as raised:
        match_paths([given], [ONE, TWO], "--request")
    assert "/predict, /tags" in str(raised.value)


def test_a_request_is_a_document_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"jpeg")
    workload = GivenRequest.parse("@photo.jpg", ONE, tmp_path).workload(tmp_path, expected=1)
    assert (workload.body, workload.headers) == (b"jpeg", {"Content-Type": "image/jpeg"})
    assert GivenRequest.parse('{"a": 1}', ONE, tmp_path).document == {"a": 1}
    with pytest.raises(SetupError, match=r"there is no file no\.jpg"):
        GivenRequest.parse("@no.jpg", ONE, tmp_path)
    with pytest.raises(SetupError, match="which is no JSON"):
        GivenRequest.parse("{a: 1}", ONE, tmp_path)


@pytest.mark.parametrize(("keys", "field"), [(("photo", "size"), b"photo"), ((), b"request")])
def test_a_form_has_the_field_that_the_code_reads(tmp_path: Path, keys: tuple[str, ...], field: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"jpeg")
    form = Endpoint("/upload", keys, takes_form=True)
    workload = GivenRequest.parse("@photo.jpg", form, tmp_path).workload(tmp_path, expected=1)
    assert b'name="' + field + b'"; filename="photo.jpg"' in workload.body
    assert workload.headers["Content-Type"].startswith("multipart/form-data; boundary=")
