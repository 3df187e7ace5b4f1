"""`python -m perf_tests.calibration`, `make calibrate`: measure the gate itself, and write its certificate.

Pairs of fresh processes and live whole runs are recorded in turn until the budget ends; a record grows from call to
call, and an interrupted call loses the pair that it was at. With a budget of 0 only the certificate is written again.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from perf_tests.calibration.certify import certify
from perf_tests.calibration.gate_of import ask_gate
from perf_tests.calibration.live import RUNS, RunRecord, read_runs, record_run
from perf_tests.calibration.page import write_page
from perf_tests.calibration.pairs import PAIRS, PairRecord, append_pair, read_pairs
from perf_tests.calibration.record import KINDS, record_pair
from perfgate.checkout import identify
from perfgate.errors import PerfgateError
from perfgate.machine import read_fingerprint
from perfgate.versus import Schedule

_ROOT = Path(__file__).parents[2]
_RECORDS = Path(__file__).parent / "records"
_LEAST_PAIRS = 3
# What is recorded first, live runs before pairs of their kind since they give pairs, too; beyond that more pairs.
_PAIRS_OF_A_KIND = 12
_LIVE_RUNS = {"same": 12, "predict+10%": 3}


def main(arguments: list[str]) -> int:
    """Returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf_tests.calibration", description=__doc__)
    parser.add_argument("--budget-min", type=float, default=60.0, help="minutes of recording (%(default)g)")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="pairs to record")
    parser.add_argument("--records", type=Path, default=_RECORDS, help="folder of the records (%(default)s)")
    options = parser.parse_args(arguments)
    folder: Path = options.records / read_fingerprint((), {}).machine_class
    try:
        _record(folder, options.kinds, options.budget_min * 60)
        _certify(folder)
    except PerfgateError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was recorded before is kept", file=sys.stderr)
        return 130
    return 0


def _record(folder: Path, kinds: list[str], budget_s: float) -> None:
    settings, cells = ask_gate(_ROOT)
    tree = identify(_ROOT, settings.service, settings.lock).service_tree
    recorded = Counter(pair.kind for pair in _pairs_of(folder, tree, settings.schedule))
    ran = Counter(run.kind for run in _runs_of(folder, tree))
    end_s, longest_s = time.monotonic() + budget_s, 0.0
    while time.monotonic() + longest_s < end_s:
        start_s = time.monotonic()
        kind = min(kinds, key=lambda kind: recorded[kind])
        if recorded[kind] >= _PAIRS_OF_A_KIND:
            kind = next((name for name in kinds if ran[name] < _LIVE_RUNS.get(name, 0)), kind)
        if ran[kind] < _LIVE_RUNS.get(kind, 0):
            record_run(folder, _ROOT, kind, settings, _say)
            ran[kind] += 1
            recorded = Counter(pair.kind for pair in _pairs_of(folder, tree, settings.schedule))
        else:
            append_pair(folder / PAIRS, record_pair(_ROOT, tree, kind, cells, settings.schedule, _say))
            recorded[kind] += 1
            _say(f"{kind}: pair {recorded[kind]} took {time.monotonic() - start_s:.0f} s")
        longest_s = max(longest_s, time.monotonic() - start_s)


def _certify(folder: Path) -> None:
    settings, cells = ask_gate(_ROOT)
    checkout = identify(_ROOT, settings.service, settings.lock)
    pairs = _pairs_of(folder, checkout.service_tree, settings.schedule)
    if sum(pair.kind == "same" for pair in pairs) < _LEAST_PAIRS:
        _say(f"no certificate yet: it needs {_LEAST_PAIRS} pairs of identical code at least")
        return
    runs = _runs_of(folder, checkout.service_tree)
    certificate = {
        "machine_class": folder.name,
        "service_tree": checkout.service_tree,
        "commit": checkout.commit,
        **certify(pairs, runs, settings.policy(gated_cells=len(cells)), settings.budget_minutes),
    }
    (folder / "certificate.json").write_text(json.dumps(certificate, indent=1) + "\n")
    write_page(folder / "certificate.html", certificate)
    _say(f"certificate: {folder / 'certificate.html'}")


def _pairs_of(folder: Path, service_tree: str, schedule: Schedule) -> list[PairRecord]:
    """Those of this service by the schedule that the gate has now."""
    return [
        pair
        for pair in read_pairs(folder / PAIRS)
        if (pair.service_tree, pair.burst_s, pair.blocks) == (service_tree, schedule.burst_s, schedule.blocks)
    ]


def _runs_of(folder: Path, service_tree: str) -> list[RunRecord]:
    return [run for run in read_runs(folder / RUNS) if run.service_tree == service_tree]


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
