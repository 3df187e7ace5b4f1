"""Arithmetic on the moments of requests: in turns, and in the time in which a paused process ran."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from servegate.load.server_timing import StageSpan

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# A turn is cut into windows; the slowest request of each counts.
_WINDOW_S = 0.5


def cut_turns(sent_s: Floats, ended_s: Floats, turns_s: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], ...]:
    """The latencies in ms of the requests that were sent in each window of each turn.

    Parameters
    ----------
    sent_s, ended_s:
        When each request was sent and answered, on the monotonic clock.
    turns_s:
        When the client sent requests.
    """
    windows_ms = []
    for began_s, ended_turn_s in turns_s:
        edges_s = np.append(np.arange(began_s, ended_turn_s - _WINDOW_S / 2, _WINDOW_S), ended_turn_s)
        for start_s, end_s in pairwise(edges_s):
            is_inside = (sent_s >= start_s) & (sent_s < end_s)
            windows_ms.append(tuple(((ended_s - sent_s)[is_inside] * 1e3).tolist()))
    return tuple(windows_ms)


def running_time(moments_s: Floats, ran_s: Floats) -> Floats:
    """Compute how many seconds a process had run at each moment.

    Parameters
    ----------
    moments_s:
        Times on the monotonic clock.
    ran_s:
        When it ran: (n, 2) beginnings and ends, in order.
    """
    ends_at_s = np.cumsum(ran_s[:, 1] - ran_s[:, 0])
    begins_at_s = np.concatenate([[0.0], ends_at_s[:-1]])
    run_s: Floats = np.interp(moments_s, ran_s.ravel(), np.column_stack([begins_at_s, ends_at_s]).ravel())
    return run_s


def without_pauses(spans: Sequence[StageSpan], ran_s: Floats) -> list[StageSpan]:
    """A request's stages in running time, see `running_time`; those whose end the service doesn't tell are left out."""
    unix_s = time.time() - time.monotonic()
    running = []
    for span in spans:
        if span.ended_at_s is not None:
            end_s = span.ended_at_s - unix_s
            began_at_s, ended_at_s = running_time(np.array([end_s - span.duration_s, end_s]), ran_s)
            running.append(replace(span, duration_s=float(ended_at_s - began_at_s)))
    return running


def share_out(began_s: Floats, ended_s: Floats, edges_s: Floats) -> list[float]:
    """Count the requests between neighbouring edges; a request counts by the share of its time that falls there.

    Parameters
    ----------
    began_s, ended_s:
        When each request began and ended.
    edges_s:
        n + 1 for n stretches.
    """
    inside_s = np.clip(edges_s[:, None], began_s, ended_s) - began_s
    shares = inside_s / np.maximum(ended_s - began_s, 1e-9)
    units: list[float] = np.diff(shares.sum(axis=1)).tolist()
    return units
