"""Another commit beside the working tree: its files, its equivalent after a squash, its environment."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from servegate.errors import CheckoutError
from servegate.storage.commits import export_commit, find_equivalent, identify, resolve_commit
from servegate.storage.environments import environment_python
from unit_tests.builders.tiny_project import git


def test_a_commit_is_put_into_a_folder_of_its_own_and_removed(project: Path) -> None:
    with export_commit(project, "HEAD") as folder:
        assert (folder / "service" / "version.txt").read_text() == "1"
        assert not (folder / ".git").exists()
    assert not folder.exists()
    assert (project / "service" / "version.txt").read_text() == "2"


def test_a_commit_that_is_not_here_is_named(project: Path) -> None:
    with pytest.raises(CheckoutError, match=r"no commit 'v9'.*git fetch --unshallow"), export_commit(project, "v9"):
        pass


def test_without_git_or_a_repository_no_commit_is_blamed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is said."""
    wanted = identify(project, "service", "requirements.lock")
    with pytest.raises(CheckoutError, match="not a git repository"):
        resolve_commit(tmp_path, "HEAD")
    with pytest.raises(CheckoutError, match="not a git repository"):
        find_equivalent(tmp_path, wanted, "service", "requirements.lock")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CheckoutError, match="git is not installed"):
        resolve_commit(project, "HEAD")
    with pytest.raises(CheckoutError, match="git is not installed"):
        find_equivalent(project, wanted, "service", "requirements.lock")


def test_what_git_cannot_do_is_told_in_its_own_words(project: Path) -> None:
    """As with a repository that has lost an object."""
    blob = git(project, "rev-parse", "HEAD:service/version.txt")
    (project / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with (
        pytest.raises(CheckoutError, match=r"git checkout-index .* failed in .*: error"),
        export_commit(project, "HEAD"),
    ):
        pass


def test_a_commits_files_are_all_there_and_links_stay_links(project: Path) -> None:
    """What is left out of archives, and links that lead out of the project."""
    (project / ".gitattributes").write_text("left_out/ export-ignore\n")
    (project / "left_out").mkdir()
    (project / "left_out" / "weights.txt").write_text("weights")
    (project / "absolute").symlink_to("/usr/share")
    (project / "outward").symlink_to("../elsewhere")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "second")
    index = (project / ".git" / "index").read_bytes()
    with export_commit(project, "HEAD") as folder:
        assert (folder / "left_out" / "weights.txt").read_text() == "weights"
        assert (folder / "absolute").readlink() == Path("/usr/share")
        assert (folder / "outward").readlink() == Path("../elsewhere")
    assert (project / ".git" / "index").read_bytes() == index


def test_a_project_may_be_a_folder_of_its_repository(project: Path) -> None:
    with export_commit(project / "service", "HEAD") as folder:
        assert [path.name for path in folder.iterdir()] == ["version.txt"]


def test_a_hooks_repository_is_not_taken_for_the_projects(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    with export_commit(project, "HEAD") as folder:
        assert (folder / "service" / "version.txt").read_text() == "1"


def test_the_folder_is_removed_after_an_error(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), export_commit(project, "HEAD") as folder:
        raise KeyboardInterrupt
    assert not folder.exists()


def test_after_a_squash_merge_a_commit_with_the_same_service_and_lock_serves(project: Path) -> None:
    wanted = identify(project, "service", "requirements.lock")
    assert find_equivalent(project, wanted, "service", "requirements.lock") == wanted.commit
    lost = replace(wanted, commit="0" * 40)
    assert find_equivalent(project, lost, "service", "requirements.lock") == wanted.commit


@pytest.mark.parametrize("part", ["service_tree", "lock_sha256"])
def test_a_commit_with_another_service_or_lock_does_not_serve(project: Path, part: str) -> None:
    wanted = replace(identify(project, "service", "requirements.lock"), commit="0" * 40)
    with pytest.raises(CheckoutError, match="not here, nor one with the same service/"):
        find_equivalent(project, replace(wanted, **{part: "1" * 40}), "service", "requirements.lock")


def test_checkouts_with_the_same_lock_share_this_environment(project: Path) -> None:
    with export_commit(project, "HEAD") as base:
        assert environment_python(project, base, "requirements.lock", same=False) == sys.executable


def test_another_lock_gets_an_environment_of_its_own_unless_told_otherwise(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base pins nothing here, so that its environment is built without a package registry; once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tmp_path / "base"
    base.mkdir()
    (base / "requirements.lock").write_text("# nothing\n")
    assert environment_python(project, base, "requirements.lock", same=True) == sys.executable
    own = environment_python(project, base, "requirements.lock", same=False)
    assert Path(own).is_relative_to(tmp_path / "cache")
    subprocess.run([own, "-c", ""], check=True)
    marker = Path(own).parent / "built-once"
    marker.touch()
    assert environment_python(project, base, "requirements.lock", same=False) == own
    assert marker.exists()


@pytest.mark.parametrize(
    ("cache_home", "expected"), [("", "home/.cache"), ("relative", "home/.cache"), ("{tmp_path}/cache", "cache")]
)
def test_environments_are_kept_in_the_users_cache(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_home: str, expected: str
) -> None:
    """Below XDG_CACHE_HOME if that is an absolute path, as its specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home.format(tmp_path=tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    lock = b"another==1\n"
    (tmp_path / "requirements.lock").write_bytes(lock)
    environment = tmp_path / expected / "servegate" / hashlib.sha256(lock).hexdigest()[:16]
    environment.mkdir(parents=True)
    (environment / ".complete").touch()
    python = environment_python(project, tmp_path, "requirements.lock", same=False)
    assert python == str(environment / "bin" / "python")


def test_a_base_without_a_lock_file_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match=r"the base has no requirements.lock; .*--perf-same-env"):
        environment_python(project, tmp_path, "requirements.lock", same=False)
