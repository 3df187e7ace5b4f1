"""What mutation testing names exists, and too few killed mutants are told apart from enough."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from tools import mutants
from tools.mutants import LEAST_KILLED, FileResult, are_enough_killed, table

BATCHING = "service/transport/batching.py"
JUDGING = "servegate/judging"
ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]


def test_all_files_and_tests_that_are_named_exist() -> None:
    """A name that matches nothing is no error to mutmut."""
    assert all(list(ROOT.glob(pattern)) for pattern in CONFIG["only_mutate"])
    tests = [*CONFIG["pytest_add_cli_args_test_selection"], *CONFIG["also_copy"]]
    left_out = [name.removeprefix("--deselect=") for name in CONFIG["pytest_add_cli_args"] if "::" in name]
    assert left_out
    for test in tests + left_out:
        file, _, function = test.partition("::")
        assert (ROOT / file).exists()
        assert not function or f"def {function}(" in (ROOT / file).read_text()


def test_what_must_be_killed_is_mutated() -> None:
    mutated = {path.relative_to(ROOT) for pattern in CONFIG["only_mutate"] for path in ROOT.glob(pattern)}
    assert all(any(path.is_relative_to(place) for path in mutated) for place in LEAST_KILLED)


@pytest.mark.parametrize(("killed", "is_enough"), [(90, True), (89, False)])
def test_nine_of_ten_must_be_killed(killed: int, is_enough: bool) -> None:
    """Of a file that is named; of others none need be."""
    results = [FileResult(BATCHING, 100, killed), FileResult("service/images/reader.py", 100, 0)]
    assert are_enough_killed(results) is is_enough
    assert ("too low" in table(results)) is not is_enough


@pytest.mark.parametrize(("killed", "is_enough"), [(20, True), (19, False)])
def test_of_a_folder_all_files_together_count(killed: int, is_enough: bool) -> None:
    results = [FileResult(f"{JUDGING}/pairs.py", 70, 70), FileResult(f"{JUDGING}/stages.py", 30, killed)]
    assert are_enough_killed(results) is is_enough
    beside = FileResult("servegate/judging_other.py", 100, 0)
    assert are_enough_killed([*results, beside]) is is_enough


def test_a_table_has_a_line_a_file_and_one_for_what_must_be_killed() -> None:
    lines = table([FileResult(BATCHING, 200, 195), FileResult("service/images/reader.py", 100, 50)]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        [BATCHING, "200", "195", "97.5%"],
        ["service/images/reader.py", "100", "50", "50.0%"],
        [],
        [BATCHING, "200", "195", "97.5%,", "at", "least", "90%"],
    ]


def test_tests_that_fail_without_a_mutant_show_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the table would say."""
    monkeypatch.setattr(mutants, "FOLDER", tmp_path / "mutants")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "", ""))
    monkeypatch.setattr(mutants, "tests_pass_without_a_mutant", lambda: False)
    assert mutants.main([]) == 1
    assert "without one as well" in capsys.readouterr().err
