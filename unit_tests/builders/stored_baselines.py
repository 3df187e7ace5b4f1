"""What a stored baseline is made of, and a program that stores one after the other until it is killed.

It runs by `python -m unit_tests.builders.stored_baselines FOLDER` and writes the number of each that it has stored.
"""

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from servegate.records import Fingerprint
from servegate.storage.baselines import write_baseline
from servegate.storage.commits import CommitIdentity

CHECKOUT = CommitIdentity(commit="c" * 40, service_tree="d" * 40, lock_sha256="e" * 64)
HERE = Fingerprint("AMD EPYC", 2, None, 0, {"python": "3.11.7"})
CELLS = {"api[concurrency=1]": [10.0, 11.0, 10.5], "api[concurrency=8]": [80.0, 81.0, 82.5]}


def document(cells: Mapping[str, Sequence[float]] = CELLS) -> dict[str, Any]:
    """What pytest-benchmark makes of a run, as far as the gate reads it."""
    return {
        "benchmarks": [
            {"name": cell, "extra_info": {"cell": cell, "throughput_per_s": list(throughput)}}
            for cell, throughput in cells.items()
        ]
    }


if __name__ == "__main__":
    for number in itertools.count(1):
        stored = document({"api[concurrency=1]": [float(number)] * 2_000})
        write_baseline(Path(sys.argv[1]), HERE, CHECKOUT, stored)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
