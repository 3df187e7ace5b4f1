"""Another commit beside the working tree: its files, its equivalent after a squash, its environment."""

import errno
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from servegate.errors import CheckoutError
from servegate.storage.checkouts import environment_python, export_commit, find_equivalent, identify, resolve_commit


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


def test_a_disk_without_room_for_the_commit_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def extract(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tarfile.TarFile, "extractall", extract)
    with (
        pytest.raises(CheckoutError, match=r"HEAD can't be put into .*: No space left"),
        export_commit(project, "HEAD"),
    ):
        pass


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


def test_a_base_without_a_lock_file_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match=r"the base has no requirements.lock; .*--perf-same-env"):
        environment_python(project, tmp_path, "requirements.lock", same=False)
