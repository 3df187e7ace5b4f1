"""`pytest perf_tests --perf-accept`: the only thing that writes a baseline, and when it refuses to."""

import json

import pytest

from servegate.records import Fingerprint
from servegate.storage.baselines import write_baseline
from servegate.storage.commits import identify
from unit_tests.builders.tiny_project import CELLS, TinyProject, git, table_of

MODEL_8, API_1, API_8 = CELLS


def test_it_stores_at_least_eight_processes_of_this_commit(tiny_project: TinyProject) -> None:
    tiny_project.accept()
    baseline = tiny_project.baseline()
    assert set(baseline.throughput_per_s) == set(CELLS)
    assert all(len(values) == 8 for values in baseline.throughput_per_s.values())
    assert baseline.checkout == identify(tiny_project.root, "service", "requirements.lock")
    assert baseline.checkout.commit == git(tiny_project.root, "rev-parse", "HEAD")
    assert baseline.details["api precision"] == "float32"
    assert baseline.details["seconds a cell"] == "5"


def test_it_says_where_and_that_it_wants_a_commit(tiny_project: TinyProject) -> None:
    tiny_project.commit()
    result = tiny_project.run("perf_tests", "--perf-accept")
    result.stdout.fnmatch_lines([f"accepted: {tiny_project.baseline_file}; commit it to keep it"])


def test_no_hosts_name_is_stored(tiny_project: TinyProject) -> None:
    tiny_project.accept()
    machine_info = json.loads(tiny_project.baseline_file.read_text())["machine_info"]
    assert "node" not in machine_info
    assert machine_info["servegate"]["usable_cores"] >= 1


def test_a_process_has_an_entry_and_raw_rounds_are_left_out(tiny_project: TinyProject) -> None:
    tiny_project.accept()
    for benchmark in json.loads(tiny_project.baseline_file.read_text())["benchmarks"]:
        assert "data" not in benchmark["stats"]
        processes = benchmark["extra_info"]["processes"]
        assert len(processes) == 8
        assert all(process.keys() >= {"throughput_per_s", "latency_p99_ms"} for process in processes)


def test_it_can_be_accepted_again_before_it_is_committed(tiny_project: TinyProject) -> None:
    tiny_project.accept()
    tiny_project.plan(dict.fromkeys(CELLS, 50.0))
    assert tiny_project.run("perf_tests", "--perf-accept").ret == pytest.ExitCode.OK
    assert tiny_project.baseline().throughput_per_s[API_8][0] == pytest.approx(50.0)


def test_a_dirty_tree_is_refused_before_anything_is_measured(tiny_project: TinyProject) -> None:
    tiny_project.commit()
    tiny_project.write("service/new.py", "")
    result = tiny_project.run("perf_tests", "--perf-accept")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "the working tree has changes: service/new.py" in result.stderr.str()
    assert tiny_project.measured == []


def test_a_tree_that_became_dirty_meanwhile_is_refused(tiny_project: TinyProject) -> None:
    """What was measured is no longer what the commit says."""
    writes = "from pathlib import Path\n\ndef test_z():\n    Path('service/new.py').write_text('')\n"
    tiny_project.write("perf_tests/test_writes.py", writes)
    tiny_project.commit()
    result = tiny_project.run("perf_tests", "--perf-accept")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["not accepted: *the working tree has changes: service/new.py*"])
    assert not tiny_project.baseline_file.exists()


@pytest.mark.parametrize("begins_with_one", [False, True])
def test_of_two_runs_at_a_time_the_second_is_refused(tiny_project: TinyProject, *, begins_with_one: bool) -> None:
    """What the first one stored while the second measured stays."""
    path = tiny_project.baseline_file
    if begins_with_one:
        tiny_project.accept()
    other = "from pathlib import Path\n\ndef test_z():\n"
    other += f"    path = Path({str(path)!r})\n    path.parent.mkdir(parents=True, exist_ok=True)\n"
    tiny_project.write("perf_tests/test_other.py", other + "    path.write_text('of another run')\n")
    tiny_project.commit()
    result = tiny_project.run("perf_tests", "--perf-accept")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"not accepted: the baseline {path} was replaced while this run measured; *"])
    assert path.read_text() == "of another run"


def test_outside_git_it_is_refused(tiny_project: TinyProject) -> None:
    result = tiny_project.run("perf_tests", "--perf-accept")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "not a git repository" in result.stderr.str()


def test_a_failing_run_writes_no_baseline(tiny_project: TinyProject) -> None:
    tiny_project.accept()
    before = tiny_project.baseline_file.read_bytes()
    tiny_project.plan({API_1: 10.0}, failures={API_8: ["status 500: no"]})
    result = tiny_project.run("perf_tests", "--perf-accept")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["not accepted: only a run in which every test passes becomes a baseline"])
    assert tiny_project.baseline_file.read_bytes() == before


@pytest.mark.parametrize("options", [(), ("--benchmark-compare",), ("--benchmark-compare", "--perf-strict")])
def test_nothing_else_writes_a_baseline(tiny_project: TinyProject, options: tuple[str, ...]) -> None:
    tiny_project.accept()
    before = tiny_project.baseline_file.read_bytes()
    tiny_project.plan(dict.fromkeys(CELLS, 10.0))
    tiny_project.run("perf_tests", "--benchmark-autosave", *options)
    assert tiny_project.baseline_file.read_bytes() == before


def test_a_part_of_the_cells_does_not_replace_all(tiny_project: TinyProject) -> None:
    tiny_project.accept()
    before = tiny_project.baseline_file.read_bytes()
    result = tiny_project.run("perf_tests", "--perf-accept", "-k", "model")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"not accepted: *did not measure: {API_1}, {API_8}; *".replace("[", "[[]")])
    assert tiny_project.baseline_file.read_bytes() == before


def test_an_unusable_baseline_is_replaced_as_its_message_advises(tiny_project: TinyProject) -> None:
    tiny_project.baseline_file.parent.mkdir(parents=True)
    tiny_project.baseline_file.write_text('{"half": ')
    tiny_project.accept()
    assert set(tiny_project.baseline().throughput_per_s) == set(CELLS)


def test_a_baseline_that_cannot_be_written_is_told_and_fails_the_run(tiny_project: TinyProject) -> None:
    tiny_project.write(f"perf_tests/baselines/{tiny_project.baseline_file.parent.name}", "a file in its place")
    tiny_project.commit()
    result = tiny_project.run("perf_tests", "--perf-accept")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["not accepted: the baseline * can't be written: *"])


def test_stock_benchmarks_beside_the_gates_tests_do_no_harm(tiny_project: TinyProject) -> None:
    tiny_project.write("perf_tests/test_stock.py", "def test_stock(benchmark):\n    benchmark.pedantic(int)\n")
    tiny_project.accept()
    result = tiny_project.run("perf_tests", "--benchmark-compare")
    result.assert_outcomes(passed=4)
    assert table_of(result) == dict.fromkeys(CELLS, "PASS")


def test_another_machines_baseline_is_no_baseline_here(tiny_project: TinyProject) -> None:
    tiny_project.commit()
    there = Fingerprint("Cray-1", 1, None, 0)
    checkout = identify(tiny_project.root, "service", "requirements.lock")
    write_baseline(tiny_project.root / "perf_tests" / "baselines", there, checkout, {"benchmarks": []})
    result = tiny_project.run("perf_tests", "--benchmark-compare")
    assert set(table_of(result).values()) == {"NO_BASELINE"}
    result.stdout.fnmatch_lines(["NO_BASELINE: *there are baselines for: cray-1-1-core-no-gpu"])
