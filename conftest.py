"""The session-scoped `server` fixture: the real server in a process of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perf_tests.photos import cat_jpeg
from perfgate.processes import ServerProcess
from service.client import classify

READY_DEADLINE_S = 180.0


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`python -m service.server` on a free port: ready, warm, and stopped with all its processes at the end."""
    photo = tmp_path_factory.mktemp("warm-up") / "cat.jpg"
    photo.write_bytes(cat_jpeg())
    command = [sys.executable, "-m", "service.server"]
    # This process may have a folder of metrics of its own; the server makes one for itself.
    env = {"PROMETHEUS_MULTIPROC_DIR": ""}
    with ServerProcess(command, cwd=Path(__file__).parent, env=env, ready_deadline_s=READY_DEADLINE_S) as running:
        classify(photo, running.url)
        yield running
