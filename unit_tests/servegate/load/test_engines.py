"""Load by Locust: one master and two workers on this machine give one record."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from servegate.errors import SettingsError
from servegate.load import engines
from servegate.load.engines import LoadEngine
from servegate.load.locust_cpu import cpu_cores
from servegate.load.workload import Workload
from servegate.measure.http.instruments import ServerInstrument
from servegate.measure.http.service import HttpService
from servegate.measure.http.targets import HttpTarget, open_server_instrument
from servegate.processes.server import ServerProcess
from servegate.records import Cell
from unit_tests.builders import stub_server
from unit_tests.builders.gate_settings import INI, SETTINGS, read_settings
from unit_tests.builders.targets import make_conditions

LOCUST = LoadEngine("locust", workers=2)


def workload(mode: str) -> Workload:
    return Workload(f"/predict/{mode}", b"{}", {"Content-Type": "application/json"}, stub_server.ANSWER)


@contextmanager
def load_by_locust(stub: ServerProcess, mode: str, warmup_s: float) -> Iterator[ServerInstrument]:
    target = HttpTarget("api", HttpService(["the stub"], session_fixture="stub"), workload(mode))
    conditions = replace(make_conditions(warmup_s), session_server=lambda _: stub)
    with open_server_instrument(target, conditions, LOCUST) as instrument:
        yield instrument


class TestLocust:
    """Real Locust on the stub server."""

    def test_master_and_workers_give_one_record(self, stub: ServerProcess) -> None:
        """Six connections that wait 0.15 s for each answer, twice in a row on the same workers."""
        with load_by_locust(stub, "right", 0.3) as instrument:
            for _ in range(2):
                sample = instrument.measure(Cell("api", "concurrency", 6), 1.0)
                assert sample.failures == ()
                assert 10 < sample.throughput_per_s < 6 / stub_server.DELAY_S + 1
                assert sample.latency.p50_ms >= stub_server.DELAY_S * 1e3
                assert sample.answers >= 13
                assert len(sample.client_cores) == 2

    @pytest.mark.parametrize(
        ("mode", "message"),
        [
            ("sometimes-wrong", r"label is 'Dog', expected 'Cat'"),
            pytest.param("sometimes-500", "status 500: no memory left", marks=pytest.mark.slow),
        ],
    )
    def test_every_answer_is_checked(self, stub: ServerProcess, mode: str, message: str) -> None:
        with load_by_locust(stub, mode, 0.1) as instrument:
            sample = instrument.measure(Cell("api", "concurrency", 4), 0.5)
        assert sample.rounds_s == ()
        assert any(message in failure for failure in sample.failures)


class TestOptions:
    """How it is chosen."""

    def test_the_built_in_client_is_the_default(self, pytester: pytest.Pytester) -> None:
        assert read_settings(pytester).measuring.engine == LoadEngine("builtin", 2, 0, "", None)

    def test_locust_with_workers_elsewhere(self, pytester: pytest.Pytester) -> None:
        options = ("--perf-load-engine=locust", "--perf-locust-remote-workers=3", "--perf-locust-bind=0.0.0.0:5557")
        assert read_settings(pytester, *options).measuring.engine == LoadEngine("locust", 2, 3, "0.0.0.0:5557")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--perf-load-engine=wrk"], "must be builtin or locust"),
            (["--perf-load-engine=locust", "--perf-locust-workers=0"], "needs a worker"),
            (["--perf-load-engine=locust", "--perf-locust-remote-workers=1"], "--perf-locust-bind=0.0.0.0:5557"),
            (["--perf-locust-bind=5557"], "must look like 0.0.0.0:5557"),
            *(
                ([f"--perf-load-processes={text}"], f"--perf-load-processes='{text}': must be auto or .* from 1 to 64")
                for text in ("0", "65", "-1", "1.5", "two", "")
            ),
        ],
    )
    def test_what_makes_no_sense(self, pytester: pytest.Pytester, options: list[str], message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            read_settings(pytester, *options)

    def test_a_number_of_processes_is_taken_as_it_is(self, pytester: pytest.Pytester) -> None:
        """Whatever the number of connections; it is for the built-in client, which also Locust's runs need."""
        engine = read_settings(pytester, "--perf-load-processes=3", "--perf-load-engine=locust").measuring.engine
        assert engine == LoadEngine("locust", 2, processes=3)
        assert engine.builtin == LoadEngine(processes=3)
        assert [engine.builtin.processes_for(concurrency) for concurrency in (1, 8, 64)] == [3, 3, 3]
        assert engine.processes_for(64) == 1

    def test_the_ini_file_may_say_auto(self, pytester: pytest.Pytester) -> None:
        for text, processes in (("auto", None), ("2", 2)):
            settings = read_settings(pytester, ini=f"{INI}perf_load_processes = {text}\n")
            assert settings.measuring.engine.processes == processes

    @pytest.mark.parametrize(
        ("cores", "concurrency", "processes"),
        [
            *((cores, 64, 1) for cores in (1, 2, 4, 7)),
            *((96, concurrency, 1) for concurrency in (1, 4, 7)),
            (8, 8, 2),
            (8, 64, 2),
            (16, 12, 3),
            (16, 64, 4),
            (96, 24, 6),
            (96, 256, 8),
        ],
    )
    def test_a_choice_is_by_cores_and_connections(
        self, monkeypatch: pytest.MonkeyPatch, cores: int, concurrency: int, processes: int
    ) -> None:
        monkeypatch.setattr(engines, "cpu_count", lambda: cores)
        assert LoadEngine().processes_for(concurrency) == processes

    @pytest.mark.parametrize(
        ("engine", "cores", "said"),
        [
            (LoadEngine(), 4, "1"),
            (LoadEngine(), 16, "by concurrency, at most 4"),
            (LoadEngine(processes=1), 16, "1"),
            (LoadEngine(processes=4), 2, "4"),
            (LoadEngine("locust", 2, 3, processes=4), 2, "Locust, 2 here, 3 elsewhere"),
        ],
    )
    def test_it_is_recorded(self, monkeypatch: pytest.MonkeyPatch, engine: LoadEngine, cores: int, said: str) -> None:
        monkeypatch.setattr(engines, "cpu_count", lambda: cores)
        measuring = replace(SETTINGS.measuring, engine=engine)
        assert measuring.details["load processes"] == said

    def test_without_locust_it_says_what_to_install(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engines, "find_spec", lambda _: None)
        with pytest.raises(SettingsError, match=r"pip install 'servegate\[locust\]'"):
            read_settings(pytester, "--perf-load-engine=locust")


def test_a_workers_cpu_is_that_between_the_two_moments() -> None:
    samples = [(0.0, 0.0), (1.0, 0.9), (1.25, 1.0), (2.0, 1.3), (2.25, 1.4), (9.0, 8.0)]
    assert cpu_cores(samples, 1.25, 2.0) == pytest.approx((1.4 - 0.9) / 1.25)
    assert cpu_cores(samples, 5.0, 6.0) == 0.0


def test_only_what_loads_by_locust_imports_it() -> None:
    """It replaces Python's sockets and threads as it is imported."""
    program = "import sys, servegate.plugin; sys.exit('locust' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
