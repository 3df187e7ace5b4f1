"""Tests of the facts that a project's files show."""

from pathlib import Path, PurePosixPath

import pytest

from servegate.errors import SetupError
from servegate.setup.project import choose_server, find_servers, read_project
from unit_tests.builders.tiny_project import git

SERVER = """\
import os
import litserve as ls
import torch
ls.LitServer(Api()).run(port=int(os.environ["PORT"]))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize(
    ("file", "others", "started", "service"),
    [
        ("server.py", (), ("server.py",), "server.py"),
        ("service/server.py", ("service/__init__.py",), ("-m", "service.server"), "service"),
        ("app/main.py", (), ("app/main.py",), "app"),
        ("src/reviews/server.py", (), ("-m", "reviews.server"), "src/reviews"),
        ("src/reviews/web/__main__.py", ("src/reviews/web/__init__.py",), ("-m", "reviews.web"), "src/reviews"),
        ("src/server.py", (), ("src/server.py",), "src/server.py"),
    ],
)
def test_how_the_server_starts(
    root: Path, file: str, others: tuple[str, ...], started: tuple[str, ...], service: str
) -> None:
    write(root, **{file: SERVER}, **dict.fromkeys(others, ""))
    (server,) = find_servers(root)
    project = read_project(root, server)
    assert project.command == ("{python}", *started)
    assert project.environment == {"PORT": "{port}"}
    assert project.service == service
    assert project.packages == ("litserve", "torch")


def test_an_option_for_the_port_is_preferred_to_a_variable(root: Path) -> None:
    write(root, **{"server.py": SERVER + "parser.add_argument('--port', default=os.environ['PORT'])\n"})
    project = read_project(root, PurePosixPath("server.py"))
    assert (project.command, project.environment) == (("{python}", "server.py", "--port", "{port}"), {})


def test_a_port_that_cannot_be_set_is_told_with_the_line_to_write(root: Path) -> None:
    write(root, **{"server.py": "import litserve as ls\nserver = ls.LitServer(Api())\nserver.run(port=8000)\n"})
    with pytest.raises(SetupError) as raised:
        read_project(root, PurePosixPath("server.py"))
    assert str(raised.value).splitlines() == [
        "server.py:3 listens on a port that cannot be set from outside, and a comparison runs two servers at a time.",
        "    server.run(port=8000)",
        "Let the port come from the variable PORT, and run servegate init again:",
        '    port=int(os.environ.get("PORT", 8000))    (with `import os` at the top)',
    ]


@pytest.mark.parametrize(
    ("files", "lock"),
    [
        (("requirements.txt",), "requirements.txt"),
        (("requirements.txt", "uv.lock"), "uv.lock"),
        (("poetry.lock",), "poetry.lock"),
        (("pyproject.toml",), None),
    ],
)
def test_what_pins_the_packages(root: Path, files: tuple[str, ...], lock: str | None) -> None:
    write(root, **{"server.py": SERVER}, **dict.fromkeys(files, ""))
    project = read_project(root, PurePosixPath("server.py"))
    assert project.lock == lock
    assert bool(project.make_environment) == (lock in ("uv.lock", "poetry.lock"))


def test_what_git_ignores_and_the_code_names_is_carried(root: Path) -> None:
    """The service needs nothing that tools make, wherever it lies, even if the code names it."""
    of_tools = (".venv/weights.npz", "build/x", "app/__pycache__/y.pyc")
    ignored = ("weights.npz", "models/best.pt", "models/old.pt", "other.bin", *of_tools)
    write(
        root,
        **{
            "server.py": SERVER
            + 'np.load("weights.npz")\ntorch.load("models/best.pt")\nopen("build/x")\nclean("__pycache__")\n'
        },
        **{".gitignore": "*.npz\n*.bin\nmodels/\n.venv/\nbuild/\n__pycache__/\n"},
        **dict.fromkeys(ignored, ""),
    )
    assert set(read_project(root, PurePosixPath("server.py")).carried) == {"weights.npz", "models/"}


def test_the_file_that_also_runs_the_server_is_meant(root: Path) -> None:
    """Tests make servers, too, and another module runs what a factory makes."""
    write(
        root,
        **{
            "app.py": SERVER,
            "factory.py": "import litserve\ndef make(): return litserve.LitServer(Api())\n",
            "tests/test_app.py": SERVER,
            "notes.py": "this is no Python",
        },
    )
    assert find_servers(root) == [PurePosixPath("app.py")]


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ([], "no Python file that git doesn't ignore makes a LitServer"),
        ([PurePosixPath("a.py"), PurePosixPath("b.py")], "2 files make a LitServer: a.py, b.py"),
    ],
)
def test_a_server_that_is_not_clear(servers: list[PurePosixPath], told: str) -> None:
    with pytest.raises(SetupError) as raised:
        choose_server(servers)
    assert str(raised.value) == f"{told}; name the one that starts the service: servegate init --server FILE"


def test_without_git_there_is_nothing_to_compare_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(
        SetupError, match="is no git repository, and a comparison needs the project's commits: git init"
    ):
        find_servers(tmp_path)


def test_a_file_that_is_not_there(root: Path) -> None:
    with pytest.raises(SetupError, match=r"app\.py is no Python file of the project"):
        read_project(root, PurePosixPath("app.py"))
