"""Which commit is measured, and that the working tree is it: real git repositories."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

from servegate.errors import CheckoutError
from servegate.storage.commits import identify, list_differing_files, read_head, require_clean
from unit_tests.builders.tiny_project import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With a service, a lock file, a folder of baselines, and all committed."""
    root = tmp_path / "repository"
    for name in ("service/api.py", "requirements.lock", "perf_tests/baselines/old/baseline.json", "readme.txt"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"first {name}\n")
    git(root, "init", "--quiet")
    commit_all(root)
    return root


def commit_all(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "all")


def clean(root: Path) -> None:
    require_clean(root, root / "perf_tests" / "baselines")


class TestIdentify:
    """What makes two checkouts the same to the gate."""

    def test_commit_service_and_lock_file_are_named(self, repository: Path) -> None:
        checkout = identify(repository, "service", "requirements.lock")
        assert checkout.commit == git(repository, "rev-parse", "HEAD")
        assert checkout.service_tree == git(repository, "rev-parse", "HEAD:service")
        assert checkout.lock_sha256 == hashlib.sha256(b"first requirements.lock\n").hexdigest()

    def test_another_commit_with_the_same_service_has_the_same_tree(self, repository: Path) -> None:
        """So a baseline survives a squash merge."""
        before = identify(repository, "service", "requirements.lock")
        (repository / "readme.txt").write_text("second\n")
        commit_all(repository)
        after = identify(repository, "service", "requirements.lock")
        assert after.commit != before.commit
        assert (after.service_tree, after.lock_sha256) == (before.service_tree, before.lock_sha256)

    def test_a_changed_service_or_lock_file_is_another_checkout(self, repository: Path) -> None:
        before = identify(repository, "service", "requirements.lock")
        (repository / "service" / "api.py").write_text("second\n")
        (repository / "requirements.lock").write_text("second\n")
        commit_all(repository)
        after = identify(repository, "service", "requirements.lock")
        assert after.service_tree != before.service_tree
        assert after.lock_sha256 != before.lock_sha256

    def test_the_project_may_be_a_folder_of_its_repository(self, repository: Path) -> None:
        project = repository / "projects" / "cats"
        for name in ("service/api.py", "requirements.lock"):
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text("of the project\n")
        commit_all(repository)
        checkout = identify(project, "service", "requirements.lock")
        assert checkout.service_tree == git(repository, "rev-parse", "HEAD:projects/cats/service")

    @pytest.mark.parametrize(
        ("service", "lock", "message"),
        [
            ("service", "service", "the lock file service can't be read: Is a directory"),
            ("no_service", "requirements.lock", "git rev-parse .*no_service failed in .*no_service"),
        ],
    )
    def test_what_is_wrong_is_named(self, repository: Path, service: str, lock: str, message: str) -> None:
        with pytest.raises(CheckoutError, match=message):
            identify(repository, service, lock)

    @pytest.mark.parametrize("lock", ["no.lock", ""])
    def test_a_project_may_have_no_lock_file(self, repository: Path, lock: str) -> None:
        assert identify(repository, "service", lock).lock_sha256 == hashlib.sha256(b"").hexdigest()

    def test_a_repository_without_a_commit_is_an_error(self, tmp_path: Path) -> None:
        git(tmp_path, "init", "--quiet")
        (tmp_path / "requirements.lock").write_text("")
        with pytest.raises(CheckoutError, match="git rev-parse HEAD failed"):
            identify(tmp_path, "service", "requirements.lock")


def test_differing_files_are_changed_deleted_added_and_untracked_ones_of_the_project(repository: Path) -> None:
    """Named from the project's folder, which may lie in its repository; what git ignores is left out."""
    base = git(repository, "rev-parse", "HEAD")
    assert list_differing_files(repository, base) == []
    (repository / "service" / "api.py").write_text("second\n")
    (repository / "readme.txt").unlink()
    (repository / "added.txt").write_text("")
    commit_all(repository)
    (repository / "service" / "new file.py").write_text("")
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "some.log").write_text("")
    expected = [".gitignore", "added.txt", "readme.txt", "service/api.py", "service/new file.py"]
    assert list_differing_files(repository, base) == expected
    assert list_differing_files(repository / "service", base) == ["api.py", "new file.py"]
    assert list_differing_files(repository, "0" * 40) is None


class TestRequireClean:
    """A baseline belongs to a commit."""

    def test_a_clean_tree_passes(self, repository: Path) -> None:
        clean(repository)

    def test_changes_inside_the_allowed_folder_pass(self, repository: Path) -> None:
        """A second machine class is accepted while the first one's baseline is not yet committed."""
        (repository / "perf_tests" / "baselines" / "new").mkdir()
        (repository / "perf_tests" / "baselines" / "new" / "baseline.json").write_text("new")
        (repository / "perf_tests" / "baselines" / "old" / "baseline.json").write_text("changed")
        clean(repository)

    def test_the_client_that_litserve_writes_at_each_start_passes(self, repository: Path) -> None:
        """The words are LitServe's own, so that a change of them is noticed; a client of the project's is a change."""
        template = importlib.util.find_spec("litserve.python_client")
        assert template is not None
        assert template.origin is not None
        written = Path(template.origin).read_text().partition('client_template = """')[2].partition('"""')[0]
        (repository / "client.py").write_text(written)
        clean(repository)
        assert read_head(repository) == (git(repository, "rev-parse", "HEAD"), False)
        git(repository, "add", "client.py")
        with pytest.raises(CheckoutError, match=r"has changes: client.py\."):
            clean(repository)
        git(repository, "reset", "--quiet")
        (repository / "client.py").write_text("import requests\n")
        with pytest.raises(CheckoutError, match=r"has changes: client.py\."):
            clean(repository)
        assert read_head(repository)[1]

    def test_ignored_files_pass(self, repository: Path) -> None:
        (repository / ".gitignore").write_text("*.log\n")
        commit_all(repository)
        (repository / "some.log").write_text("")
        clean(repository)

    @pytest.mark.parametrize(
        "name",
        [
            "readme.txt",
            "service/api.py",
            "service/new file.py",
            "new.txt",
            "perf_tests/other.py",
            "perf_tests/baselines.txt",
            "säge.txt",
        ],
    )
    def test_a_change_elsewhere_is_refused_and_named(self, repository: Path, name: str) -> None:
        """Modified or untracked; names with spaces and letters beyond ASCII are shown as they are."""
        (repository / name).write_text("changed")
        with pytest.raises(CheckoutError, match=f"the working tree has changes: {name}. Commit or stash"):
            clean(repository)

    def test_staged_deleted_and_moved_files_are_changes(self, repository: Path) -> None:
        """Also a file that was moved into the allowed folder: where it was, it is missing."""
        git(repository, "mv", "readme.txt", "perf_tests/baselines/readme.txt")
        (repository / "service" / "api.py").unlink()
        with pytest.raises(CheckoutError, match=r"readme.txt, service/api.py\."):
            clean(repository)

    def test_of_many_changes_a_few_are_shown(self, repository: Path) -> None:
        for number in range(9):
            (repository / f"new-{number}.txt").write_text("")
        with pytest.raises(CheckoutError, match=r"new-0.txt, new-1.txt, new-2.txt, new-3.txt, new-4.txt …\. Commit"):
            clean(repository)

    def test_a_folder_outside_git_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CheckoutError, match=r"git rev-parse --show-toplevel failed in .*not a git repository"):
            clean(tmp_path)

    def test_a_machine_without_git_is_told_why_it_is_needed(
        self, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(CheckoutError, match="git is not installed"):
            clean(repository)
