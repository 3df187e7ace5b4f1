"""Runs that don't ask for performance tests leave them out, and say how they are run."""

import pytest

from unit_tests.builders.tiny_project import TinyProject

ADVICE = "performance tests are left out; to measure, write: pytest perf_tests"


@pytest.fixture
def project(tiny_project: TinyProject) -> TinyProject:
    """A project whose `testpaths` lead to its performance tests."""
    ini = tiny_project.root / "pytest.ini"
    ini.write_text(ini.read_text().replace("testpaths = unit_tests", "testpaths = unit_tests perf_tests"))
    return tiny_project


@pytest.mark.parametrize("arguments", ["", ".", "-q", "--benchmark-disable", "--benchmark-skip", "-p no:benchmark"])
def test_pytest_alone_measures_nothing_and_says_how(project: TinyProject, arguments: str) -> None:
    result = project.run(*arguments.split())
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines([f"servegate: 2 {ADVICE}"])
    assert project.measured == []


def test_what_k_leaves_out_is_not_told(project: TinyProject) -> None:
    result = project.run("-k", "test_unit")
    result.assert_outcomes(passed=1, deselected=2)
    assert "servegate: " not in result.stdout.str()


@pytest.mark.parametrize("arguments", ["-n 2", "-n 2 -m not(perf_target)", ". -n 2"])
def test_others_run_in_parallel(project: TinyProject, arguments: str) -> None:
    result = project.run(*arguments.split())
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"servegate: {ADVICE}"])
    assert project.measured == []


def test_in_parallel_nothing_is_refused_where_none_is_selected(project: TinyProject) -> None:
    result = project.run("perf_tests", "unit_tests", "-m", "not perf_target", "-n", "2")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)


def test_in_parallel_a_selected_one_fails_with_the_right_command(project: TinyProject) -> None:
    result = project.run("perf_tests", "unit_tests", "-k", "test_api or test_unit", "-n", "2")
    result.assert_outcomes(passed=1, errors=1)
    assert "must run without others at its side; write: pytest perf_tests  (without" in result.stdout.str()
    assert project.measured == []


@pytest.mark.parametrize("arguments", ["--perf-processes=2", "--benchmark-only", ". --perf-processes=2"])
def test_an_option_asks_for_those_that_the_run_reaches(project: TinyProject, arguments: str) -> None:
    result = project.run(*arguments.split())
    assert result.parseoutcomes()["passed"] >= 3
    assert len(set(project.measured)) in (6, 9)


def test_options_of_the_ini_file_are_in_every_run_and_ask_for_nothing(project: TinyProject) -> None:
    ini = project.root / "pytest.ini"
    ini.write_text(ini.read_text().replace("addopts =", "addopts = --perf-processes=2"))
    project.run().assert_outcomes(passed=1, deselected=2)
    assert project.measured == []
    project.run("perf_tests").assert_outcomes(passed=3)
    assert len(project.measured) == 6


def test_a_project_whose_testpaths_are_performance_tests_alone_says_why_nothing_ran(project: TinyProject) -> None:
    ini = project.root / "pytest.ini"
    ini.write_text(ini.read_text().replace("testpaths = unit_tests perf_tests", "testpaths = perf_tests"))
    result = project.run("-q")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines([f"servegate: 2 {ADVICE}"])


def test_where_the_ini_file_runs_tests_in_parallel_the_command_that_does_not_is_named(project: TinyProject) -> None:
    """The command works as the line shows it."""
    ini = project.root / "pytest.ini"
    ini.write_text(ini.read_text().replace("addopts =", "addopts = -n 2 --dist loadfile"))
    refused = project.run("perf_tests")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "write: pytest perf_tests -n 0 --dist no" in refused.stderr.str()
    project.run("perf_tests", "-n", "0", "--dist", "no").assert_outcomes(passed=3)
