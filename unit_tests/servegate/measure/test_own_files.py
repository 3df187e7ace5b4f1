"""Which loaded files are a checkout's own, which are nobody's, and which are wrong: files alone, no processes."""

import sys
from pathlib import Path

import pytest

from servegate.errors import WrongCodeError
from servegate.measure.loaded_files import LoadedFile, find_modules, read_log, select_own_files
from servegate.records import Checkout

PROGRAM = ".venv/bin/uvicorn"
CONDA_PACKAGE = ".conda/lib/python3.11/site-packages/numpy/__init__.py"


@pytest.fixture
def base(tmp_path: Path) -> Checkout:
    return make_checkout("base", tmp_path / "base")


@pytest.fixture
def head(tmp_path: Path) -> Checkout:
    return make_checkout("head", tmp_path / "head")


def make_checkout(name: str, folder: Path) -> Checkout:
    write(folder, "service/model.py")
    write(folder, "uvicorn")
    return Checkout(name, folder, sys.executable)


def write(folder: Path, path: str, text: str = "") -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_environments_in_the_heads_folder_belong_to_neither(base: Checkout, head: Checkout) -> None:
    """A virtual one is known by its pyvenv.cfg, another by its folder of packages."""
    write(head.folder, ".venv/pyvenv.cfg")
    files = [
        LoadedFile("__main__", write(head.folder, PROGRAM)),
        LoadedFile("numpy", write(head.folder, CONDA_PACKAGE)),
    ]
    for checkout in (base, head):
        assert select_own_files(files, checkout, (base, head)) == {}


@pytest.mark.parametrize("folder", [".venv/lib/python3.11/site-packages", "../usr/lib/python3/dist-packages"])
def test_an_installed_copy_is_wrong_in_both(base: Checkout, head: Checkout, folder: str) -> None:
    """Though it lies in the head's folder: its files are older than those beside it."""
    file = LoadedFile("service.model", write(head.folder, f"{folder}/service/model.py"))
    for checkout in (base, head):
        with pytest.raises(WrongCodeError, match=f"the {checkout.name} loaded service.model from"):
            select_own_files([file], checkout, (base, head))


def test_a_library_elsewhere_is_nobodys(base: Checkout, head: Checkout, tmp_path: Path) -> None:
    """Though its files have names that the project's have, too."""
    library = LoadedFile("library.service.model", write(tmp_path, "library/service/model.py"))
    assert select_own_files([library], base, (base, head)) == {}


def test_programs_that_share_a_folder_own_its_files_alike(base: Checkout) -> None:
    """As two servers of one checkout, which somebody compares."""
    other = Checkout("other", base.folder, base.python)
    files = [LoadedFile("service.model", base.folder / "service" / "model.py")]
    for checkout in (base, other):
        assert select_own_files(files, checkout, (base, other)).keys() == {"service/model.py"}


def test_of_checkouts_that_lie_in_each_other_the_inner_one_owns_a_file(head: Checkout) -> None:
    """As the base does where temporary files lie in the working tree."""
    base = make_checkout("base", head.folder / "tmp" / "base")
    files = [LoadedFile("service.model", base.folder / "service" / "model.py")]
    assert select_own_files(files, base, (base, head)).keys() == {"service/model.py"}
    with pytest.raises(WrongCodeError):
        select_own_files(files, head, (base, head))


def test_links_count_by_what_they_lead_to(base: Checkout, head: Checkout, tmp_path: Path) -> None:
    """Into the other checkout they are wrong; out of both they are what each has."""
    (base.folder / "linked.py").symlink_to(head.folder / "service" / "model.py")
    (base.folder / "shared.py").symlink_to(write(tmp_path, "shared.py"))
    shared = LoadedFile("shared", base.folder / "shared.py")
    assert select_own_files([shared], base, (base, head)).keys() == {"shared.py"}
    with pytest.raises(WrongCodeError, match="the base loaded linked from"):
        select_own_files([LoadedFile("linked", base.folder / "linked.py")], base, (base, head))


def test_a_folder_may_be_named_by_a_link(base: Checkout, head: Checkout, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(base.folder)
    linked = Checkout("base", tmp_path / "link", base.python)
    for folder in (base.folder, linked.folder):
        files = [LoadedFile("service.model", folder / "service" / "model.py")]
        assert select_own_files(files, linked, (linked, head)).keys() == {"service/model.py"}


def test_a_file_that_is_gone_is_still_the_checkouts(base: Checkout, head: Checkout) -> None:
    files = [LoadedFile("made", base.folder / "made.py")]
    assert select_own_files(files, base, (base, head)) == {"made.py": "gone"}


def test_the_projects_names_are_those_of_either_checkout_and_its_src(base: Checkout, head: Checkout) -> None:
    write(base.folder, "old.py")
    write(head.folder, "src/new/deeper/module.py")
    write(head.folder, "not-a-module.py")
    assert find_modules((base, head)) == {"service", "old", "src", "new"}


def test_a_log_holds_each_file_once_whatever_its_name(tmp_path: Path) -> None:
    """A process without a script tells an empty path, which is no file."""
    log = tmp_path / "log"
    assert read_log(log) == []
    log.write_bytes(b"__main__\0\0a\0/x/a\n\xff.py\0a\0/x/a\n\xff.py\0")
    assert read_log(log) == [LoadedFile("a", Path("/x/a\n\udcff.py"))]
