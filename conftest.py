"""The session-scoped `server` fixture: the real server in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perf_tests.photos import cat_jpeg
from perf_tests.targets import CLASSIFIER
from servegate.api import Checkout, ServerProcess
from service.client import classify


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`python -m service.server` on a free port: ready, warm, and stopped with all its processes at the end."""
    photo = tmp_path_factory.mktemp("warm-up") / "cat.jpg"
    photo.write_bytes(cat_jpeg())
    with CLASSIFIER.process(Checkout.working_tree(Path(__file__).parent)) as running:
        classify(photo, running.url)
        yield running
