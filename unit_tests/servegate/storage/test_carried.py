"""Files that git ignores are given to both arms, and can't be changed by them."""

import stat
from pathlib import Path

import pytest

from servegate.errors import CheckoutError, MeasurementError, ProcessError, ReferenceCheckoutError, ServegateError
from servegate.storage.arms import open_arms
from servegate.storage.carried import advise_to_carry
from servegate.storage.environments import EnvironmentRecipe
from unit_tests.builders.folders import Tree, read_tree
from unit_tests.builders.tiny_project import git


@pytest.fixture
def with_ignored(project: Path) -> Path:
    """The project with ignored weights.npz and data/."""
    (project / ".gitignore").write_text("*.npz\ndata/\n__pycache__/\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "ignores")
    (project / "weights.npz").write_text("weights")
    (project / "data" / "words").mkdir(parents=True)
    (project / "data" / "words" / "en.txt").write_text("cat")
    return project


def _carried(project: Path, *paths: str, reference: str = "HEAD") -> list[Tree]:
    """What base and head hold."""
    with open_arms(project, reference, EnvironmentRecipe("", is_shared=True), carried=paths) as arms:
        return [read_tree(arm.folder) for arm in (arms.base, arms.head)]


def test_files_and_folders_are_given_to_both_arms_read_only(with_ignored: Path) -> None:
    (with_ignored / "weights.npz").chmod(0o755)
    base, head = _carried(with_ignored, "weights.npz", "data/")
    assert base == head
    assert base["weights.npz"] == ("-r-xr-xr-x", b"weights")
    assert base["data/words/en.txt"] == ("-r--r--r--", b"cat")
    assert not {"weights.npz", "data/words/en.txt"} & _carried(with_ignored)[0].keys()


def test_a_path_is_a_name_and_no_pattern(with_ignored: Path) -> None:
    (with_ignored / "*.npz").write_text("odd name")
    base, head = _carried(with_ignored, "*.npz")
    assert base == head
    assert base["*.npz"].content == b"odd name"
    assert "weights.npz" not in base


def test_an_arm_that_writes_all_the_same_does_not_reach_the_projects_own_file(with_ignored: Path) -> None:
    with open_arms(
        with_ignored, "HEAD", EnvironmentRecipe("", is_shared=True), carried=["weights.npz", "data"]
    ) as arms:
        for file in (arms.head.folder / "weights.npz", arms.head.folder / "data" / "words" / "en.txt"):
            file.chmod(stat.S_IRUSR | stat.S_IWUSR)
            file.write_text("changed")
    assert (with_ignored / "weights.npz").read_text() == "weights"
    assert (with_ignored / "data" / "words" / "en.txt").read_text() == "cat"
    (with_ignored / "weights.npz").write_text("still writable")


def test_what_lies_elsewhere_behind_links_is_copied(with_ignored: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "large.txt").write_text("large")
    (with_ignored / "linked.npz").symlink_to(tmp_path / "elsewhere")
    (with_ignored / "data" / "large.txt").symlink_to(tmp_path / "elsewhere" / "large.txt")
    (with_ignored / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    base, head = _carried(with_ignored, "linked.npz", "data")
    assert base == head
    assert base["linked.npz/large.txt"] == base["data/linked/large.txt"]
    assert base["linked.npz/large.txt"] == base["data/large.txt"] == ("-r--r--r--", b"large")


def test_a_cloned_model_is_carried_without_its_history(with_ignored: Path) -> None:
    clone = with_ignored / "data" / "model"
    clone.mkdir()
    (clone / "model.bin").write_text("model")
    git(clone, "init", "--quiet")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "model")
    for path in ("data", "data/model"):
        base, head = _carried(with_ignored, path)
        assert base == head
        assert [name for name in base if name.startswith("data/model")] == ["data/model/model.bin"]


def test_the_project_may_be_a_folder_of_its_repository(with_ignored: Path) -> None:
    (with_ignored / "service" / "inner.npz").write_text("inner")
    base, head = _carried(with_ignored / "service", "inner.npz")
    assert base["inner.npz"] == head["inner.npz"] == ("-r--r--r--", b"inner")


def test_of_a_folder_only_what_git_ignores_is_carried(with_ignored: Path) -> None:
    """What it tracks or would add differs between the arms as their commits do."""
    service = with_ignored / "service"
    (service / "ignored.npz").write_text("ignored")
    (service / "new.txt").write_text("new")
    (service / "version.txt").write_text("3")
    base, head = _carried(with_ignored, "service")
    assert base["service/ignored.npz"] == head["service/ignored.npz"]
    assert (base["service/version.txt"].content, head["service/version.txt"].content) == (b"2", b"3")
    assert "service/new.txt" not in base


def test_a_base_that_tracks_the_file_keeps_its_own(with_ignored: Path, tmp_path: Path) -> None:
    """Also where it has a link in place of the folder, which leads out of it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (with_ignored / "linked").symlink_to(elsewhere)
    git(with_ignored, "add", "--force", "weights.npz", "linked")
    git(with_ignored, "commit", "--quiet", "--message", "tracked")
    git(with_ignored, "rm", "--quiet", "--cached", "weights.npz", "linked")
    git(with_ignored, "commit", "--quiet", "--message", "ignored")
    (with_ignored / "weights.npz").write_text("newer")
    (with_ignored / "linked").unlink()
    (with_ignored / "linked").mkdir()
    (with_ignored / "linked" / "some.npz").write_text("some")
    base, head = _carried(with_ignored, "weights.npz", "linked", reference="HEAD~1")
    assert (base["weights.npz"].content, head["weights.npz"].content) == (b"weights", b"newer")
    assert head["linked/some.npz"].content == b"some"
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.npz", "perf_carry: there is no missing.npz in "),
        ("service/version.txt", "perf_carry: git does not ignore service/version.txt, .*leave it out"),
        ("*.npz", r"perf_carry: there is no \*.npz in "),
        ("../other", "perf_carry: ../other must lie in the project"),
        ("/etc/hostname", "perf_carry: /etc/hostname must lie in the project"),
    ],
)
def test_a_wrong_path_is_named_with_the_option(with_ignored: Path, path: str, message: str) -> None:
    with pytest.raises(CheckoutError, match=message):
        _carried(with_ignored, path)


@pytest.mark.parametrize("kind", [ReferenceCheckoutError, ProcessError])
@pytest.mark.parametrize(
    "log", ["FileNotFoundError: [Errno 2] weights.npz", "sh: cannot open weights.npz: No such file or directory"]
)
def test_the_error_of_a_service_that_misses_a_file_names_the_option(kind: type[ServegateError], log: str) -> None:
    advised = advise_to_carry(kind(f"the server ended with status 1\n{log}"))
    assert type(advised) is kind
    assert str(advised).startswith(f"the server ended with status 1\n{log}\n")
    assert "perf_carry = " in str(advised)


@pytest.mark.parametrize(
    "error", [ProcessError("ImportError: no torch"), MeasurementError("No such file or directory")]
)
def test_any_other_error_stays_as_it_is(error: ServegateError) -> None:
    assert advise_to_carry(error) is error
