"""`python -m tools.calibration`, `make calibrate`: measure the gate itself, and write its certificate.

Pairs of fresh processes and live whole runs are recorded in turn until the budget ends; a record grows from call to
call, and an interrupted call loses the pair that it was at. With a budget of 0 only the certificate is written again.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from servegate.errors import ServegateError
from servegate.measure.side_by_side import Schedule
from servegate.storage.checkouts import identify
from servegate.telemetry.machine import read_fingerprint
from tools.calibration.attribution import (
    ATTRIBUTIONS,
    append_attribution,
    certify_attributions,
    read_attributions,
    record_attribution,
)
from tools.calibration.attribution import KIND as ATTRIBUTION
from tools.calibration.certify import certify
from tools.calibration.gate_settings import ask_gate
from tools.calibration.live import RUNS, RunRecord, read_runs, record_run
from tools.calibration.page import write_page
from tools.calibration.pairs import PAIRS, PairRecord, append_pair, read_pairs
from tools.calibration.record import KINDS, record_pair

_ROOT = Path(__file__).parents[2]
_RECORDS = Path(__file__).parent / "records"
_ALL_KINDS = (*KINDS, ATTRIBUTION)
_LEAST_PAIRS = 3
# What is recorded first, live runs before pairs of their kind since they give pairs, too; beyond that more pairs.
_PAIRS_OF_A_KIND = 12
_LIVE_RUNS = {"same": 12, "predict+10%": 3}


def main(arguments: list[str]) -> int:
    """Returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.calibration", description=__doc__)
    parser.add_argument("--budget-min", type=float, default=60.0, help="minutes of recording (%(default)g)")
    parser.add_argument("--kinds", nargs="+", choices=_ALL_KINDS, default=_ALL_KINDS, help="what to record")
    parser.add_argument("--records", type=Path, default=_RECORDS, help="folder of the records (%(default)s)")
    options = parser.parse_args(arguments)
    folder: Path = options.records / read_fingerprint((), {}).machine_class
    try:
        _record(folder, options.kinds, options.budget_min * 60)
        _certify(folder)
    except ServegateError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was recorded before is kept", file=sys.stderr)
        return 130
    return 0


def _record(folder: Path, kinds: list[str], budget_s: float) -> None:
    settings, cells = ask_gate(_ROOT)
    tree = identify(_ROOT, settings.service, settings.lock).service_tree
    end_s, longest_s = time.monotonic() + budget_s, 0.0
    while time.monotonic() + longest_s < end_s:
        start_s = time.monotonic()
        recorded, ran = _recorded(folder, tree, settings.schedule), Counter(run.kind for run in _runs_of(folder, tree))
        kind = min(kinds, key=lambda kind: recorded[kind])
        if recorded[kind] >= _PAIRS_OF_A_KIND:
            kind = next((name for name in kinds if ran[name] < _LIVE_RUNS.get(name, 0)), kind)
        if ran[kind] < _LIVE_RUNS.get(kind, 0):
            record_run(folder, _ROOT, kind, settings, _say)
        elif kind == ATTRIBUTION:
            attribution = record_attribution(_ROOT, tree, recorded[kind], settings.schedule, _say)
            append_attribution(folder / ATTRIBUTIONS, attribution)
            _say(f"{attribution.stage} is slower; named: {attribution.said(settings.margin)}")
        else:
            append_pair(folder / PAIRS, record_pair(_ROOT, tree, kind, cells, settings.schedule, _say))
            _say(f"{kind}: pair {recorded[kind] + 1} took {time.monotonic() - start_s:.0f} s")
        longest_s = max(longest_s, time.monotonic() - start_s)


def _recorded(folder: Path, tree: str, schedule: Schedule) -> Counter[str]:
    """How many there are of each kind, but for live runs."""
    counts = Counter(pair.kind for pair in _pairs_of(folder, tree, schedule))
    counts[ATTRIBUTION] = sum(item.service_tree == tree for item in read_attributions(folder / ATTRIBUTIONS))
    return counts


def _certify(folder: Path) -> None:
    """From the records of the service as it is; while there are too few, from those of the last that had enough."""
    settings, cells = ask_gate(_ROOT)
    checkout = identify(_ROOT, settings.service, settings.lock)
    known = dict.fromkeys(
        [checkout.service_tree, *(pair.service_tree for pair in reversed(read_pairs(folder / PAIRS)))]
    )
    tree = next((tree for tree in known if _recorded(folder, tree, settings.schedule)["same"] >= _LEAST_PAIRS), None)
    if tree is None:
        _say(f"no certificate yet: it needs {_LEAST_PAIRS} pairs of identical code at least")
        return
    policy = settings.policy(gated_cells=len(cells))
    attributions = read_attributions(folder / ATTRIBUTIONS)
    certificate = {
        "machine_class": folder.name,
        "service_tree": tree,
        "commit": checkout.commit,
        **certify(_pairs_of(folder, tree, settings.schedule), _runs_of(folder, tree), policy, settings.budget_minutes),
        "attribution": certify_attributions(attributions, settings.margin) if attributions else None,
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
