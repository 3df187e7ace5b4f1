"""The commit that a working tree is compared with: found by its name, or by what it has in common with a lost one."""

from dataclasses import replace
from pathlib import Path

import pytest

from servegate.errors import CheckoutError
from servegate.storage.commits import find_equivalent, has_path, identify, resolve_commit
from unit_tests.builders.tiny_project import git


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


def test_after_a_squash_merge_a_commit_with_the_same_service_and_lock_serves(project: Path) -> None:
    wanted = identify(project, "service", "requirements.lock")
    assert find_equivalent(project, wanted, "service", "requirements.lock") == wanted.commit
    lost = replace(wanted, commit="0" * 40)
    assert find_equivalent(project, lost, "service", "requirements.lock") == wanted.commit


@pytest.mark.parametrize("part", ["service_tree", "lock_sha256"])
def test_a_commit_with_another_service_or_lock_does_not_serve(project: Path, part: str) -> None:
    wanted = replace(identify(project, "service", "requirements.lock"), commit="0" * 40)
    with pytest.raises(CheckoutError, match="not here, nor one with the same service and "):
        find_equivalent(project, replace(wanted, **{part: "1" * 40}), "service", "requirements.lock")


@pytest.mark.parametrize("lock", ["no.lock", ""])
def test_a_project_without_a_lock_file_is_found_by_its_service(project: Path, lock: str) -> None:
    wanted = replace(identify(project, "service", lock), commit="0" * 40)
    assert find_equivalent(project, wanted, "service", lock) == git(project, "rev-parse", "HEAD")


def test_what_a_commit_has_is_known_without_its_files(project: Path) -> None:
    """Also from a folder of the repository."""
    for name, is_there in (("service", True), ("service/version.txt", True), ("service/api.py", False)):
        assert has_path(project, "HEAD", Path(name)) is is_there
    assert has_path(project / "service", "HEAD", Path("version.txt"))
