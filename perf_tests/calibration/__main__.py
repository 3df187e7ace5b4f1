"""`python -m perf_tests.calibration record|certify`, `make calibrate`."""

import argparse
import sys
from pathlib import Path

from perf_tests.calibration.pairs import parse_cell
from perf_tests.calibration.record import KINDS, record_pairs
from perfgate.errors import PerfgateError
from perfgate.machine import read_fingerprint
from perfgate.versus import Schedule

_ROOT = Path(__file__).parents[2]
_RECORDS = Path(__file__).parent / "records"
_CELLS = "model[batch=1] model[batch=8] model[batch=32] model[batch=64] " + " ".join(
    f"api[concurrency={value}]" for value in (1, 8, 32, 64)
)


def main(arguments: list[str]) -> int:
    """Returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf_tests.calibration", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="record pairs of fresh processes")
    record.add_argument("--budget-min", type=float, default=60.0, help="minutes")
    record.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS))
    record.add_argument("--cells", default=_CELLS, help="which, with spaces between")
    record.add_argument("--burst-seconds", type=float, default=0.3)
    record.add_argument("--blocks", type=int, default=8)
    record.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    path = options.output or _RECORDS / f"{read_fingerprint((), {}).machine_class}.jsonl"
    try:
        record_pairs(
            path,
            _ROOT,
            [parse_cell(name) for name in options.cells.split()],
            options.kinds,
            Schedule(options.burst_seconds, options.blocks, options.budget_min * 60),
            lambda text: print(text, flush=True),
        )
    except PerfgateError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
