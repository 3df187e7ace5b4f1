"""The plugin end to end, as its users run it: measure, compare, and how each run ends (--perf-accept stands beside)."""

import json
import re
import sys
from xml.etree import ElementTree

import pytest

from unit_tests.builders.tiny_project import CELLS, TinyProject, table_of

MODEL_8, API_1, API_8 = CELLS


class TestMeasuring:
    """`pytest perf_tests`: everything is measured and nothing judged."""

    def test_it_says_that_nothing_was_judged(self, tiny_project: TinyProject) -> None:
        result = tiny_project.run("perf_tests")
        assert result.ret == pytest.ExitCode.OK
        result.assert_outcomes(passed=3)
        assert table_of(result) == dict.fromkeys(CELLS, "not judged")
        result.stdout.fnmatch_lines(["Nothing was judged: run with --benchmark-compare to judge."])

    def test_every_cell_is_measured_in_every_process_group_after_group(self, tiny_project: TinyProject) -> None:
        """In the order of perf_cells, whatever the order of the tests: the model before a server runs beside it."""
        tiny_project.run("perf_tests")
        api = [(API_1, API_8), (API_8, API_1), (API_1, API_8)]
        assert tiny_project.measured == [
            *[f"{MODEL_8} in process {number}" for number in range(3)],
            *[f"{cell} in process {number}" for number, order in enumerate(api) for cell in order],
        ]

    def test_k_selects_cells(self, tiny_project: TinyProject) -> None:
        result = tiny_project.run("perf_tests", "-k", "test_api and 8")
        result.assert_outcomes(passed=1, deselected=2)
        assert set(table_of(result)) == {API_8}
        assert tiny_project.measured == [f"{API_8} in process {number}" for number in range(3)]

    def test_the_command_line_names_cells_processes_and_seconds(self, tiny_project: TinyProject) -> None:
        tiny_project.plan({"api[concurrency=3]": 50.0})
        result = tiny_project.run("perf_tests", "--perf-cells=api=3", "--perf-processes=2", "--perf-seconds=1")
        result.assert_outcomes(passed=1, deselected=1)
        assert tiny_project.measured == [f"api[concurrency=3] in process {number}" for number in range(2)]
        result.stdout.fnmatch_lines(["servegate: measure, not judged; 2 fresh processes, 1 s a cell*"])

    def test_progress_is_shown_while_measuring(self, tiny_project: TinyProject) -> None:
        result = tiny_project.run("perf_tests")
        result.stdout.fnmatch_lines(
            ["  model: process 1 of 3: starts", "  api: process 3 of 3, * left: api[[]concurrency=8[]]"]
        )

    def test_json_of_pytest_benchmark_contains_the_cells(self, tiny_project: TinyProject) -> None:
        """With the raw rounds, the gate's figures, and one entry a process."""
        tiny_project.plan({API_8: 200.0})
        tiny_project.run("perf_tests", "--benchmark-json=result.json").assert_outcomes(passed=3)
        benchmarks = json.loads((tiny_project.root / "result.json").read_text())["benchmarks"]
        by_cell = {benchmark["extra_info"]["cell"]: benchmark for benchmark in benchmarks}
        assert set(by_cell) == set(CELLS)
        api_8 = by_cell[API_8]
        assert api_8["stats"]["rounds"] == 3 * 5
        assert api_8["group"] == "api"
        info = api_8["extra_info"]
        assert info["throughput_per_s"] == pytest.approx([200.0, 202.0, 200.0 / 1.01])
        assert info["latency_p50_ms"] == pytest.approx([50.0, 50.0 / 1.01, 50.0 * 1.01])
        assert info["unit"] == "requests"
        assert info["verdict"] == "not judged"
        assert info["success_rate"] == 1.0
        assert info["cpu_cores"] == [1.25] * 3
        assert by_cell[MODEL_8]["extra_info"]["unit"] == "images"

    def test_the_junit_file_has_the_figures_of_each_cell(self, tiny_project: TinyProject) -> None:
        """Those of a failed one, too; a cell without a figure has none."""
        tiny_project.accept()
        tiny_project.plan({API_8: 100.0 / 3}, failures={MODEL_8: ["status 500"]})
        tiny_project.run("perf_tests", "--benchmark-compare", "--junitxml=junit.xml")
        found = {}
        for test in ElementTree.parse(tiny_project.root / "junit.xml").iter("testcase"):
            properties = {entry.attrib["name"]: entry.attrib["value"] for entry in test.iter("property")}
            found[properties["cell"]] = properties
        assert set(found) == set(CELLS)
        slow = found[API_8]
        assert (slow["verdict"], slow["unit"]) == ("REGRESSED", "requests")
        assert float(slow["now_per_s"]) == pytest.approx(33.33, rel=0.01)
        assert float(slow["change_low"]) < float(slow["change"]) < float(slow["change_high"]) < -0.6
        assert {"latency_p99_ms", "cpu_cores", "success_rate"} <= slow.keys()
        assert found[MODEL_8]["verdict"] == "INVALID"
        assert not {"now_per_s", "change", "gpu_power_w"} & found[MODEL_8].keys()

    def test_benchmark_only_measures_too(self, tiny_project: TinyProject) -> None:
        """As stock users type it; skipping every test would be a green run without a figure."""
        tiny_project.run("perf_tests", "--benchmark-only").assert_outcomes(passed=3)

    def test_wrong_answers_are_invalid_also_without_judging(self, tiny_project: TinyProject) -> None:
        tiny_project.plan(failures={API_8: ["status 500: no memory left"]})
        result = tiny_project.run("perf_tests")
        result.assert_outcomes(passed=2, failed=1)
        assert table_of(result)[API_8] == "INVALID"
        result.stdout.fnmatch_lines(
            ["api[[]concurrency=8[]] INVALID: 3 of 150 answers were wrong or failed: status 500*"]
        )

    def test_an_error_while_measuring_is_each_cells_and_short(self, tiny_project: TinyProject) -> None:
        """No traceback, no second attempt; the other group's failure is its own."""
        tiny_project.plan(error="the GPU is lost")
        result = tiny_project.run("perf_tests")
        result.assert_outcomes(failed=3)
        assert result.stdout.str().count("\nthe GPU is lost\n") == 3
        assert "Traceback" not in result.stdout.str()
        assert "scripted_instrument" not in result.stdout.str()
        assert len(tiny_project.measured) == 2


class TestComparing:
    """`pytest perf_tests --benchmark-compare`."""

    def test_without_a_baseline_it_passes_and_says_how_to_accept_one(self, tiny_project: TinyProject) -> None:
        result = tiny_project.run("perf_tests", "--benchmark-compare")
        assert result.ret == pytest.ExitCode.OK
        assert set(table_of(result).values()) == {"NO_BASELINE"}
        result.stdout.fnmatch_lines(
            [
                "NO_BASELINE: no baseline is stored for this class of machine*",
                "compare with a commit: pytest perf_tests --perf-versus HEAD; or store *: pytest * --perf-accept",
            ]
        )

    def test_without_a_baseline_it_fails_where_it_is_strict(self, tiny_project: TinyProject) -> None:
        result = tiny_project.run("perf_tests", "--benchmark-compare", "--perf-strict")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.assert_outcomes(failed=3)
        assert not tiny_project.baseline_file.exists()

    def test_the_same_speed_passes(self, tiny_project: TinyProject) -> None:
        tiny_project.accept()
        result = tiny_project.run("perf_tests", "--benchmark-compare", "--perf-strict")
        assert result.ret == pytest.ExitCode.OK
        assert table_of(result) == dict.fromkeys(CELLS, "PASS")
        result.stdout.fnmatch_lines([f"servegate: baseline {tiny_project.baseline_file}", "baseline: commit *"])

    def test_a_slowdown_by_3_fails_its_groups_tests_with_their_evidence(self, tiny_project: TinyProject) -> None:
        """A short message, a section with the evidence, no traceback; the other group passes."""
        tiny_project.accept()
        tiny_project.plan({API_8: 100.0 / 3})
        result = tiny_project.run("perf_tests", "--benchmark-compare")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.assert_outcomes(passed=1, failed=2)
        assert table_of(result) == {MODEL_8: "PASS", API_1: "REGRESSED", API_8: "REGRESSED"}
        result.stdout.fnmatch_lines(
            [
                "*_ test_api[[]8[]] _*",
                "2 cells of `api` lose *% of their throughput*.",
                "api[[]concurrency=8[]] REGRESSED: throughput -66.7%*",
                "*- evidence for api[[]concurrency=8[]] -*",
                "baseline 100.0/s: 100.0 101.0 99.0*",
                "now      33.3/s: 33.3 33.7 33.0",
                "change   -66.7% [[]*[]] (95 % interval)*",
                "FAILED perf_tests/test_cells.py::test_api[[]8[]] - 2 cells of `api` lose *",
            ]
        )
        for sign_of_a_traceback in ("Traceback", "Error", "perf_cell.check", "servegate/"):
            assert sign_of_a_traceback not in result.stdout.str()

    def test_failed_tests_tell_what_the_whole_run_has_found(self, tiny_project: TinyProject) -> None:
        """The test of the group that was measured first names the other's loss, too."""
        tiny_project.accept()
        tiny_project.plan({MODEL_8: 50.0, API_8: 100.0 / 3})
        result = tiny_project.run("perf_tests", "--benchmark-compare", "--perf-report", "there")
        result.assert_outcomes(failed=3)
        (sentence,) = {line for line in result.outlines if line.startswith("`model[batch=8]` loses") and len(line) > 80}
        assert re.fullmatch(
            r"`model\[batch=8\]` loses [\d.]+ to [\d.]+ % of its throughput, 2 cells of `api` .* %\.", sentence
        )
        assert result.outlines.count(sentence) == 3
        made = json.loads((tiny_project.root / "there" / "results.json").read_text())
        assert made["sentence"] == sentence

    def test_a_group_whose_rate_the_load_sets_only_informs(self, tiny_project: TinyProject) -> None:
        """Its throughput is the load's choice; the other group is judged."""
        tiny_project.accept()
        tests = tiny_project.root / "perf_tests" / "scripted_instrument.py"
        tests.write_text(tests.read_text().replace("rate_is_given: bool = False", "rate_is_given: bool = True"))
        result = tiny_project.run_as_process("perf_tests", "--benchmark-compare")
        assert set(table_of(result).values()) == {"informs"}

    def test_without_confirmation_no_other_commit_is_put_beside(self, tiny_project: TinyProject) -> None:
        """`make perf-quick` on a machine without figures says so, and is quick."""
        tiny_project.accept()
        other = tiny_project.baseline_file.parent.with_name("cray-1")
        tiny_project.baseline_file.parent.rename(other)
        tiny_project.commit()
        result = tiny_project.run("perf_tests", "--benchmark-compare", "--perf-confirm=no")
        assert set(table_of(result).values()) == {"NO_BASELINE"}
        assert "side by side" not in result.stdout.str()

    def test_a_clean_tree_beside_its_own_commit_is_told_before_minutes_pass(self, tiny_project: TinyProject) -> None:
        tiny_project.commit()
        note = "nothing differs: the working tree has no changes, and HEAD is its commit"
        assert note in tiny_project.run("perf_tests", "--perf-versus", "HEAD").stdout.str().partition("collected")[0]
        tiny_project.write("service/new.py", "")
        assert note not in tiny_project.run("perf_tests", "--perf-versus", "HEAD").stdout.str()

    def test_a_speedup_is_told(self, tiny_project: TinyProject) -> None:
        tiny_project.accept()
        tiny_project.plan({MODEL_8: 200.0})
        result = tiny_project.run("perf_tests", "--benchmark-compare", "--perf-strict")
        assert result.ret == pytest.ExitCode.OK
        assert table_of(result)[MODEL_8] == "IMPROVED"

    def test_wrong_answers_are_invalid_and_nothing_else_is_said_of_them(self, tiny_project: TinyProject) -> None:
        """One failed test, without an error from pytest-benchmark that it got nothing to time."""
        tiny_project.accept()
        tiny_project.plan(failures={API_1: ["answer.predictions[0].label is 'Dog', expected 'Cat'"]})
        result = tiny_project.run("perf_tests", "--benchmark-compare")
        result.assert_outcomes(passed=2, failed=1, errors=0)
        assert table_of(result)[API_1] == "INVALID"
        assert "label is 'Dog'" in result.stdout.str()

    def test_a_cell_missing_from_the_baseline_has_no_baseline(self, tiny_project: TinyProject) -> None:
        tiny_project.accept()
        tiny_project.plan({"api[concurrency=3]": 50.0})
        result = tiny_project.run("perf_tests", "--benchmark-compare", "--perf-cells=api=1,3")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["api[[]concurrency=3[]] NO_BASELINE: the baseline has no such cell"])
        strict = tiny_project.run("perf_tests", "--benchmark-compare", "--perf-strict", "--perf-cells=api=1,3")
        strict.assert_outcomes(passed=1, failed=1, deselected=1)

    def test_another_precision_than_the_baselines_is_told(self, tiny_project: TinyProject) -> None:
        tiny_project.accept()
        tiny_project.plan(precision="bfloat16")
        result = tiny_project.run("perf_tests", "--benchmark-compare")
        result.stdout.fnmatch_lines(["differs from the baseline's machine: api precision float32 -> bfloat16"])

    def test_an_unusable_baseline_ends_the_run_before_anything_is_measured(self, tiny_project: TinyProject) -> None:
        tiny_project.baseline_file.parent.mkdir(parents=True)
        tiny_project.baseline_file.write_text('{"half": ')
        result = tiny_project.run("perf_tests", "--benchmark-compare")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"the baseline {tiny_project.baseline_file} is corrupt or half-written" in result.stderr.str()
        assert tiny_project.measured == []

    def test_stock_comparison_stays_silent(self, tiny_project: TinyProject) -> None:
        """It would judge by its own rule, against its own last file."""
        tiny_project.accept()
        tiny_project.run("perf_tests", "--benchmark-autosave").assert_outcomes(passed=3)
        tiny_project.plan(dict.fromkeys(CELLS, 10.0))
        result = tiny_project.run("perf_tests", "--benchmark-compare")
        assert "Comparing against" not in result.stdout.str() + result.stderr.str()
        assert "(0001_" not in result.stdout.str()
        assert "Name (time in" not in result.stdout.str()

    def test_benchmark_verbose_brings_the_stock_table_back(self, tiny_project: TinyProject) -> None:
        assert "Name (time in" in tiny_project.run("perf_tests", "--benchmark-verbose").stdout.str()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing needs /proc")
def test_without_proc_nothing_is_measured(tiny_project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU use would be shown as none."""
    monkeypatch.setattr("servegate.options.command_line._PROC", tiny_project.root / "no such file")
    result = tiny_project.run("perf_tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "without it servegate can't see what CPU time a service takes" in result.stderr.str()
    assert tiny_project.measured == []


class TestWrongTests:
    """A performance test that is written wrongly says so."""

    def add_test(self, tiny_project: TinyProject, marker: str, arguments: str = "perf_cell") -> None:
        """A further performance test, in a file of its own."""
        target = "from scripted_instrument import ScriptedTarget\n\n"
        test = f"@pytest.mark.{marker}\ndef test_new({arguments}):\n    pass\n"
        tiny_project.write("perf_tests/test_new.py", f"import pytest\n{target}{test}")

    def test_a_group_without_values_is_a_usage_error(self, tiny_project: TinyProject) -> None:
        self.add_test(tiny_project, "perf_target(ScriptedTarget('new', 'size', 'files', None))")
        result = tiny_project.run("perf_tests")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert "perf_cells in the ini file has no values for the group 'new', as in: perf_cells = new=1,8" in (
            result.stdout.str()
        )

    @pytest.mark.parametrize(
        ("marker", "arguments", "message"),
        [
            (
                "perf_target",
                "perf_cell",
                "*test_new: write @pytest.mark.perf_target(target) above a test*",
            ),
            ("perf_target(group='api')", "perf_cell", "*write @pytest.mark.perf_target(target)*"),
            ("perf_target('api')", "perf_cell", "*perf_target takes targets of servegate.api, not 'api'*"),
            ("perf_target(ScriptedTarget('api', 'c', 'r', None))", "", "*above a test that takes 'perf_cell'*"),
            (
                "perf_target(ScriptedTarget('api', 'other', 'requests', None))",
                "perf_cell",
                "*there is another target named 'api'; names must differ*",
            ),
        ],
    )
    def test_a_marker_that_names_no_target_is_a_usage_error(
        self, tiny_project: TinyProject, marker: str, arguments: str, message: str
    ) -> None:
        self.add_test(tiny_project, marker, arguments)
        result = tiny_project.run("perf_tests")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines([message])

    def test_a_cell_is_reported_by_one_test(self, tiny_project: TinyProject) -> None:
        again = "from test_cells import model\n\n\n@pytest.mark.perf_target(model)\n"
        tiny_project.write("perf_tests/test_new.py", f"import pytest\n{again}def test_new(perf_cell):\n    pass\n")
        result = tiny_project.run("perf_tests")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "both report model[batch=8]; one test is enough" in result.stdout.str() + result.stderr.str()
        assert tiny_project.measured == []

    def test_one_test_may_report_several_targets(self, tiny_project: TinyProject) -> None:
        tests = (tiny_project.root / "perf_tests" / "test_cells.py").read_text()
        tests = tests[: tests.index("@pytest.mark")]
        together = "@pytest.mark.perf_target(api, model)\ndef test_both(perf_cell):\n    perf_cell.check()\n"
        tiny_project.write("perf_tests/test_cells.py", tests + together)
        result = tiny_project.run("perf_tests", "-v")
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines(["*test_both[[]model-8[]]*", "*test_both[[]api-1[]]*", "*test_both[[]api-8[]]*"])

    def test_a_test_without_the_marker_has_no_cell(self, tiny_project: TinyProject) -> None:
        tiny_project.write("perf_tests/test_new.py", "def test_new(perf_cell):\n    pass\n")
        result = tiny_project.run("perf_tests/test_new.py")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert "takes 'perf_cell' but has no marker 'perf_target'" in result.stdout.str()

    def test_a_performance_test_elsewhere_names_what_is_missing(self, tiny_project: TinyProject) -> None:
        tiny_project.write("unit_tests/test_cells.py", "def test_api(perf_cell):\n    perf_cell.check()\n")
        result = tiny_project.run("unit_tests/test_cells.py")
        result.assert_outcomes(errors=1)
        assert (
            "lies in none of the folders that perf_paths names (perf_tests); write: pytest perf_tests"
            in result.stdout.str()
        )


class TestAsAProcess:
    """What only a pytest of its own shows: that the entry point alone loads the plugin, and the exit status."""

    def test_a_slowdown_is_caught(self, tiny_project: TinyProject) -> None:
        tiny_project.accept()
        tiny_project.plan({API_1: 100.0 / 3})
        slower = tiny_project.run_as_process("perf_tests", "--benchmark-compare")
        assert slower.ret == 1
        assert table_of(slower) == {MODEL_8: "PASS", API_1: "REGRESSED", API_8: "REGRESSED"}

    def test_ctrl_c_while_measuring_ends_the_run_without_a_traceback(self, tiny_project: TinyProject) -> None:
        tiny_project.plan(interrupt="Ctrl-C")
        result = tiny_project.run_as_process("perf_tests")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["*KeyboardInterrupt: Ctrl-C*"])
        assert "PytestBenchmarkWarning" not in result.stdout.str() + result.stderr.str()


class TestHelp:
    """`pytest --help` lists everything."""

    def test_every_option_has_an_ini_twin(self, tiny_project: TinyProject) -> None:
        shown = tiny_project.run("--help").stdout.str()
        one_run_only = {"--perf-versus", "--perf-allow", "--perf-server-url", "--perf-server-ca"}
        flags = set(re.findall(r"--perf-[a-z-]+(?==)", shown)) - one_run_only
        assert {"--perf-cells", "--perf-processes", "--perf-margin-percent"} <= flags
        for flag in flags:
            assert re.search(rf"^  {flag[2:].replace('-', '_')} \(string\)", shown, re.MULTILINE), flag
        assert "--perf-accept" in shown
        assert "--perf-strict" in shown
