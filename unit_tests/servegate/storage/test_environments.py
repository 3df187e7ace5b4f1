"""The environment of the base: shared, or built once by pip or by the project's own command."""

import subprocess
import sys
from pathlib import Path

import pytest

from servegate.errors import CheckoutError
from servegate.storage.environments import EnvironmentRecipe, environment_python

BY_PIP = EnvironmentRecipe("requirements.lock")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A checkout whose lock pins nothing, so that its environment is built without a package registry."""
    folder = tmp_path / "a base"
    folder.mkdir()
    (folder / "requirements.lock").write_text("# nothing\n")
    return folder


def by_command(command: str) -> EnvironmentRecipe:
    return EnvironmentRecipe("requirements.lock", command)


def test_checkouts_with_the_same_lock_share_this_environment(project: Path, base: Path) -> None:
    (base / "requirements.lock").write_bytes((project / "requirements.lock").read_bytes())
    assert environment_python(project, base, by_command("false")) == sys.executable


def test_another_lock_gets_an_environment_of_its_own_unless_told_otherwise(
    project: Path, base: Path, cache: Path
) -> None:
    shown: list[str] = []
    shared = EnvironmentRecipe("requirements.lock", is_shared=True)
    assert environment_python(project, base, shared, shown.append) == sys.executable
    own = environment_python(project, base, BY_PIP, shown.append)
    assert Path(own).is_relative_to(cache)
    subprocess.run([own, "-c", ""], check=True)
    marker = Path(own).parent / "built-once"
    marker.touch()
    assert environment_python(project, base, BY_PIP, shown.append) == own
    assert marker.exists()
    assert shown == ["the base's environment is built, since its requirements.lock differs"]


@pytest.mark.parametrize(
    ("lock", "why"), [("no.lock", "perf_lock = no.lock: there is no such file"), ("", "perf_lock is empty")]
)
def test_without_a_lock_file_both_share_this_environment_and_the_run_says_so(
    project: Path, base: Path, lock: str, why: str
) -> None:
    shown: list[str] = []
    recipe = EnvironmentRecipe(lock, "false")
    assert environment_python(project, base, recipe, shown.append) == sys.executable
    assert shown == [f"{why}; both arms share this environment"]


def test_a_lock_file_may_have_any_name(project: Path, base: Path, cache: Path) -> None:
    (base / "uv.lock").write_text("another")
    (project / "uv.lock").write_text("one")
    recipe = EnvironmentRecipe("uv.lock", "mkdir -p {folder}/bin && cp {lock} {folder}/bin/python")
    assert Path(environment_python(project, base, recipe)).read_text() == "another"


def test_a_base_alone_without_a_lock_file_is_refused(project: Path, base: Path) -> None:
    (base / "requirements.lock").unlink()
    with pytest.raises(CheckoutError, match=r"the base has no requirements.lock, .*perf_lock.*--perf-same-env"):
        environment_python(project, base, BY_PIP)


def test_a_head_alone_without_a_lock_file_gives_the_base_its_own(project: Path, base: Path, cache: Path) -> None:
    (project / "requirements.lock").unlink()
    python = environment_python(project, base, by_command("mkdir -p {folder}/bin && touch {folder}/bin/python"))
    assert Path(python).is_relative_to(cache)


def test_a_command_runs_in_the_bases_folder_outside_this_environment(
    project: Path, base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poetry would else install the base's packages into the head's environment."""
    monkeypatch.setenv("VIRTUAL_ENV", "/of/the/head")
    command = 'mkdir -p {folder}/bin && { pwd; echo "[$VIRTUAL_ENV]"; } > {folder}/bin/python'
    python = environment_python(project, base, by_command(command))
    assert Path(python).read_text() == f"{base}\n[]\n"


def test_another_lock_command_or_python_makes_another_environment(
    project: Path, base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = "mkdir -p {folder}/bin && touch {folder}/bin/python"
    pythons = [environment_python(project, base, by_command(make))]
    pythons.append(environment_python(project, base, by_command(f"{make} # again")))
    (base / "requirements.lock").write_text("# nothing else\n")
    pythons.append(environment_python(project, base, by_command(make)))
    monkeypatch.setattr(sys, "version", "3.99")
    pythons.append(environment_python(project, base, by_command(make)))
    assert len(set(pythons)) == 4


def test_a_command_that_fails_ends_with_what_it_said_and_is_tried_afresh(
    project: Path, base: Path, cache: Path
) -> None:
    """On stdout or stderr; what a try has left does not reach the next one."""
    command = "mkdir -p {folder} && ls {folder}; touch {folder}/half; echo no network; echo at all >&2; exit 3"
    for _ in range(2):
        message = r"can't be built by perf_environment = mkdir .*: no network\nat all$"
        with pytest.raises(CheckoutError, match=message):
            environment_python(project, base, by_command(command))


def test_what_pip_cannot_install_is_told_with_the_option_that_helps(project: Path, base: Path, cache: Path) -> None:
    (base / "requirements.lock").write_text("[[package]]\n")
    with pytest.raises(CheckoutError, match=r"(?s)by pip; perf_environment names another way: .*Invalid requirement"):
        environment_python(project, base, BY_PIP)


def test_a_command_that_makes_no_python_is_told(project: Path, base: Path, cache: Path) -> None:
    with pytest.raises(CheckoutError, match=r"has no bin/python in .*, built by perf_environment = echo made: made"):
        environment_python(project, base, by_command("echo made"))


@pytest.mark.parametrize(
    ("cache_home", "expected"), [("", "home/.cache"), ("relative", "home/.cache"), ("{tmp_path}/cache", "cache")]
)
def test_environments_are_kept_in_the_users_cache(
    project: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_home: str, expected: str
) -> None:
    """Below XDG_CACHE_HOME if that is an absolute path, as its specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home.format(tmp_path=tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    python = environment_python(project, base, by_command("mkdir -p {folder}/bin && touch {folder}/bin/python"))
    assert Path(python).parents[2] == tmp_path / expected / "servegate"
