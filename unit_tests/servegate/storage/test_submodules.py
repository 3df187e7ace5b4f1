"""Submodules are given to both arms from what is on this disk, or named."""

import shutil
from pathlib import Path

import pytest

from servegate.errors import CheckoutError, ReferenceCheckoutError
from servegate.storage.arms import open_arms
from servegate.storage.environments import EnvironmentRecipe
from unit_tests.builders.tiny_project import git

SHARED = EnvironmentRecipe("", is_shared=True)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A repository of its own, with words.txt 1."""
    root = tmp_path / "library"
    root.mkdir()
    git(root, "init", "--quiet")
    _commit_words(root, "1")
    return root


@pytest.fixture
def with_submodule(project: Path, library: Path) -> Path:
    """The project with the library as its submodule vendor/words, called `words`, and all committed."""
    git(project, *_LOCAL, "submodule", "--quiet", "add", "--name", "words", str(library), "vendor/words")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "with a submodule")
    return project


# Git clones a submodule from a folder only where it is told that it may.
_LOCAL = ("-c", "protocol.file.allow=always")


def _commit_words(root: Path, text: str) -> None:
    (root / "words.txt").write_text(text)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", text)


def _words(project: Path, reference: str = "HEAD") -> tuple[str, str]:
    with open_arms(project, reference, SHARED) as arms:
        return tuple((arm.folder / "vendor" / "words" / "words.txt").read_text() for arm in (arms.base, arms.head))  # type: ignore[return-value]


def test_each_arm_has_its_own_commit_of_the_submodule(with_submodule: Path) -> None:
    """The head also what isn't committed there."""
    assert _words(with_submodule) == ("1", "1")
    submodule = with_submodule / "vendor" / "words"
    _commit_words(submodule, "2")
    assert _words(with_submodule) == ("1", "2")
    (submodule / "words.txt").write_text("3")
    assert _words(with_submodule) == ("1", "3")


def test_a_submodule_that_is_not_checked_out_is_taken_from_the_git_folder(with_submodule: Path) -> None:
    git(with_submodule, "submodule", "--quiet", "deinit", "--force", "vendor/words")
    assert _words(with_submodule) == ("1", "1")


def test_a_base_whose_submodule_was_removed_since_still_has_it(with_submodule: Path) -> None:
    git(with_submodule, "rm", "--quiet", "vendor/words")
    git(with_submodule, "commit", "--quiet", "--message", "without")
    with open_arms(with_submodule, "HEAD~1", SHARED) as arms:
        assert (arms.base.folder / "vendor" / "words" / "words.txt").read_text() == "1"
        assert not (arms.head.folder / "vendor").exists()


def test_a_linked_work_tree_finds_the_repositorys_submodules(with_submodule: Path, tmp_path: Path) -> None:
    git(with_submodule, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    assert _words(tmp_path / "linked") == ("1", "1")


def test_a_submodule_of_a_submodule_is_there(with_submodule: Path, library: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    shutil.copytree(library, inner)
    submodule = with_submodule / "vendor" / "words"
    git(submodule, *_LOCAL, "submodule", "--quiet", "add", str(inner), "inner")
    git(submodule, "commit", "--quiet", "--message", "nested")
    git(with_submodule, "commit", "--quiet", "--all", "--message", "nested")
    with open_arms(with_submodule, "HEAD", SHARED) as arms:
        for arm in (arms.base, arms.head):
            assert (arm.folder / "vendor" / "words" / "inner" / "words.txt").read_text() == "1"


def test_a_submodule_that_was_never_fetched_is_named_with_the_command_that_fetches_it(
    with_submodule: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(with_submodule), str(clone))
    cure = "the submodule vendor/words is not here at its commit [0-9a-f]{12}; .*git submodule update --init .*words"
    with pytest.raises(CheckoutError, match=cure):
        _words(clone)


def test_a_commit_that_the_submodule_lacks_is_named_with_the_command_that_fetches_it(
    with_submodule: Path, library: Path
) -> None:
    _commit_words(library, "2")
    newer = git(library, "rev-parse", "HEAD")
    git(with_submodule, "update-index", "--cacheinfo", f"160000,{newer},vendor/words")
    git(with_submodule, "commit", "--quiet", "--message", "newer")
    with pytest.raises(
        ReferenceCheckoutError, match=f"submodule vendor/words .*git -C vendor/words fetch origin {newer}"
    ):
        _words(with_submodule)


def test_a_submodule_outside_the_project_may_be_missing(with_submodule: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(with_submodule), str(clone))
    with open_arms(clone / "service", "HEAD", SHARED) as arms:
        assert (arms.base.folder / "version.txt").read_text() == "2"
        assert (arms.head.folder / "version.txt").read_text() == "2"


def test_a_submodule_outside_the_project_is_there_where_it_can_be(with_submodule: Path) -> None:
    """Also one that lacks something itself."""
    vendor = with_submodule / "vendor" / "words"
    (vendor / ".gitattributes").write_text("*.npz filter=lfs\n")
    (vendor / "some.npz").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3\n")
    with open_arms(with_submodule / "service", "HEAD", SHARED) as arms:
        for arm in (arms.base, arms.head):
            assert (arm.folder.parent / "vendor" / "words" / "words.txt").read_text() == "1"
    with pytest.raises(CheckoutError, match=r"vendor/words/some.npz, .*: git -C vendor/words/ lfs fetch origin HEAD"):
        _words(with_submodule)


def test_a_repository_within_the_project_that_is_no_submodule_is_copied(project: Path) -> None:
    """Git would not list its files."""
    nested = project / "vendor" / "words"
    nested.mkdir(parents=True)
    git(nested, "init", "--quiet")
    _commit_words(nested, "1")
    (nested / "new.txt").write_text("new")
    with open_arms(project, "HEAD", SHARED) as arms:
        assert {file.name for file in (arms.head.folder / "vendor" / "words").iterdir()} == {"words.txt", "new.txt"}
