"""What doesn't agree is named: the repository's own files, each time with one thing changed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.check_dependencies import find_problems
from unit_tests.builders.repository import ROOT

LOCKS = ("requirements.lock", "requirements-gate.lock", "requirements-dev.lock")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of a copy with packages that import nothing."""
    for name in (*LOCKS, "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for package in ("service", "servegate"):
        (tmp_path / package).mkdir()
    return tmp_path


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert re.search(old, text, re.MULTILINE)
    file.write_text(re.sub(old, new, text, count=1, flags=re.MULTILINE))


def test_this_repositorys_files_agree() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tools.check_dependencies"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("pyproject.toml", r'    "loky",\n', '    "loky", "a-new-one",\n', "requirements-gate.lock has no a-new-one"),
        ("pyproject.toml", r'    "timm",\n', "", "requirements.lock has timm, which nothing needs"),
        ("pyproject.toml", r'"ruff"', '"ruff>=9999"', "requirements-dev.lock has ruff .*, where >=9999 is wanted"),
        ("requirements.lock", r"^mpmath==.*\n", "", "requirements.lock has no mpmath"),
        (
            "requirements.lock",
            r"^triton==(\S+) ;.*\\",
            r"triton==\1 \\",
            "requirements.lock has triton for every platform",
        ),
    ],
)
def test_a_lock_that_is_not_in_step_is_named(root: Path, file: str, old: str, new: str, problem: str) -> None:
    replace(root / file, old, new)
    assert any(re.match(problem, found) for found in find_problems(root))


@pytest.mark.parametrize(
    ("package", "module", "distribution"), [("service", "pytest", "pytest"), ("servegate", "PIL", "pillow")]
)
def test_an_import_that_is_not_declared_is_named(root: Path, package: str, module: str, distribution: str) -> None:
    """Another commit's environment, or a user's, would lack it."""
    (root / package / "new.py").write_text(f"import os\n\nimport {module}.more\n")
    assert find_problems(root) == [f"{package} imports {distribution}, which pyproject.toml doesn't name"]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_no_place(lock: str) -> None:
    """It is used on other machines; a hash is known for every package."""
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|^-|[\s=]/", text, re.MULTILINE)
    assert not re.search(r"^\w.*==.*[^\\]$", text, re.MULTILINE)
