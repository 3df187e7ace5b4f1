"""`servegate …`: sets a project up, and says what many runs say together. pytest makes the runs."""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from servegate import __version__
from servegate.errors import MissingExtraError, ServegateError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the process's exit status, which is 2 when the command can't do its work."""
    parser = argparse.ArgumentParser(
        prog="servegate", description="Guards a service's speed: sets a project up, and reads many runs together."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_init(commands)
    doctor = commands.add_parser(
        "doctor", help="try the project's performance tests, and say what this machine resolves"
    )
    doctor.set_defaults(run=_run_doctor)
    doctor.add_argument("paths", nargs="*", default=["perf_tests"], metavar="PATH", help="as for pytest (perf_tests)")
    trend = commands.add_parser(
        "trend", help="lasting changes of throughput and of figures, and the commits that they began with"
    )
    trend.set_defaults(run=_run_trend)
    trend.add_argument("folder", type=Path, help="where --perf-history keeps the runs")
    trend.add_argument("--least-percent", type=float, default=3.0, help="smallest change that is named (%(default)g)")
    trend.add_argument("--html", type=Path, help="write a page with a plot of each cell and figure")
    trend.add_argument("--csv", type=Path, help="write the figures as Apache Otava reads them, a column a cell")
    step = commands.add_parser(
        "bisect-step",
        help="for `git bisect run`: 0 if this commit isn't slower than a good one, 1 if it is, 125 if that isn't known",
    )
    step.set_defaults(run=_run_bisect_step)
    step.add_argument("--figure", metavar="NAME", help="follow this figure, as memory; else throughput")
    step.add_argument("good", metavar="GOOD", help="a commit, tag or branch that is fast")
    step.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="for pytest: perf_tests and options")
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except (ServegateError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return status


def _add_init(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    init = commands.add_parser("init", help="write the performance tests of the project in this folder")
    init.set_defaults(run=_run_init)
    init.add_argument("--server", metavar="FILE", help="the file that starts the service; else it is looked for")
    init.add_argument(
        "--request",
        metavar="[PATH=]JSON",
        action="append",
        default=[],
        help="what an endpoint is sent, or [PATH=]@FILE for a file's bytes; may be given for each endpoint",
    )
    init.add_argument(
        "--expected",
        metavar="[PATH=]JSON",
        action="append",
        default=[],
        help="the right answer; else the one that the service gives now",
    )
    init.add_argument(
        "--concurrency", metavar="N,N...", default="1,8", help="requests at a time that are measured (%(default)s)"
    )
    init.add_argument(
        "--action",
        metavar="OWNER/REPOSITORY@COMMIT",
        help="servegate's action for the workflow; else the repository that servegate was installed from",
    )


def _run_init(options: argparse.Namespace) -> int:
    # Imported here, as below: `servegate --help` doesn't wait for aiohttp.
    from servegate.setup.init import InitOptions, run_init

    asked = InitOptions(
        server=options.server,
        requests=options.request,
        expected=options.expected,
        concurrencies=options.concurrency,
        action=options.action,
        question=input if sys.stdin.isatty() else None,
    )
    run_init(Path.cwd(), asked, lambda line: print(line, flush=True))
    return 0


def _run_doctor(options: argparse.Namespace) -> int:
    from servegate.setup.doctor import run_doctor

    run_doctor(options.paths, lambda line: print(line, flush=True))
    return 0


def _run_bisect_step(options: argparse.Namespace) -> int:
    from servegate.bisection import run_step

    return run_step(options.good, options.arguments or ["perf_tests"], options.figure)


def _run_trend(options: argparse.Namespace) -> int:
    """Return 1 when a cell has become slower, or a figure has grown."""
    if find_spec("ruptures") is None:
        raise MissingExtraError("servegate trend needs ruptures: pip install 'servegate[trend]'")
    # Imported here: ruptures is an extra, and with scipy below it takes a second to import.
    from servegate.storage.history import read_history
    from servegate.trend.page import render_trend
    from servegate.trend.shifts import count_slowdowns, describe_trend, find_all_shifts, write_csv

    series = read_history(options.folder)
    shifts = find_all_shifts(series, options.least_percent / 100)
    print("\n".join(describe_trend(series, shifts)))
    if options.html is not None:
        options.html.write_text(render_trend(series, shifts), encoding="utf-8")
    if options.csv is not None:
        write_csv(options.csv, series)
    return 1 if count_slowdowns(series, shifts) else 0
