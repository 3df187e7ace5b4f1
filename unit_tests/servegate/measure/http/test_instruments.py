"""One cell through a real client on a real server."""

import sys
from pathlib import Path

import psutil
import pytest

from servegate.errors import MeasurementError, ProcessError
from servegate.load import client_processes
from servegate.load.engines import LoadEngine
from servegate.load.workload import Workload
from servegate.measure.cell_load import CellLoad
from servegate.measure.http.instruments import ServerInstrument
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Sample
from unit_tests.builders import stub_server

DELAY_S = stub_server.DELAY_S


class TestServerInstrument:
    """A cell's value is the concurrency of a real client."""

    def measure(self, server: ServerProcess, mode: str, cell: Cell, seconds: float, warmup_s: float = 0.1) -> Sample:
        workload = Workload(f"/predict/{mode}", b"{}", expected=stub_server.ANSWER)
        with LoadEngine().start() as clients:
            instrument = ServerInstrument(
                server, clients, lambda cell: CellLoad(workload, int(cell.value)), warmup_s, details={}
            )
            return instrument.measure(cell, seconds)

    def test_a_sample_holds_what_client_and_server_did(self, stub: ServerProcess) -> None:
        sample = self.measure(stub, "right", Cell("api", "concurrency", 2), 0.5)
        assert 0.5 * 2 / DELAY_S < sample.throughput_per_s <= 2 / DELAY_S
        assert sample.units_per_round % 2 == 0
        assert DELAY_S * 1e3 - 5 <= sample.latency.p50_ms <= max(sample.latencies_ms)
        assert (sample.failures, sample.success_rate) == ((), 1.0)
        assert sample.answers >= 5
        assert len(sample.client_cores) == 1
        assert sample.client_cores[0] > 0
        memory_bytes = psutil.Process(stub.process.pid).memory_info().rss
        assert sample.telemetry is not None
        assert sample.telemetry.gauges["memory_bytes"] == pytest.approx(memory_bytes, rel=0.1)

    def test_failures_are_no_throughput(self, stub: ServerProcess) -> None:
        sample = self.measure(stub, "sometimes-wrong", Cell("api", "concurrency", 2), 60)
        assert sample.rounds_s == ()
        assert sample.failures[0] == "answer.predictions[0].label is 'Dog', expected 'Cat'"
        assert sample.answers > len(sample.failures) >= 5

    def test_the_clients_deadline_leaves_the_time_that_was_asked_for(
        self, stub: ServerProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever --perf-seconds says, the client isn't killed while it measures."""
        monkeypatch.setattr(client_processes, "_DEADLINE_S", 1.5)
        sample = self.measure(stub, "right", Cell("api", "concurrency", 2), 2.0)
        assert sample.failures == ()

    def test_too_few_answers_are_an_error_that_names_the_cell(self, stub: ServerProcess) -> None:
        """The server needs 1 s for an answer; within eight times the asked 0.05 s there are none."""
        message = r"api\[concurrency=2\]: \d answers were too few to measure; .*too short"
        with pytest.raises(MeasurementError, match=message):
            self.measure(stub, "slow", Cell("api", "concurrency", 2), 0.05, warmup_s=0.0)

    def test_a_server_that_dies_is_an_error_and_not_a_wrong_answer(self) -> None:
        command = [sys.executable, stub_server.__file__]
        with (
            ServerProcess(command, cwd=Path.cwd(), ready_deadline_s=60.0) as server,
            pytest.raises(ProcessError, match=r"the server died while api\[concurrency=2\] was measured"),
        ):
            self.measure(server, "dies", Cell("api", "concurrency", 2), 60)
