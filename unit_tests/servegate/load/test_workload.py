"""Requests, and how they travel to the load client."""

import itertools
import json
from collections import Counter
from email import message_from_bytes

import pytest

from servegate.load.expected import Lines
from servegate.load.workload import WeightedSet, Workload, parse_requests

CAT = {"predictions": [{"label": "Cat", "probability": 0.99}, {"label": "Dog", "probability": 0.01}]}
SMALL, LARGE = (Workload("/predict", body, expected=CAT, tolerance=0.02) for body in (b"small", b"large"))


def test_a_workload_travels_as_json() -> None:
    workload = Workload("/predict", b"\x00\xff", {"Content-Type": "image/jpeg"}, CAT, 0.02, method="PUT")
    for requests in (workload, WeightedSet([(3, workload), (1, Workload("/stream", b"", expected=Lines([1])))])):
        assert parse_requests(json.loads(json.dumps(requests.to_json()))) == requests


def test_a_workload_needs_its_right_answer_which_may_be_null() -> None:
    with pytest.raises(ValueError, match=r"Workload\('/predict', ...\) needs the right answer, as in expected="):
        Workload("/predict", b"{}")
    assert Workload("/predict", b"{}", expected=None).expected is None


def test_a_method_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="method='SEND' must be one of"):
        Workload("/predict", b"", expected=None, method="SEND")


def test_a_weighted_set_is_sent_in_the_same_random_order_every_time() -> None:
    requests = WeightedSet([(3, SMALL), (1, LARGE)])
    sent = list(itertools.islice(requests.order(), 2000))
    assert sent == list(itertools.islice(requests.order(), 2000))
    counted = Counter(request.body for request in sent)
    assert counted[b"small"] / 2000 == pytest.approx(0.75, abs=0.04)
    # The requests don't come in turn: runs of the same request are as long as chance makes them.
    assert max(len(list(run)) for _, run in itertools.groupby(sent, key=lambda request: request.body)) > 6


@pytest.mark.parametrize("parts", [[], [(0, SMALL)], [(1, SMALL), (-1, LARGE)]])
def test_a_set_needs_requests_and_weights(parts: list[tuple[float, Workload]]) -> None:
    with pytest.raises(ValueError, match="at least one request, and a weight above 0"):
        WeightedSet(parts)


def test_each_request_of_a_set_gets_the_key() -> None:
    keyed = WeightedSet([(3, SMALL), (1, LARGE)]).with_header("X-API-Key", "secret")
    assert [request.headers for _, request in keyed.parts] == [{"X-API-Key": "secret"}] * 2


def test_an_upload_is_what_a_browsers_form_sends() -> None:
    upload = Workload.multipart(
        "/upload", {"photo": ("cat.jpg", b"\xff\xd8\r\n--x", "image/jpeg")}, fields={"size": "8"}, expected={"ok": True}
    )
    heading = f"Content-Type: {upload.headers['Content-Type']}\r\n\r\n"
    _, size, photo = message_from_bytes(heading.encode() + upload.body).walk()
    assert (size.get_param("name", header="Content-Disposition"), size.get_payload(decode=True)) == ("size", b"8")
    assert photo.get_filename() == "cat.jpg"
    assert photo.get_content_type() == "image/jpeg"
    assert photo.get_payload(decode=True) == b"\xff\xd8\r\n--x"
    again = Workload.multipart(
        "/upload", {"photo": ("cat.jpg", b"\xff\xd8\r\n--x", "image/jpeg")}, fields={"size": "8"}, expected={"ok": True}
    )
    assert upload == again
