"""The two folders of a comparison: made the same way, of repositories as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servegate.errors import CheckoutError, ReferenceCheckoutError
from servegate.processes.guard import guard
from servegate.storage.arms import open_arms
from servegate.storage.environments import EnvironmentRecipe
from unit_tests.builders.folders import read_tree
from unit_tests.builders.tiny_project import git

SHARED = EnvironmentRecipe("", is_shared=True)


@contextmanager
def arms_of(root: Path, reference: str = "HEAD") -> Iterator[tuple[Path, Path]]:
    """The folders of base and head."""
    with open_arms(root, reference, SHARED) as arms:
        yield arms.base.folder, arms.head.folder


def commit_all(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "all")


def write(root: Path, name: str, text: str = "") -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


class TestAlike:
    """What differs between the folders is what the working tree changes, and nothing else."""

    def test_a_clean_working_tree_equals_its_commit(self, project: Path) -> None:
        write(project, "service/run.sh", "#!/bin/sh\n").chmod(0o755)
        (project / "link").symlink_to("service")
        (project / "dangling").symlink_to("nowhere")
        write(project, "säge in\nlines.txt", "odd name")
        commit_all(project)
        with arms_of(project) as (base, head):
            assert read_tree(base) == read_tree(head)
            assert read_tree(head)["service/run.sh"] == ("-rwxr-xr-x", b"#!/bin/sh\n")
            assert (base.parent, len(base.name)) == (head.parent, len(head.name))

    def test_the_head_is_the_working_tree_as_it_is_now(self, project: Path) -> None:
        write(project, "deleted.txt")
        write(project, "moved.txt", "moved")
        commit_all(project)
        (project / "deleted.txt").unlink()
        git(project, "mv", "moved.txt", "staged.txt")
        write(project, "untracked/new.txt", "new")
        write(project, ".gitignore", "*.log\n")
        write(project, "ignored.log", "ignored")
        with arms_of(project) as (base, head):
            assert (base / "service" / "version.txt").read_text() == "2"
            names = {".gitignore", "requirements.lock", "service/version.txt", "staged.txt", "untracked/new.txt"}
            assert read_tree(head).keys() == names
            assert "deleted.txt" in read_tree(base)

    def test_uncommitted_work_is_compared_with_the_last_commit(self, project: Path) -> None:
        with arms_of(project) as (base, head):
            assert (base / "service" / "version.txt").read_text() == "1"
            assert (head / "service" / "version.txt").read_text() == "2"

    def test_neither_has_bytecode(self, project: Path) -> None:
        """Where git ignores it, and where it doesn't."""
        write(project, "service/__pycache__/api.pyc", "old")
        commit_all(project)
        write(project, "__pycache__/other.pyc", "old")
        with arms_of(project) as (base, head):
            assert not [*base.rglob("__pycache__"), *head.rglob("__pycache__")]

    def test_a_folder_that_became_a_link_is_a_link_and_nothing_is_written_through_it(
        self, project: Path, tmp_path: Path
    ) -> None:
        write(project, "data/old.txt", "old")
        commit_all(project)
        elsewhere = tmp_path / "elsewhere"
        write(elsewhere, "old.txt", "of somebody else")
        (project / "data" / "old.txt").unlink()
        (project / "data").rmdir()
        (project / "data").symlink_to(elsewhere)
        with arms_of(project) as (base, head):
            assert (head / "data").readlink() == elsewhere
            assert (base / "data" / "old.txt").read_text() == "old"
        assert read_tree(elsewhere)["old.txt"].content == b"of somebody else"

    def test_a_file_that_became_a_folder_is_a_folder(self, project: Path) -> None:
        (project / "service" / "version.txt").unlink()
        write(project, "service/version.txt/new.txt", "new")
        with arms_of(project) as (_, head):
            assert (head / "service" / "version.txt" / "new.txt").read_text() == "new"

    def test_a_folder_for_temporary_files_in_the_project_is_not_copied_into_itself(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (project / "tmp").mkdir()
        monkeypatch.setattr(guard(), "folder", project / "tmp")
        with arms_of(project) as (_, head):
            assert not list(head.glob("tmp/**/version.txt"))

    def test_both_are_removed_at_the_end_and_the_project_is_left_as_it_was(self, project: Path) -> None:
        before = read_tree(project)
        with arms_of(project) as (base, head):
            write(head, "service/version.txt", "3")
        with pytest.raises(KeyboardInterrupt), arms_of(project) as (base, head):
            raise KeyboardInterrupt
        assert not base.exists()
        assert not head.exists()
        assert read_tree(project) == before


class TestRepositoriesAsTheyAre:
    """Each gives the right files or a sentence."""

    def test_a_commits_files_are_all_there_and_links_stay_links(self, project: Path) -> None:
        """What is left out of archives, and links that lead out of the project."""
        write(project, ".gitattributes", "left_out/ export-ignore\n")
        write(project, "left_out/weights.txt", "weights")
        (project / "absolute").symlink_to("/usr/share")
        (project / "outward").symlink_to("../elsewhere")
        commit_all(project)
        for folder in ("base", "head"):
            with open_arms(project, "HEAD", SHARED) as arms:
                files = getattr(arms, folder).folder
                assert (files / "left_out" / "weights.txt").read_text() == "weights"
                assert (files / "absolute").readlink() == Path("/usr/share")
                assert (files / "outward").readlink() == Path("../elsewhere")

    def test_a_project_in_a_folder_of_its_repository_finds_what_lies_beside_it(self, project: Path) -> None:
        write(project, "libraries/words.txt", "shared")
        write(project, "projects/cats/service/api.py", "1")
        (project / "projects" / "cats" / "words").symlink_to("../../libraries")
        commit_all(project)
        write(project, "projects/cats/service/api.py", "2")
        with arms_of(project / "projects" / "cats") as (base, head):
            assert [(arm / "service" / "api.py").read_text() for arm in (base, head)] == ["1", "2"]
            assert [(arm / "words" / "words.txt").read_text() for arm in (base, head)] == ["shared", "shared"]

    def test_a_commit_from_before_the_projects_folder_is_named(self, project: Path) -> None:
        write(project, "projects/cats/service/api.py")
        commit_all(project)
        with pytest.raises(ReferenceCheckoutError, match="the commit HEAD~1 has no folder projects/cats"):
            arms_of(project / "projects" / "cats", "HEAD~1").__enter__()

    def test_a_hooks_repository_is_not_taken_for_the_projects(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "other"
        git(tmp_path, "init", "--quiet", str(other))
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(other))
        monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
        with arms_of(project) as (base, head):
            assert [(arm / "service" / "version.txt").read_text() for arm in (base, head)] == ["1", "2"]

    def test_a_linked_work_tree_is_compared_with_its_own_commit(self, project: Path, tmp_path: Path) -> None:
        git(project, "worktree", "add", "--quiet", str(tmp_path / "linked"))
        write(tmp_path / "linked", "service/version.txt", "3")
        with arms_of(tmp_path / "linked") as (base, head):
            assert [(arm / "service" / "version.txt").read_text() for arm in (base, head)] == ["1", "3"]

    def test_a_sparse_work_tree_does_not_thin_the_base(self, project: Path) -> None:
        write(project, "other/file.txt")
        commit_all(project)
        git(project, "sparse-checkout", "set", "service")
        assert not (project / "other").exists()
        with arms_of(project) as (base, _):
            assert (base / "other" / "file.txt").exists()

    def test_attributes_are_those_of_the_commit(self, project: Path) -> None:
        """Line ends by attributes that the working tree no longer has."""
        write(project, ".gitattributes", "*.txt eol=crlf\n")
        write(project, "windows.txt", "a\n")
        commit_all(project)
        (project / ".gitattributes").unlink()
        with arms_of(project) as (base, _):
            assert (base / "windows.txt").read_bytes() == b"a\r\n"


class TestSentences:
    """What can't be done is said."""

    def test_a_commit_that_is_not_here_is_named(self, project: Path) -> None:
        with pytest.raises(CheckoutError, match=r"no commit 'v9'.*git fetch --unshallow"):
            arms_of(project, "v9").__enter__()

    def test_what_git_cannot_do_is_told_in_its_own_words(self, project: Path) -> None:
        """As with a repository that has lost an object."""
        blob = git(project, "rev-parse", "HEAD:service/version.txt")
        (project / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
        with pytest.raises(ReferenceCheckoutError, match=r"git .*checkout-index .* failed in .*: error"):
            arms_of(project).__enter__()

    def test_without_git_or_a_repository_there_is_no_base(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(CheckoutError, match="not a git repository"):
            arms_of(tmp_path).__enter__()
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(CheckoutError, match="git is not installed"):
            arms_of(project).__enter__()

    def test_a_file_that_cannot_be_read_is_named(self, project: Path) -> None:
        write(project, ".gitignore", "weights.npz\n")
        (project / "weights.npz").symlink_to("nowhere")
        with (
            pytest.raises(CheckoutError, match=r"folders of the comparison can't be made: .*weights.npz"),
            open_arms(project, "HEAD", SHARED, carried=["weights.npz"]),
        ):
            pass
