"""Options and their ini twins: what is read, what is refused, and with which words."""

import re
from pathlib import Path

import pytest

from servegate.errors import SettingsError
from servegate.findings.doubts import ADVICE
from servegate.judging.absolute.latency_limits import LatencyLimits
from servegate.judging.figures.kinds import COST, TAIL
from servegate.judging.policy import Policy
from servegate.options.catalogue import MIN_ACCEPTED_PROCESSES, OPTIONS
from servegate.storage.environments import EnvironmentRecipe
from unit_tests.builders.gate_settings import INI, read_settings
from unit_tests.builders.tiny_project import TinyProject


class TestReading:
    """The command line goes before pytest.ini, and that before the defaults."""

    def test_defaults(self, pytester: pytest.Pytester) -> None:
        settings = read_settings(pytester, ini="[pytest]\n")
        assert settings.root == pytester.path
        assert settings.cells == {}
        assert settings.files.paths == (pytester.path / "perf_tests",)
        assert settings.files.baselines == pytester.path / "perf_tests" / "baselines"
        assert (settings.measuring.processes, settings.measuring.seconds, settings.measuring.warmup_seconds) == (
            3,
            5.0,
            1.0,
        )
        assert (settings.project.service, settings.project.lock, settings.project.packages) == (
            "service",
            "requirements.lock",
            (),
        )
        assert settings.project.recipe == EnvironmentRecipe("requirements.lock", command="", is_shared=False)
        assert settings.project.carried == ()
        assert (settings.judging.is_judged, settings.judging.is_strict, settings.is_accepting) == (False, False, False)
        assert settings.judging.policy(groups=2, cells=8) == Policy(groups=2, cells=8)

    def test_the_other_commits_environment_and_files_are_the_projects(self, pytester: pytest.Pytester) -> None:
        """A command keeps its spaces and braces."""
        command = "VENV={folder} make-environment --lock {lock}  # ${HOME}"
        ini = f"[pytest]\nperf_lock = uv.lock\nperf_environment = {command}\nperf_carry = weights.npz data/\n"
        project = read_settings(pytester, "--perf-same-env", ini=ini).project
        assert project.recipe == EnvironmentRecipe("uv.lock", command, is_shared=True)
        assert project.carried == ("weights.npz", "data/")
        given = read_settings(pytester, "--perf-carry=model/ words.txt", ini=ini).project
        assert given.carried == ("model/", "words.txt")

    def test_pytest_ini_replaces_the_defaults(self, pytester: pytest.Pytester) -> None:
        more = (
            "perf_paths = speed more/speed\nperf_baselines = stored\nperf_packages = torch timm\nperf_seconds = 2.5\n"
        )
        settings = read_settings(pytester, ini=INI + more)
        assert settings.cells == {"model": (1, 8), "api": (1, 8, 32)}
        assert (settings.measuring.processes, settings.measuring.seconds, settings.judging.margin) == (4, 2.5, 0.05)
        assert settings.files.paths == (pytester.path / "speed", pytester.path / "more" / "speed")
        assert settings.files.baselines == pytester.path / "stored"
        assert settings.project.packages == ("torch", "timm")

    def test_the_command_line_goes_before_pytest_ini(self, pytester: pytest.Pytester) -> None:
        options = ("--perf-processes=6", "--perf-margin-percent", "10", "--perf-error-percent=5", "--perf-seconds=0.5")
        settings = read_settings(pytester, *options)
        assert (settings.measuring.processes, settings.judging.margin) == (6, 0.10)
        assert (settings.judging.error_level, settings.measuring.seconds) == (0.05, 0.5)

    def test_groups_and_cells_may_have_margins_of_their_own(self, pytester: pytest.Pytester) -> None:
        judging = read_settings(pytester, "--perf-margin-percent=2 api=3 api[32]=4").judging
        assert (judging.margin, judging.margins) == (0.02, {"api": 0.03, "api[32]": 0.04})
        assert judging.policy(groups=1, cells=1).margin_of("api") == 0.03

    @pytest.mark.parametrize("name", ["spi", "api[64]"])
    def test_a_margin_of_something_that_is_not_measured_is_refused(self, pytester: pytest.Pytester, name: str) -> None:
        with pytest.raises(SettingsError, match=re.escape(f"--perf-margin-percent: {name} is no group or cell of")):
            read_settings(pytester, f"--perf-margin-percent=2 {name}=3")

    def test_figures_may_have_margins_of_their_own_and_be_switched_off(self, pytester: pytest.Pytester) -> None:
        judging = read_settings(pytester, "--perf-figures=cost=8 api.tail=off", "--perf-error-percent=2").judging
        policy = judging.figure_policy
        assert (policy.margin_of(COST, "api"), policy.margin_of(COST, "model")) == (0.08, 0.08)
        assert (policy.margin_of(TAIL, "api"), policy.margin_of(TAIL, "model")) == (None, 0.2)
        assert (policy.error_level, policy.first_pairs) == (0.02, judging.looks[0])

    @pytest.mark.parametrize(("looks", "first_pairs"), [("4 8", 4), ("10 20", 8)])
    def test_a_figures_own_look_is_not_lost_where_throughput_has_its_first_later(
        self, pytester: pytest.Pytester, looks: str, first_pairs: int
    ) -> None:
        """A figure that is decided at its look takes no further values."""
        assert read_settings(pytester, f"--perf-pairs={looks}").judging.figure_policy.first_pairs == first_pairs

    def test_the_ini_file_may_name_a_cell_that_the_command_line_leaves_out(self, pytester: pytest.Pytester) -> None:
        ini = f"{INI}perf_figures = api[32].tail=off\n"
        judging = read_settings(pytester, "--perf-cells=api=1", ini=ini).judging
        assert judging.figures["api[32].tail"] is None

    @pytest.mark.parametrize("name", ["spi.tail=3", "api[64].tail=off"])
    def test_a_figure_of_something_that_is_not_measured_is_refused(self, pytester: pytest.Pytester, name: str) -> None:
        where = name.rpartition(".")[0]
        with pytest.raises(SettingsError, match=re.escape(f"--perf-figures: {where} is no group or cell of")):
            read_settings(pytester, f"--perf-figures={name}")

    def test_cells_of_the_command_line_replace_only_the_groups_they_name(self, pytester: pytest.Pytester) -> None:
        assert read_settings(pytester, "--perf-cells=api=64").cells == {"model": (1, 8), "api": (64,)}
        assert read_settings(pytester, "--perf-cells=api=64").selected_groups == frozenset({"api"})
        assert read_settings(pytester).selected_groups is None
        assert read_settings(pytester, "--perf-cells=api=64 model=2").cells == {"model": (2,), "api": (64,)}

    def test_without_cells_in_pytest_ini_the_command_line_may_name_any(self, pytester: pytest.Pytester) -> None:
        assert read_settings(pytester, "--perf-cells=new=1,2", ini="[pytest]\n").cells == {"new": (1, 2)}

    def test_no_group_only_informs_unless_it_is_named(self, pytester: pytest.Pytester) -> None:
        assert read_settings(pytester).informing == frozenset()
        assert read_settings(pytester, ini=INI + "perf_informing = api model\n").informing == {"api", "model"}
        assert read_settings(pytester, "--perf-informing=api").informing == {"api"}

    def test_compare_judges_and_strict_goes_with_it(self, pytester: pytest.Pytester) -> None:
        settings = read_settings(pytester, "--benchmark-compare", "--perf-strict")
        assert (settings.judging.is_judged, settings.judging.is_strict, settings.is_accepting) == (True, True, False)

    @pytest.mark.parametrize(("options", "processes"), [((), MIN_ACCEPTED_PROCESSES), (("--perf-processes=12",), 12)])
    def test_accepting_measures_enough_processes(
        self, pytester: pytest.Pytester, options: tuple[str, ...], processes: int
    ) -> None:
        """More than pytest.ini says for a run that only judges."""
        assert read_settings(pytester, "--perf-accept", *options).measuring.processes == processes

    def test_how_cells_are_measured_is_recorded(self, pytester: pytest.Pytester) -> None:
        measuring = read_settings(pytester, "--perf-seconds=2.5").measuring.details
        assert measuring["seconds a cell"] == "2.5"
        assert measuring["warm-up seconds"] == "1"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ((), "measure, not judged; 4 fresh processes, 5 s a cell; margin 5 %, error 0.01"),
            (("--benchmark-compare", "--perf-strict"), "judge, strict; 4 fresh processes"),
            (("--perf-accept",), "accept a baseline; 8 fresh processes"),
        ],
    )
    def test_one_line_says_what_the_run_does(
        self, pytester: pytest.Pytester, options: tuple[str, ...], words: str
    ) -> None:
        assert words in read_settings(pytester, *options).describe()


class TestWrongValues:
    """An error names the value and where it came from."""

    @pytest.mark.parametrize(
        ("name", "value", "why"),
        [
            ("perf_processes", "0", "must lie in 1..1000"),
            ("perf_processes", "3.5", "invalid literal for int"),
            ("perf_processes", "many", "invalid literal for int"),
            ("perf_seconds", "0", "must lie in 0.1..3600"),
            ("perf_seconds", "nan", "must lie in 0.1..3600"),
            ("perf_seconds", "five", "could not convert string to float"),
            ("perf_warmup_seconds", "-1", "must lie in 0..600"),
            ("perf_margin_percent", "100", "must lie in 0.1..90"),
            ("perf_error_percent", "0", "must lie in 0.01..50"),
            ("perf_error_percent", "inf", "must lie in 0.01..50"),
            ("perf_figures", "speed=8", "must look like cost=8"),
            ("perf_figures", "cost=-1", "must lie in"),
            ("perf_turn_seconds", "0.1", "must lie in 0.5..600"),
            ("perf_cells", "model", "must look like model=1,8 api=1,8,32"),
            ("perf_cells", "model=", "must look like"),
            ("perf_cells", "=1,8", "must look like"),
            ("perf_cells", "model=1 model=8", "each group once"),
            ("perf_cells", "model=1,x", "must be different whole numbers above 0, or different names"),
            ("perf_cells", "photo=a,a", "must be different whole numbers above 0, or different names"),
            ("perf_cells", "photo=a.b", "must be different whole numbers above 0, or different names"),
            ("perf_cells", "model=1,0", "must be different whole numbers above 0"),
            ("perf_cells", "model=8,8", "must be different whole numbers above 0"),
        ],
    )
    def test_a_wrong_value_is_refused(self, pytester: pytest.Pytester, name: str, value: str, why: str) -> None:
        flag = "--" + name.replace("_", "-")
        with pytest.raises(SettingsError) as on_the_command_line:
            read_settings(pytester, f"{flag}={value}")
        assert str(on_the_command_line.value).startswith(f"{flag}={value!r}: ")
        assert why in str(on_the_command_line.value)
        with pytest.raises(SettingsError) as in_the_ini:
            read_settings(pytester, ini=f"[pytest]\n{name} = {value}\n")
        assert str(in_the_ini.value).startswith(f"{name} in {pytester.path / 'pytest.ini'}={value!r}: ")
        assert why in str(in_the_ini.value)

    @pytest.mark.parametrize(
        ("lock", "message"),
        [
            ("pyproject.toml", "it names packages but pins none"),
            ("backend/uv.lock", "as in: perf_environment = UV_PROJECT_ENVIRONMENT={folder} uv sync"),
            ("poetry.lock", "as in: perf_environment = python -m venv {folder}"),
        ],
    )
    def test_a_lock_file_that_pip_cannot_install_needs_a_command(
        self, pytester: pytest.Pytester, lock: str, message: str
    ) -> None:
        """Else the run would fail on the day on which the file first differs."""
        ini = f"[pytest]\nperf_lock = {lock}\n"
        with pytest.raises(SettingsError, match=re.escape(message)):
            read_settings(pytester, ini=ini)
        assert read_settings(pytester, "--perf-same-env", ini=ini).project.recipe.is_shared
        assert read_settings(pytester, ini=f"{ini}perf_environment = make it\n").project.lock == lock

    def test_all_wrong_values_are_told_at_once(self, pytester: pytest.Pytester) -> None:
        ini = "[pytest]\nperf_processes = many\nperf_seconds = 0\nperf_blocks = 4\n"
        with pytest.raises(SettingsError) as raised:
            read_settings(pytester, "--perf-margin-percent=100", ini=ini)
        margin, processes, seconds = str(raised.value).splitlines()
        assert margin.startswith("--perf-margin-percent='100': ")
        assert processes.startswith("perf_processes in ")
        assert seconds.startswith("perf_seconds in ")

    @pytest.mark.parametrize("table", ["tool.pytest.ini_options", "tool.pytest"])
    def test_settings_that_another_ini_file_hides_are_refused(self, pytester: pytest.Pytester, table: str) -> None:
        (pytester.path / "pyproject.toml").write_text(f'[{table}]\nperf_margin_percent = "3"\nperf_cells = "a=1"\n')
        message = "sets perf_cells, perf_margin_percent, but pytest reads pytest.ini beside it"
        with pytest.raises(SettingsError, match=message):
            read_settings(pytester)
        # One that is named on the command line is chosen.
        assert read_settings(pytester, "-c", "pytest.ini").judging.margin == 0.05
        (pytester.path / "pyproject.toml").write_text("[tool.other]\nperf_cells = 1\n")
        assert read_settings(pytester).judging.margin == 0.05

    def test_wrong_cells_in_pytest_ini_are_refused_even_when_the_command_line_has_others(
        self, pytester: pytest.Pytester
    ) -> None:
        with pytest.raises(SettingsError, match=r"perf_cells in .*pytest.ini='model': must look like"):
            read_settings(pytester, "--perf-cells=api=8", ini="[pytest]\nperf_cells = model\n")

    def test_a_group_that_nobody_measures_is_refused(self, pytester: pytest.Pytester) -> None:
        """Else a typing error would measure all the other cells."""
        with pytest.raises(SettingsError, match="--perf-cells: there is no group 'apj', only 'model', 'api'"):
            read_settings(pytester, "--perf-cells=apj=8")

    @pytest.mark.parametrize("option", ["perf-slow-ms", "perf-slow-percent"])
    def test_a_limit_of_a_group_that_is_not_measured_is_refused(self, pytester: pytest.Pytester, option: str) -> None:
        """Else a typing error would let every answer be slow."""
        with pytest.raises(SettingsError, match=f"--{option}: apj is no group or cell of perf_cells"):
            read_settings(pytester, "--perf-slow-ms=250", f"--{option}=1 apj=2 api[8]=3")

    def test_a_share_of_slow_answers_needs_a_limit(self, pytester: pytest.Pytester) -> None:
        message = "--perf-slow-percent: perf_slow_percent needs perf_slow_ms; set that, too"
        with pytest.raises(SettingsError, match=message):
            read_settings(pytester, "--perf-slow-percent=1")
        for name in ("model", "model[8]", "api[1]"):
            message = re.escape(f"--perf-slow-percent: perf_slow_percent of {name} needs perf_slow_ms")
            with pytest.raises(SettingsError, match=message):
                read_settings(pytester, f"--perf-slow-percent=1 {name}=5", "--perf-slow-ms=api[8]=250")
        limits = read_settings(
            pytester, "--perf-slow-percent=1 api=5", "--perf-slow-ms=api[8]=250"
        ).judging.latency_limits
        assert limits == LatencyLimits({"api[8]": 250.0}, {"": 0.01, "api": 0.05})

    def test_a_group_that_is_not_measured_cannot_inform(self, pytester: pytest.Pytester) -> None:
        """Else a typing error would have it judged."""
        with pytest.raises(SettingsError, match="--perf-informing: there is no group 'modl', only 'model', 'api'"):
            read_settings(pytester, "--perf-informing=modl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--perf-accept", "--benchmark-compare"), "--perf-accept stores a baseline; leave out --benchmark-compare"),
        (("--perf-accept", "--perf-strict"), "--perf-strict judges nothing without --benchmark-compare"),
        (("--perf-strict",), "--perf-strict judges nothing without --benchmark-compare"),
        (("--perf-accept", "--perf-processes=7"), "--perf-processes=7: a baseline needs at least 8 fresh processes"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    pytester: pytest.Pytester, options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings(pytester, *options)


class TestUsage:
    """Command lines that would measure nothing or nonsense end at once, with the command that was meant."""

    @pytest.mark.parametrize(
        ("arguments", "meant"),
        [
            ("--benchmark-compare perf_tests", "write: pytest perf_tests --benchmark-compare"),
            (
                "--benchmark-compare perf_tests/test_cells.py::test_api",
                "write: pytest perf_tests/test_cells.py::test_api --benchmark-compare",
            ),
            ("--benchmark-compare unit_tests", "write: pytest unit_tests --benchmark-compare"),
            ("--benchmark-compare", "write: pytest perf_tests --benchmark-compare"),
            ("unit_tests --benchmark-compare", "write: pytest perf_tests --benchmark-compare"),
            ("unit_tests --perf-accept", "write: pytest perf_tests --perf-accept"),
            ("perf_tests -n 2", "write: pytest perf_tests  (without -n and --dist)"),
            ("perf_tests -n 2 --benchmark-compare", "write: pytest perf_tests --benchmark-compare  (without -n"),
            ("perf_tests --dist loadgroup", "write: pytest perf_tests  (without -n and --dist)"),
            ("perf_tests --benchmark-disable", "write: pytest perf_tests  (without --benchmark-disable)"),
            ("perf_tests -p no:benchmark", "write: pytest perf_tests  (without -p no:benchmark)"),
            ("perf_tests -p no:benchmark --perf-accept", "write: pytest perf_tests --perf-accept  (without -p no:"),
            ("perf_tests --benchmark-skip", "write: pytest perf_tests  (without --benchmark-skip)"),
            ("perf_tests --benchmark-compare=0001", "is found by itself; write: pytest perf_tests --benchmark-compare"),
            (
                "perf_tests --benchmark-compare --benchmark-compare-fail=mean:5%",
                "write: pytest perf_tests --benchmark-compare  (without --benchmark-compare-fail)",
            ),
            ("perf_tests/test_cells.py::test_api -n 2", "write: pytest perf_tests/test_cells.py::test_api  (without"),
            ("unit_tests perf_tests -n 2", "write: pytest perf_tests  (without"),
        ],
    )
    def test_refused_with_the_right_command(self, tiny_project: TinyProject, arguments: str, meant: str) -> None:
        result = tiny_project.run(*arguments.split())
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert meant in result.stderr.str()
        assert "Traceback" not in result.stdout.str() + result.stderr.str()
        assert tiny_project.measured == []

    @pytest.mark.parametrize("mode", ["--perf-versus=HEAD", "--benchmark-compare", "--perf-accept"])
    def test_a_service_that_is_not_there_is_named_with_its_setting(self, tiny_project: TinyProject, mode: str) -> None:
        """Else every commit would count as one from before there was a service, and pass."""
        tiny_project.commit()
        result = tiny_project.run("perf_tests", mode, "--perf-service=backend")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"perf_service = backend: there is no such folder or file in {tiny_project.root}" in result.stderr.str()
        tiny_project.run("perf_tests", "--perf-service=backend").assert_outcomes(passed=3)

    @pytest.mark.parametrize("option", ["-c", "--config-file", "--rootdir"])
    @pytest.mark.parametrize("mode", [[], ["--benchmark-compare"]])
    def test_another_root_is_named_and_not_the_command_that_was_typed(
        self, tiny_project: TinyProject, tmp_path: Path, option: str, mode: list[str]
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "pytest.ini").write_text("[pytest]\n")
        value = elsewhere if option == "--rootdir" else elsewhere / "pytest.ini"
        result = tiny_project.run("perf_tests", option, str(value), *mode)
        said = result.stdout.str() + result.stderr.str()
        assert f"are looked for below this run's root, {elsewhere}; leave out --rootdir and -c" in said
        assert "write: pytest perf_tests" not in said
        assert tiny_project.measured == []

    @pytest.mark.parametrize(
        "path", ["perf_tests", "./perf_tests", "unit_tests/../perf_tests", "perf_tests/test_cells.py"]
    )
    def test_performance_tests_are_recognised_however_their_path_is_written(
        self, tiny_project: TinyProject, path: str
    ) -> None:
        tiny_project.run(path).assert_outcomes(passed=3)
        tiny_project.run(str(tiny_project.root / path)).assert_outcomes(passed=3)

    def test_a_link_to_the_project_is_the_project(self, tiny_project: TinyProject, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(tiny_project.root)
        tiny_project.run(str(link / "perf_tests")).assert_outcomes(passed=3)

    @pytest.mark.parametrize("options", ["-n 2", "--benchmark-disable", "--benchmark-skip", "-p no:benchmark", ""])
    def test_unit_tests_may_run_as_they_like(self, tiny_project: TinyProject, options: str) -> None:
        """In parallel, too: only performance tests need the machine for themselves."""
        result = tiny_project.run("unit_tests", *options.split())
        result.assert_outcomes(passed=1)
        assert "servegate: " not in result.stdout.str()


def test_the_looks_are_the_same_wherever_they_are_written() -> None:
    """The option's default, the policy's and what an INCONCLUSIVE run is advised to plan more of."""
    looks = Policy().looks
    (option,) = [option for option in OPTIONS if option.name == "perf_pairs"]
    assert option.parse(option.default) == looks
    assert f"'{' '.join(map(str, looks))} " in ADVICE
