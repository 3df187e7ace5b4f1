"""Tests of `servegate init` on the examples, and on projects for which it needs help."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from servegate.errors import SetupError
from servegate.setup.init import InitOptions, run_init
from unit_tests.builders.example_projects import EXAMPLES, STARTED, WRITTEN_BY_INIT, copy_unguarded
from unit_tests.builders.repository import ROOT
from unit_tests.builders.tiny_project import git


def init(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command without a terminal."""
    command = [sys.executable, "-m", "servegate", "init", *arguments]
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", STARTED)
def test_it_writes_the_files_of_the_example(name: str, tmp_path: Path) -> None:
    folder = copy_unguarded(name, tmp_path / "project")
    result = init(folder, *(f"--request={request}" for request in WRITTEN_BY_INIT[name]))
    assert result.returncode == 0, result.stdout + result.stderr
    written = git(folder, "ls-files", "--modified", "--others", "--exclude-standard").splitlines()
    assert "perf_tests/test_service.py" in written
    for file in written:
        assert (folder / file).read_text() == (EXAMPLES / name / file).read_text(), file
    assert result.stdout.splitlines()[-1].startswith("next: servegate doctor")


def test_a_second_time_it_writes_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    git(tmp_path, "init", "--quiet")
    (tmp_path / "perf_tests").mkdir()
    (tmp_path / ".gitignore").write_text("perf-report/\n__pycache__/\n")
    run_init(tmp_path, InitOptions(), told.append)
    assert told[0] == "kept perf_tests/ and pytest.ini: this project has performance tests"
    assert git(tmp_path, "ls-files", "--others").splitlines() == [".gitignore"]


def test_on_this_repository_it_asks_nothing_and_changes_nothing() -> None:
    before = git(ROOT, "status", "--porcelain")
    result = init(ROOT)
    assert result.returncode == 0, result.stderr
    assert "wrote" not in result.stdout
    assert git(ROOT, "status", "--porcelain") == before


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a service whose port can be set, and whose start would fail."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "server.py").write_text(
        "import litserve as ls\n"
        "class Score(ls.LitAPI):\n"
        "    def decode_request(self, request): return request['text']\n"
        "ls.LitServer(Score(), port=os.environ['PORT']).run()\n"
    )
    return tmp_path


def test_a_request_that_was_not_given_is_asked_for_with_its_names(project: Path) -> None:
    result = init(project)
    assert result.returncode == 2
    assert "which request does POST /predict take?" in result.stderr
    assert '{"text": …}' in result.stderr
    assert "--request '/predict=…'" in result.stderr
    assert not (project / "perf_tests").exists()


def test_a_service_that_does_not_start_is_told_with_its_log(project: Path) -> None:
    (project / "server.py").write_text("raise SystemExit('no weights')\n" + (project / "server.py").read_text())
    result = init(project, "--request", '{"text": "good"}')
    assert result.returncode == 2
    assert "the server ended with status 1 before it was ready" in result.stderr
    assert "no weights" in result.stderr
    assert git(project, "ls-files", "--others").splitlines() == ["server.py"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--request", "{text}"), "which is no JSON"),
        (("--server", "app.py"), "app.py is no Python file of the project"),
        (("--concurrency", "a,b"), "--concurrency='a,b': must be different whole numbers above 0, as in 1,8"),
        (("--concurrency", "1,0"), "--concurrency='1,0': must be different whole numbers above 0, as in 1,8"),
    ],
)
def test_a_wrong_option_is_told(project: Path, arguments: tuple[str, ...], told: str) -> None:
    result = init(project, *arguments)
    assert result.returncode == 2
    assert told in result.stderr
    assert not (project / "perf_tests").exists()


# It stands in for the project's LitServe: a module of that name lies beside the server.
STAND_IN = """\
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LitAPI:
    def __init__(self, **keywords):
        pass


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/words":
            self.send(b'{"word": "good"}\\n{"word": "film"}\\n')
        elif self.path == "/upload":
            self.send(b"%d lines" % body.count(b"a line"))
        else:
            self.answer({"score": len(json.loads(body)["text"]) / 10})

    def answer(self, document):
        self.send(json.dumps(document).encode())

    def send(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class LitServer:
    def __init__(self, *apis):
        pass

    def run(self, port, generate_client_file=True):
        ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def answering(project: Path) -> Path:
    """A service with two endpoints that starts at once."""
    (project / "litserve.py").write_text(STAND_IN)
    (project / "server.py").write_text(
        "import os\n"
        "import litserve as ls\n"
        "class Score(ls.LitAPI):\n"
        "    def decode_request(self, request): return request['text']\n"
        "server = ls.LitServer([Score(api_path='/v1/score'), Score(api_path='/rank')])\n"
        "server.run(port=int(os.environ['PORT']), generate_client_file=False)\n"
    )
    return project


def answer(*answers: str) -> Callable[[str], str]:
    """A person who gives these answers, one after the other."""
    left = list(answers)
    return lambda _: left.pop(0)


def test_a_person_is_asked_for_the_request_and_shown_the_answer(answering: Path) -> None:
    told: list[str] = []
    person = answer('{"text": "good"}', '{"text": "bad"}', "", "y")
    run_init(answering, InitOptions(question=person, action="me/servegate@v1"), told.append)
    tests = (answering / "perf_tests" / "test_service.py").read_text()
    assert re.findall(r"from_json\((.*)\)", tests) == [
        '"/v1/score", {"text": "good"}, expected={"score": 0.4}, tolerance=0.001',
        '"/rank", {"text": "bad"}, expected={"score": 0.3}, tolerance=0.001',
    ]
    assert "@pytest.mark.perf_target(score, rank)" in tests
    assert "perf_cells = score=1,8 rank=1,8" in (answering / "pytest.ini").read_text()
    assert 'POST /rank answers {"score": 0.3}' in told
    assert "uses: me/servegate@v1" in (answering / ".github" / "workflows" / "performance.yml").read_text()


def test_a_person_who_says_no_gets_nothing_written(answering: Path) -> None:
    before = git(answering, "ls-files", "--others")
    with pytest.raises(SetupError, match="nothing was written"):
        run_init(answering, InitOptions(question=answer('{"text": "a"}', '{"text": "b"}', "no")), lambda _: None)
    assert git(answering, "ls-files", "--others", "--exclude=__pycache__") == before


def test_a_form_and_a_stream_are_guarded_too(answering: Path) -> None:
    """The field's name comes from the code; a text is compared as a text, and a stream line by line."""
    (answering / "server.py").write_text(
        "import os\n"
        "import litserve as ls\n"
        "class Upload(ls.LitAPI):\n"
        "    def decode_request(self, request): return request['photo'].file.read()\n"
        "class Words(ls.LitAPI):\n"
        "    def decode_request(self, request): return request['text']\n"
        "server = ls.LitServer([Upload(api_path='/upload'), Words(api_path='/words', stream=True)])\n"
        "server.run(port=int(os.environ['PORT']), generate_client_file=False)\n"
    )
    (answering / "lines.txt").write_text("a line\na line\n")
    result = init(answering, "--request=/upload=@lines.txt", '--request=/words={"text": "good film"}')
    assert result.returncode == 0, result.stderr
    tests = (answering / "perf_tests" / "test_service.py").read_text()
    assert "from servegate.api import HttpService, HttpTarget, Lines, Text, Workload\n" in tests
    body = '(Path(__file__).parent.parent / "lines.txt").read_bytes()'
    assert f'{{"photo": ("lines.txt", {body}, "text/plain")}},' in tests
    assert 'expected=Text("2 lines"),' in tests
    assert 'expected=Lines([{"word": "good"}, {"word": "film"}])' in tests
    compile(tests, "test_service.py", "exec")


def test_a_form_takes_a_file(answering: Path) -> None:
    (answering / "server.py").write_text(
        (answering / "server.py").read_text().replace("request['text']", "request['photo'].file.read()")
    )
    result = init(answering, '--request=/rank={"text": "bad"}', "--request=/v1/score=@server.py")
    assert result.returncode == 2
    assert "POST /rank takes an uploaded file: give one of the project, as /rank=@photo.jpg" in result.stderr


def test_an_answer_that_was_given_is_held_against_the_service(answering: Path) -> None:
    requests = ("--request", '/v1/score={"text": "good"}', "--request", '/rank={"text": "bad"}')
    result = init(answering, *requests, "--expected", '/rank={"score": 0.9}')
    assert result.returncode == 2
    assert "POST /rank: answer.score is 0.3, expected 0.9" in result.stderr


def test_the_workflow_of_a_project_in_a_folder_of_its_repository(answering: Path) -> None:
    inner = answering / "backend"
    inner.mkdir()
    for name in ("litserve.py", "server.py"):
        (answering / name).rename(inner / name)
    (inner / "requirements.txt").touch()
    person = answer('{"text": "good"}', '{"text": "bad"}', "", "")
    run_init(inner, InitOptions(question=person, action="me/servegate@v1"), lambda _: None)
    workflow = (answering / ".github" / "workflows" / "performance.yml").read_text()
    assert "          install: pip install -r requirements.txt\n          project: backend\n" in workflow


def test_without_an_action_or_for_gitlab_there_is_no_workflow(answering: Path) -> None:
    told: list[str] = []
    (answering / ".gitlab-ci.yml").touch()
    person = answer('{"text": "good"}', '{"text": "bad"}', "", "")
    run_init(answering, InitOptions(question=person, action="me/servegate@v1"), told.append)
    assert "wrote no workflow: docs/ci.md of servegate has the job for GitLab" in told
    assert not (answering / ".github").exists()
