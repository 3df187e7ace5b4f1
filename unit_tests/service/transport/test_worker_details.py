"""How a worker runs the model is told to the HTTP processes."""

from collections.abc import Mapping
from multiprocessing import get_context

from service.transport.worker_details import WorkerDetails

EAGER = {"engine": "eager", "fallback": "no compiler"}


def tell(shared: WorkerDetails, details: Mapping[str, object]) -> None:
    shared.tell(details)


def test_what_a_worker_tells_is_read_in_another_process() -> None:
    shared = WorkerDetails()
    assert shared.read() == {}
    worker = get_context("spawn").Process(target=tell, args=(shared, {"engine": "openvino", "threads": 2}))
    worker.start()
    worker.join()
    assert shared.read() == {"engine": "openvino", "threads": 2}


def test_a_worker_that_fell_back_is_not_hidden_by_the_others() -> None:
    shared = WorkerDetails()
    for details in ({"engine": "openvino", "threads": 2}, EAGER, {"engine": "openvino"}):
        shared.tell(details)
    assert shared.read() == EAGER


def test_there_is_room_for_the_longest_reason() -> None:
    """JSON may write a character as twelve."""
    details = {"engine": "inductor", "fallback": "😀" * 500}
    shared = WorkerDetails()
    shared.tell(details)
    assert shared.read() == details


def test_why_a_worker_cannot_load_the_model_is_told_to_the_main_process() -> None:
    """In its words, and shortened where they are many."""
    shared, long = WorkerDetails(), WorkerDetails()
    shared.tell_failure("no such engine")
    assert shared.read() == {"failure": "no such engine"}
    long.tell_failure("😀 " * 5_000)
    assert str(long.read()["failure"]).endswith("[...]")


def test_a_worker_that_cannot_be_replaced_hides_nothing_of_those_that_run() -> None:
    shared = WorkerDetails()
    shared.tell({"engine": "openvino"})
    shared.tell_failure("the GPU is lost")
    assert shared.read() == {"engine": "openvino"}
