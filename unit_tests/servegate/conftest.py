"""Fixtures of servegate's unit tests."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from servegate.processes.server import ServerProcess
from servegate.session import machine_claim
from unit_tests.builders import stub_server
from unit_tests.builders.tiny_project import TinyProject, git

# A slow or busy machine is no failure.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def git_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git without the developer's configuration, and never in the repository whose hook runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "nobody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "nobody@example.org")


@pytest.fixture(autouse=True)
def machine_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that tests start are parts of the tests' run: they neither wait for another run nor keep one waiting."""
    monkeypatch.setenv(machine_claim.VARIABLE, "by the tests")


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Runs of pytest that load none of the installed plugins that have nothing to do with the gate.

    Schemathesis alone takes 0.4 s to import, and pytester forgets after each test what its runs have imported.
    """
    strangers = ("schemathesis", "hypothesispytest", "anyio")
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in strangers))
    return pytester


@pytest.fixture
def tiny_project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> TinyProject:
    """A project with scripted measurements; pytest-benchmark would disable itself inside an xdist worker."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return TinyProject(pytester)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository whose first commit has service/version.txt 1; the working tree has 2, not committed."""
    root = tmp_path / "a project"
    (root / "service").mkdir(parents=True)
    (root / "service" / "version.txt").write_text("1")
    (root / "requirements.lock").write_text("one==1\n")
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    (root / "service" / "version.txt").write_text("2")
    return root


@pytest.fixture(scope="session")
def stub() -> Iterator[ServerProcess]:
    """The stub server in a process of its own."""
    with ServerProcess([sys.executable, stub_server.__file__], cwd=Path.cwd(), ready_deadline_s=60.0) as running:
        yield running
