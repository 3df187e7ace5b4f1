"""The plugin in runs that measure nothing: it costs them nothing and does them no harm."""

import signal
import subprocess
import sys

import pytest

from unit_tests.builders.tiny_project import TinyProject


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_loading_it_imports_its_options_and_nothing_heavy() -> None:
    """Each of these takes a noticeable part of a second."""
    heavy = {"aiohttp", "jinja2", "loky", "matplotlib", "numpy", "psutil", "pynvml", "ruptures", "scipy"}
    result = run_python(f"import sys, servegate.plugin; print(*sorted({heavy} & sys.modules.keys()))")
    assert (result.returncode, result.stdout.strip()) == (0, "")


def test_the_load_client_imports_no_statistics() -> None:
    result = run_python("import sys, servegate.load.client; sys.exit('scipy' in sys.modules)")
    assert result.returncode == 0, result.stderr


def test_where_modules_of_unix_are_missing_it_loads_all_the_same() -> None:
    """As on Windows."""
    result = run_python("import sys; sys.modules.update(fcntl=None, resource=None); import servegate.plugin")
    assert result.returncode == 0, result.stderr


def test_where_processes_cannot_be_paused_performance_tests_say_so_and_others_run(
    tiny_project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(signal, "SIGSTOP")
    tiny_project.run("unit_tests").assert_outcomes(passed=1)
    result = tiny_project.run("perf_tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "servegate pauses the processes that it compares" in result.stderr.str()
    assert "run performance tests on Linux or macOS" in result.stderr.str()
    assert tiny_project.measured == []


def test_a_run_in_a_project_without_performance_tests_measures_nothing(pytester: pytest.Pytester) -> None:
    """`pytest` alone, in the root: the folder of performance tests would lie below it, if there were one."""
    pytester.makepyfile("import sys\n\ndef test_unit():\n    assert 'servegate.session.hooks' not in sys.modules\n")
    result = pytester.runpytest_subprocess("-p", "no:xdist")
    result.assert_outcomes(passed=1)
    assert "servegate: " not in result.stdout.str()
