"""The commit that was accepted last, found in the history of real git repositories."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from servegate.errors import CheckoutError
from servegate.storage.accepted import AcceptedCommit, find_accepted
from servegate.storage.commits import identify
from unit_tests.builders.tiny_project import git


def commit(root: Path, path: str, text: str) -> str:
    """Commit a file, and return the commit's hash."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", path)
    return git(root, "rev-parse", "HEAD")


def accept(root: Path, machine_class: str, record: str = "servegate") -> str:
    """Commit a baseline of the commit as it is, and return that one's hash."""
    checkout = identify(root, "service", "requirements.lock")
    document = {record: {"machine_class": machine_class, "checkout": asdict(checkout)}}
    commit(root, f"perf_tests/baselines/{machine_class}/baseline.json", json.dumps(document))
    return checkout.commit


def find(root: Path) -> AcceptedCommit | None:
    return find_accepted(root, root / "perf_tests" / "baselines", "service", "requirements.lock")


def test_the_newest_baseline_of_any_class_names_the_commit(project: Path) -> None:
    """In the order of history, and not of names."""
    accept(project, "zen")
    accept(project, "old", record="perfgate")
    commit(project, "service/api.py", "second")
    accepted = accept(project, "arm")
    commit(project, "readme.txt", "later")
    assert find(project) == AcceptedCommit(accepted, "arm", 2)
    assert str(find(project)) == f"{accepted[:12]}, 2 commits before HEAD, accepted on arm"


def test_a_baseline_that_was_replaced_counts_as_new(project: Path) -> None:
    accept(project, "zen")
    accept(project, "arm")
    commit(project, "service/api.py", "second")
    accepted = accept(project, "zen")
    assert find(project) == AcceptedCommit(accepted, "zen", 1)


def test_of_several_baselines_in_one_commit_the_nearest_commit_counts(project: Path, tmp_path: Path) -> None:
    """As in a clone without history, whose first commit has them all; and not the first by name."""
    accept(project, "arm")
    commit(project, "readme.txt", "later")
    accepted = accept(project, "zen")
    squashed = git(project, "commit-tree", "-p", accepted, "-m", "both", "HEAD^{tree}")
    git(project, "checkout", "--quiet", "--detach", squashed)
    git(project, "rm", "-r", "--quiet", "--cached", "perf_tests")
    git(project, "commit", "--quiet", "--message", "none")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "both again")
    found = find(project)
    assert found is not None
    assert (found.commit, found.machine_class) == (accepted, "zen")


def test_a_baseline_that_was_removed_counts_no_more(project: Path) -> None:
    accepted = accept(project, "zen")
    commit(project, "readme.txt", "later")
    accept(project, "arm")
    git(project, "rm", "-r", "--quiet", "perf_tests/baselines/arm")
    git(project, "commit", "--quiet", "--message", "not so")
    found = find(project)
    assert found is not None
    assert (found.commit, found.machine_class) == (accepted, "zen")


def test_before_anything_was_accepted_there_is_none(project: Path) -> None:
    """Neither is a file that isn't committed, nor a folder that lies elsewhere."""
    assert find(project) is None
    (project / "perf_tests" / "baselines" / "zen").mkdir(parents=True)
    (project / "perf_tests" / "baselines" / "zen" / "baseline.json").write_text("{}")
    assert find(project) is None
    assert find_accepted(project, project.parent / "elsewhere", "service", "requirements.lock") is None


def test_a_file_that_is_no_baseline_is_passed_over(project: Path) -> None:
    accepted = accept(project, "zen")
    commit(project, "perf_tests/baselines/arm/baseline.json", "half a docu")
    commit(project, "perf_tests/baselines/sparc/baseline.json", "[]")
    assert find(project) == AcceptedCommit(accepted, "zen", 3)


def test_a_commit_that_is_not_here_is_named_with_what_helps(project: Path, tmp_path: Path) -> None:
    """In a clone without history, of a service that has changed since."""
    accept(project, "zen")
    commit(project, "service/api.py", "second")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=1", project.as_uri(), str(clone))
    with pytest.raises(CheckoutError, match="git fetch --unshallow"):
        find(clone)


def test_a_project_may_be_a_folder_of_its_repository(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    project = root / "prüfung" / "a classifier"
    project.mkdir(parents=True)
    git(root, "init", "--quiet")
    (project / "requirements.lock").write_text("torch\n")
    commit(project, "service/api.py", "first")
    accepted = accept(project, "zen")
    assert find(project) == AcceptedCommit(accepted, "zen", 1)
