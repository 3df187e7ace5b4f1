"""A service that reads a file which git ignores, started from the folders of a comparison."""

import re
from pathlib import Path

import pytest

from servegate.errors import ProcessError
from servegate.load.engines import LoadEngine
from servegate.load.workload import Workload
from servegate.measure.http.service import HttpService
from servegate.measure.http.targets import HttpTarget
from servegate.measure.targets import LaunchedProcess
from servegate.storage.arms import Arms, open_arms
from servegate.storage.carried import advise_to_carry
from servegate.storage.environments import EnvironmentRecipe
from unit_tests.builders.tiny_project import git

SERVER = """\
import http.server, pathlib, sys

weights = pathlib.Path("weights.txt").read_bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(weights)))
        self.end_headers()
        self.wfile.write(weights)


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
TARGET = HttpTarget(
    "api", HttpService(["{python}", "service.py", "{port}"]), Workload.from_json("/predict", {}, expected={})
)


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """The service's repository; its weights are there and not committed."""
    root = tmp_path / "a service"
    root.mkdir()
    (root / "service.py").write_text(SERVER)
    (root / ".gitignore").write_text("weights.txt\n")
    (root / "weights.txt").write_text("weights")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "all")
    return root


def start_both(arms: Arms) -> None:
    for checkout in (arms.base, arms.head):
        process: LaunchedProcess
        with TARGET.launch(checkout) as process:
            process.wait_until_ready()
            process.open(LoadEngine(processes=1))


def test_what_perf_carry_names_lets_both_arms_start(service: Path) -> None:
    with open_arms(service, "HEAD", EnvironmentRecipe(""), carried=["weights.txt"]) as arms:
        start_both(arms)


def test_without_it_the_error_shows_the_log_and_names_the_option(service: Path) -> None:
    with open_arms(service, "HEAD", EnvironmentRecipe("")) as arms, pytest.raises(ProcessError) as caught:
        start_both(arms)
    shown = str(advise_to_carry(caught.value))
    message = r"(?s)ended with status 1 before it was ready.*FileNotFoundError.*'weights.txt'.*perf_carry = "
    assert re.search(message, shown), shown
