"""Pointers of Git LFS are replaced by their content where that is on this disk, and named where it isn't."""

import hashlib
from pathlib import Path

import pytest

from servegate.errors import CheckoutError, ReferenceCheckoutError
from servegate.storage.arms import open_arms
from servegate.storage.environments import EnvironmentRecipe
from unit_tests.builders.tiny_project import git

SHARED = EnvironmentRecipe("", is_shared=True)
WEIGHTS = b"weights of many megabytes"
OID = hashlib.sha256(WEIGHTS).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(WEIGHTS)}\n"


@pytest.fixture
def with_pointer(project: Path) -> Path:
    """The project with a committed pointer in service/weights.npz, as a clone without Git LFS has it."""
    (project / ".gitattributes").write_text("*.npz filter=lfs diff=lfs merge=lfs -text\n")
    (project / "service" / "weights.npz").write_text(POINTER)
    (project / "service" / "example.txt").write_text(POINTER)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "with weights")
    return project


def _store(folder: Path) -> None:
    content = folder / "objects" / OID[:2] / OID[2:4] / OID
    content.parent.mkdir(parents=True)
    content.write_bytes(WEIGHTS)


def _weights(project: Path) -> list[bytes]:
    with open_arms(project, "HEAD", SHARED) as arms:
        assert (arms.base.folder / "service" / "example.txt").read_text() == POINTER
        return [(arm.folder / "service" / "weights.npz").read_bytes() for arm in (arms.base, arms.head)]


def test_both_arms_have_the_content(with_pointer: Path) -> None:
    """And a file that only looks like a pointer stays as it is."""
    _store(with_pointer / ".git" / "lfs")
    assert _weights(with_pointer) == [WEIGHTS, WEIGHTS]


def test_a_checked_out_content_is_the_heads(with_pointer: Path) -> None:
    _store(with_pointer / ".git" / "lfs")
    (with_pointer / "service" / "weights.npz").write_bytes(b"retrained")
    assert _weights(with_pointer) == [WEIGHTS, b"retrained"]


def test_a_linked_work_tree_uses_the_repositorys_store(with_pointer: Path, tmp_path: Path) -> None:
    _store(with_pointer / ".git" / "lfs")
    git(with_pointer, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    assert _weights(tmp_path / "linked") == [WEIGHTS, WEIGHTS]


def test_the_store_may_lie_elsewhere(with_pointer: Path, tmp_path: Path) -> None:
    git(with_pointer, "config", "lfs.storage", str(tmp_path / "store"))
    _store(tmp_path / "store")
    assert _weights(with_pointer) == [WEIGHTS, WEIGHTS]


def test_the_filter_of_git_lfs_is_not_run(with_pointer: Path) -> None:
    """It would fetch, or fail where Git LFS was configured and is gone."""
    for name, value in (("smudge", "false"), ("process", "false"), ("required", "true")):
        git(with_pointer, "config", f"filter.lfs.{name}", value)
    _store(with_pointer / ".git" / "lfs")
    assert _weights(with_pointer) == [WEIGHTS, WEIGHTS]


def test_a_content_that_is_not_here_is_named_with_the_command_that_fetches_it(with_pointer: Path) -> None:
    with pytest.raises(CheckoutError, match=r"of service/weights.npz, .*: git lfs fetch origin HEAD$"):
        _weights(with_pointer)
    (with_pointer / "service" / "weights.npz").write_bytes(WEIGHTS)
    commit = git(with_pointer, "rev-parse", "HEAD")
    with pytest.raises(ReferenceCheckoutError, match=rf"of service/weights.npz, .*: git lfs fetch origin {commit}$"):
        _weights(with_pointer)


def test_a_content_outside_the_project_may_be_missing(with_pointer: Path) -> None:
    other = with_pointer / "other"
    other.mkdir()
    (other / "api.py").write_text("")
    git(with_pointer, "add", "--all")
    git(with_pointer, "commit", "--quiet", "--message", "another project")
    with open_arms(other, "HEAD", SHARED) as arms:
        assert (arms.base.folder.parent / "service" / "weights.npz").read_text() == POINTER
