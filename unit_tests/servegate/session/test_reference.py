"""What a run is compared with is named by its full hash and its subject."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from servegate.options.settings import Settings
from servegate.session.reference import describe_reference
from servegate.storage.baselines import Baseline
from servegate.storage.commits import CommitIdentity
from unit_tests.builders.gate_settings import SETTINGS, judging

SUBJECT = "Serve batches: `a` & <b>"


@pytest.fixture
def commit(tmp_path: Path) -> str:
    """The hash of the only commit in tmp_path, on the branch main."""
    author = ["-c", "user.name=A", "-c", "user.email=a@b"]
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, *author, "commit", "--quiet", "--allow-empty", "-m", f"{SUBJECT}\n\nAnd why.")
    return git(tmp_path, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def in_root(root: Path) -> Settings:
    return replace(SETTINGS, root=root)


def test_a_commit_that_was_asked_for(tmp_path: Path, commit: str) -> None:
    settings = judging(in_root(tmp_path), versus="main")
    assert describe_reference(settings, commit, None) == {
        "kind": "commit",
        "reference": "main",
        "commit": commit,
        "subject": SUBJECT,
    }


def test_a_baseline_has_its_path_below_the_root(tmp_path: Path, commit: str) -> None:
    baseline = Baseline(tmp_path / "b" / "baseline.json", {}, CommitIdentity(commit, "t", "l"), {})
    assert describe_reference(in_root(tmp_path), None, baseline) == {
        "kind": "baseline",
        "reference": commit,
        "commit": commit,
        "subject": SUBJECT,
        "path": "b/baseline.json",
    }


def test_a_commit_that_is_not_here_has_no_subject(tmp_path: Path, commit: str) -> None:
    gone = "f" * len(commit)
    described = describe_reference(
        in_root(tmp_path), None, Baseline(Path("/b"), {}, CommitIdentity(gone, "t", "l"), {})
    )
    assert described is not None
    assert (described["commit"], described["subject"], described["path"]) == (gone, None, "/b")
    named = describe_reference(in_root(tmp_path), gone, None)
    assert named is not None
    assert (named["reference"], named["commit"], named["subject"]) == (gone, gone, None)


def test_without_a_base_there_is_none(tmp_path: Path) -> None:
    assert describe_reference(in_root(tmp_path), None, None) is None
