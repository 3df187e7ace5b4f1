"""The server ends its HTTP processes side by side, and what a killed one leaves behind keeps no worker waiting."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from litserve import LitServer

from service.app import build_server
from service.settings import load_settings
from service.transport import classifier_server
from service.transport.classifier_server import ClassifierServer


class _Process:
    """An HTTP process that needs some seconds of the clock to drain."""

    def __init__(self, number: int, drains_s: float, clock: "_Clock") -> None:
        self._number, self._drains_s, self._clock = number, drains_s, clock
        self._ends_s = float("inf")

    def is_alive(self) -> bool:
        return self._clock.now_s < self._ends_s

    def terminate(self) -> None:
        self._clock.calls.append(f"terminate {self._number}")
        self._ends_s = self._clock.now_s + self._drains_s

    def join(self, timeout: float) -> None:
        self._clock.calls.append(f"join {self._number}")
        self._clock.now_s = max(self._clock.now_s, min(self._clock.now_s + timeout, self._ends_s))

    def kill(self) -> None:
        self._clock.calls.append(f"kill {self._number}")
        self._ends_s = self._clock.now_s


class _Clock:
    """Stands still unless a process is waited for, and keeps what was done with the processes."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.calls: list[str] = []

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """The clock of a server that stops, and LitServe's part of that."""
    clock = _Clock()

    def end_workers(_: LitServer, manager: str, http_processes: dict[int, Any], reason: str) -> None:
        clock.calls.append(f"LitServe ends {manager} and {http_processes}: {reason}")

    monkeypatch.setattr(classifier_server, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(LitServer, "_perform_graceful_shutdown", end_workers)
    return clock


@cache
def _built() -> ClassifierServer:
    # FastAPI keeps the endpoints of every application, and with them each server's open files: one for all tests.
    flags = ["--device", "cpu", "--api-processes", "3", "--stop-timeout-s", "20"]
    return build_server(load_settings(flags, "unit_tests"))


def _server(clock: _Clock, *drains_s: float) -> ClassifierServer:
    """A server whose HTTP processes need so many seconds each to drain."""
    server = _built()
    server.on_stopping = lambda: None
    server.http_processes = tuple(_Process(number, seconds, clock) for number, seconds in enumerate(drains_s))
    for number in range(len(drains_s)):
        server.table.open(number, is_open=True)
    return server


def test_all_http_processes_drain_at_the_same_time(clock: _Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The server waits for the slowest of them; LitServe gets none that it would wait for."""
    server = _server(clock, 19.0, 21.0, 2.0)
    server._perform_graceful_shutdown("the manager", {0: "a process"}, "keyboard_interrupt")  # type: ignore[arg-type]
    assert clock.calls == [
        *(f"terminate {number}" for number in range(3)),
        *(f"join {number}" for number in range(3)),
        "LitServe ends the manager and {}: keyboard_interrupt",
    ]
    assert clock.now_s == 121.0
    assert caplog.messages == []


def test_an_http_process_that_does_not_end_is_killed_some_seconds_after_uvicorns_timeout(
    clock: _Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """At its timeout uvicorn answers what is left, so the kill must come later. All have the same deadline."""
    server = _server(clock, 50.0, 1.0, 60.0)
    server._perform_graceful_shutdown("the manager", {}, "normal")  # type: ignore[arg-type]
    assert clock.calls[6:] == ["kill 0", "kill 2", "LitServe ends the manager and {}: normal"]
    assert clock.now_s == 125.0
    assert caplog.messages == [f"HTTP process {number} has not ended within 25 s: killed" for number in (0, 2)]


def test_whatever_stops_the_server_nothing_is_taken_for_a_fault_any_more(clock: _Clock) -> None:
    """No signal has come where LitServe's manager has died, and HTTP processes end all the same."""
    server = _server(clock, 1.0, 1.0, 1.0)
    server.on_stopping = lambda: clock.calls.append("supervision stops")
    server._perform_graceful_shutdown("the manager", {}, "normal")  # type: ignore[arg-type]
    assert clock.calls[:2] == ["supervision stops", "terminate 0"]


def test_a_killed_http_process_keeps_no_worker_waiting(clock: _Clock) -> None:
    """It could not say that it has no requests any more, and workers stay while one may have some."""
    server = _server(clock, 0.0, 60.0, 3.0)
    assert server.table.is_open
    server._perform_graceful_shutdown("the manager", {}, "normal")  # type: ignore[arg-type]
    assert not server.table.is_open
