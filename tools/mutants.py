"""Mutation testing: `make mutants`, `python -m tools.mutants`.

mutmut changes the code in one place at a time, and tests must fail for it: of the tests that pyproject.toml names under
`[tool.mutmut]`, those that run the changed function. A mutant that no test notices survives, also one that means the
same as the code; survivors are listed.

    make mutants ARGS="'service.images.jpeg*'"     one module's mutants alone, and only those
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.state import state
from mutmut.stats import load_stats, status_by_exit_code
from mutmut.utils.file_utils import setup_source_paths, walk_mutatable_files
from mutmut.workers.isolation import get_mutant_runner

# mutmut's own folder: copies of the code and the tests, and what came of each mutant.
FOLDER = Path("mutants")
# The share of mutants that must be killed, of a file or of all files in a folder.
LEAST_KILLED: Mapping[str, float] = {
    "servegate/judging": 0.9,
    "servegate/load/results.py": 0.9,
    "servegate/measure/bursts.py": 0.9,
    "service/transport/batching.py": 0.9,
}
_KILLED = ("killed", "timeout")
_CONTROL_CPU_S = 600


@dataclass(frozen=True)
class FileResult:
    """The results of a file's mutants.

    Attributes
    ----------
    mutants, killed:
        How many were tested, and how many of them a test noticed or a time limit ended.
    survivors:
        The others, by name.
    """

    path: str
    mutants: int
    killed: int
    survivors: Sequence[str] = ()

    @property
    def share(self) -> float:
        """Killed of all."""
        return self.killed / self.mutants


def total(results: Sequence[FileResult], place: str) -> FileResult | None:
    """Sum up a file, or all files of a folder; None if nothing of it was tested."""
    inside = [result for result in results if Path(result.path).is_relative_to(place)]
    if not inside:
        return None
    return FileResult(place, sum(result.mutants for result in inside), sum(result.killed for result in inside))


def read_results() -> list[FileResult]:
    """Return the results of each file with a mutant that was tested."""
    results = []
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        statuses = {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items() if code is not None}
        survivors = [name for name, status in statuses.items() if status not in _KILLED]
        if statuses:
            results.append(FileResult(str(path), len(statuses), len(statuses) - len(survivors), survivors))
    return results


def table(results: Sequence[FileResult]) -> str:
    """A line a file, and then a line for each file or folder of which a share must be killed."""
    lines = [f"{'file':34}{'mutants':>8}{'killed':>8}{'share':>8}", *map(_line, results), ""]
    for place, least in LEAST_KILLED.items():
        result = total(results, place)
        if result is not None:
            lines.append(f"{_line(result)}, at least {least:.0%}{'  too low' if result.share < least else ''}")
    return "\n".join(lines)


def _line(result: FileResult) -> str:
    return f"{result.path:34}{result.mutants:>8}{result.killed:>8}{result.share:>8.1%}"


def are_enough_killed(results: Sequence[FileResult]) -> bool:
    """Whether each file and folder of which a share must be killed has that share; one that wasn't tested has."""
    totals = {place: total(results, place) for place in LEAST_KILLED}
    return all(result is None or result.share >= LEAST_KILLED[place] for place, result in totals.items())


def describe_survivor(path: str, name: str) -> str:
    """Its name and the lines that it changes."""
    diff = get_diff_for_mutant(name, path=path).splitlines()[2:]
    return "\n".join([name, *(f"    {line}" for line in diff if line[:1] in ("-", "+"))])


def tests_pass_without_a_mutant() -> bool:
    """Run every test as mutants' tests are run: one that fails there for another reason would kill every mutant."""
    load_stats()
    setup_source_paths()
    runner = get_mutant_runner(1)
    runner.startup()
    runner.submit("no mutant", sorted(state().duration_by_test), _CONTROL_CPU_S, estimated_time=0.0)
    runner.signal_work_complete()
    exit_code = runner.wait_for_result().exit_code
    runner.shutdown()
    return exit_code == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 1 when too few mutants of a file were killed."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to test, `*` for any text (default: all)")
    names = parser.parse_args(arguments).names
    start_s = time.monotonic()
    # mutmut keeps what it found for as long as a function stays as it is, whatever happens to its tests.
    shutil.rmtree(FOLDER, ignore_errors=True)
    mutmut = [str(Path(sys.executable).with_name("mutmut")), "run", *names]
    run = subprocess.run(mutmut, capture_output=not sys.stdout.isatty(), text=True, check=False)
    if run.returncode:
        print(run.stdout or "", run.stderr or "", "mutmut could not test the mutants", file=sys.stderr)
        return 1
    if not tests_pass_without_a_mutant():
        print("the tests fail where mutants are tested, without one as well: nothing was shown", file=sys.stderr)
        return 1
    results = read_results()
    for result in results:
        for name in result.survivors:
            print(describe_survivor(result.path, name))
    print(f"\n{table(results)}\n\nin {(time.monotonic() - start_s) / 60:.1f} minutes")
    return 0 if are_enough_killed(results) else 1


if __name__ == "__main__":
    sys.exit(main())
