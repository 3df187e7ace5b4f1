"""`python -m tools.calibration`, `make calibrate`: measure the gate itself, and write its certificate.

Pairs of fresh processes and live whole runs are recorded in turn until the budget ends; a record grows from call to
call, and an interrupted call loses the pair that it was at. Two options record nothing: `--certify-all` writes the
certificates of all recorded classes again, `--synthetic` simulates machines that were never recorded, for all of them.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from servegate.errors import ServegateError
from servegate.options.settings import JudgingSettings
from servegate.records import Cell
from servegate.session.machine_claim import claim_machine
from servegate.storage.commits import identify, require_clean
from servegate.telemetry.machine import read_fingerprint
from tools.calibration.attribution import (
    ATTRIBUTIONS,
    append_attribution,
    certify_attributions,
    read_attributions,
    record_attribution,
)
from tools.calibration.attribution import KIND as ATTRIBUTION
from tools.calibration.certificate.certify import certify
from tools.calibration.certificate.page import write_page
from tools.calibration.gate_settings import ask_gate
from tools.calibration.injections.faults import UNSEEN
from tools.calibration.live import RUNS, RunRecord, record_run, usable_runs
from tools.calibration.pairs import PAIRS, PairRecord, append_pair, usable_pairs
from tools.calibration.record import KINDS, is_current, record_pair, seconds_of_turns
from tools.calibration.simulation.conditions import CELLS, GROUPS, certify_conditions

_ROOT = Path(__file__).parents[2]
_RECORDS = Path(__file__).parent / "records"
_ALL_KINDS = (*KINDS, ATTRIBUTION)
_LEAST_PAIRS = 3
# What is recorded first, live runs before pairs of their kind since they give pairs, too; beyond that more pairs.
_PAIRS_OF_A_KIND = 12
_LIVE_RUNS = {"same": 16, "predict+4%": 4, "decode+25%": 4, **dict.fromkeys((*UNSEEN, "all four"), 5)}
_SYNTHETIC = "synthetic.json"
_RUNS_A_CONDITION = 10_000


def main(arguments: list[str]) -> int:
    """Returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.calibration", description=__doc__)
    parser.add_argument("--budget-min", type=float, default=60.0, help="minutes of recording (%(default)g)")
    parser.add_argument("--kinds", nargs="+", choices=_ALL_KINDS, default=_ALL_KINDS, help="what to record")
    parser.add_argument("--records", type=Path, default=_RECORDS, help="folder of the records (%(default)s)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--certify-all", action="store_true", help="write the certificates of all recorded classes")
    instead.add_argument("--synthetic", action="store_true", help="simulate identical code on synthetic machines")
    options = parser.parse_args(arguments)
    records: Path = options.records
    try:
        if options.synthetic:
            _certify_conditions(records)
        elif options.certify_all:
            for path in sorted(records.glob(f"*/{PAIRS}")):
                _certify(path.parent)
        else:
            folder = records / read_fingerprint((), {}).machine_class
            with claim_machine("make calibrate", _ROOT, waits=True, progress=_say) or nullcontext():
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
    settings, cells, at_given_rate = ask_gate(_ROOT)
    project, judging = settings.project, settings.judging
    require_clean(_ROOT, folder.parent)  # identical code: the head is a copy of the working tree
    tree = identify(_ROOT, project.service, project.lock).service_tree
    loaded = [*cells, *at_given_rate]
    end_s, longest_s = time.monotonic() + budget_s, 0.0
    while time.monotonic() + longest_s < end_s:
        start_s = time.monotonic()
        recorded = Counter(pair.kind for pair in _read_pairs(folder, judging, cells))
        recorded[ATTRIBUTION] = len(read_attributions(folder / ATTRIBUTIONS))
        ran = Counter(run.kind for run in _read_runs(folder, cells))
        kind = min(kinds, key=lambda kind: recorded[kind])
        if recorded[kind] >= _PAIRS_OF_A_KIND:
            kind = next((name for name in kinds if ran[name] < _LIVE_RUNS.get(name, 0)), kind)
        if ran[kind] < _LIVE_RUNS.get(kind, 0):
            record_run(folder, _ROOT, kind, settings, seconds_of_turns(loaded, judging), _say)
        elif kind == ATTRIBUTION:
            attribution = record_attribution(_ROOT, tree, recorded[kind], judging.schedule, _say)
            append_attribution(folder / ATTRIBUTIONS, attribution)
            _say(f"{attribution.stage} is slower; named: {attribution.said(judging.margin)}")
        else:
            append_pair(folder / PAIRS, record_pair(_ROOT, tree, kind, loaded, judging, _say))
            _say(f"{kind}: pair {recorded[kind] + 1} took {time.monotonic() - start_s:.0f} s")
        longest_s = max(longest_s, time.monotonic() - start_s)


def _certify_conditions(records: Path) -> None:
    settings, _, _ = ask_gate(_ROOT)
    policy = settings.judging.policy(groups=len(GROUPS), cells=len(CELLS))
    document = certify_conditions(policy, _RUNS_A_CONDITION, _say)
    (records / _SYNTHETIC).write_text(json.dumps(document, indent=1) + "\n")


def _certify(folder: Path) -> None:
    settings, cells, at_given_rate = ask_gate(_ROOT)
    judging = settings.judging
    pairs, runs = _read_pairs(folder, judging, cells), _read_runs(folder, cells)
    if sum(pair.kind == "same" for pair in pairs) < _LEAST_PAIRS:
        _say(f"no certificate of {folder.name} yet: it needs {_LEAST_PAIRS} pairs of identical code at least")
        return
    attributions = read_attributions(folder / ATTRIBUTIONS)
    policy = judging.policy(groups=len({cell.group for cell in cells}), cells=len(cells))
    turns_s = seconds_of_turns([*cells, *at_given_rate], judging)
    certificate = {
        "machine_class": folder.name,
        "commit": identify(_ROOT, settings.project.service, settings.project.lock).commit,
        "mixes": "pairs and runs of every service tree listed, all with the same bursts and of the same cells; "
        "both sides of a pair are of one tree but for the injected slowdown",
        "service_trees": dict(Counter([*(pair.service_tree for pair in pairs), *(run.service_tree for run in runs)])),
        "budget_minutes": judging.budget_s / 60,
        **certify(pairs, runs, cells, policy, judging.figure_policy, judging.schedule, turns_s),
        "attribution": certify_attributions(attributions, judging.margin) if attributions else None,
    }
    (folder / "certificate.json").write_text(json.dumps(certificate, indent=1) + "\n")
    synthetic = folder.parent / _SYNTHETIC
    write_page(
        folder / "certificate.html", certificate, json.loads(synthetic.read_text()) if synthetic.exists() else None
    )
    _say(f"certificate: {folder / 'certificate.html'}")


def _read_pairs(folder: Path, judging: JudgingSettings, cells: Sequence[Cell]) -> list[PairRecord]:
    """The recorded pairs that count, of what is injected today."""
    return [
        pair for pair in usable_pairs(folder / PAIRS, judging.schedule, cells) if is_current(pair.kind, pair.digest)
    ]


def _read_runs(folder: Path, cells: Sequence[Cell]) -> list[RunRecord]:
    """The recorded runs that count, of what is injected today."""
    return [run for run in usable_runs(folder / RUNS, cells) if is_current(run.kind, run.digest)]


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
