"""Every option of the gate, declared once: its name, its values, its default, its help and its ini twin.

The plugin imports this module into every pytest run of a project that has servegate installed, so it imports pytest and
the standard library alone.
"""

from pathlib import Path

import pytest

from servegate.judging.figures.kinds import FIGURE_KINDS
from servegate.load.workload import KEY_VARIABLE
from servegate.options.allowance import parse_allowances
from servegate.options.option import Option, Switch
from servegate.options.values import (
    address,
    by_name,
    cells,
    figures,
    load_processes,
    looks,
    margins,
    number,
    whole_number,
    words,
)

MIN_ACCEPTED_PROCESSES = 8


CELLS = Option(
    "perf_cells",
    "",
    "what is measured, as in: model=1,8 api=1,8,32; on the command line, these groups alone",
    cells,
    metavar="GROUP=N,N...",
)
PATHS = Option("perf_paths", "perf_tests", "folders with performance tests", words, metavar="FOLDERS")
OPTIONS = (
    Option(
        "perf_versus",
        "",
        "compare side by side with this branch, tag or commit (HEAD: uncommitted work with the last commit)",
        metavar="REF",
        is_for_one_run=True,
    ),
    CELLS,
    Option("perf_informing", "", "groups that are shown but not judged", words, metavar="GROUPS"),
    Option(
        "perf_margin_percent",
        "2",
        "slowdown of a group that is to be found; others by group and cell, as in: 2 api=3 api[64]=4",
        margins,
        metavar="PERCENT",
    ),
    Option(
        "perf_figures",
        "",
        "smallest changes of other figures that are accused, by group where they differ, or off, as in: "
        f"api.tail=off cost=8; by default {' '.join(f'{kind.name}={kind.margin:g}' for kind in FIGURE_KINDS)} "
        f"({', '.join(f'{kind.name} in {kind.unit}' for kind in FIGURE_KINDS)})",
        figures,
        metavar="FIGURE=N",
    ),
    Option(
        "perf_slow_ms",
        "",
        "latency beyond which an answer is slow; others by group and cell, as in: 250 photo=2000 api[64]=800; "
        "by default, in a comparison, the 99th percentile of both commits' answers",
        by_name(0.001, 3.6e6),
        metavar="MS",
    ),
    Option(
        "perf_slow_percent",
        "",
        "share of slow answers beyond which a cell fails; others by group and cell, as in: 1 api[64]=5",
        by_name(0, 99),
        metavar="PERCENT",
    ),
    Option(
        "perf_error_percent",
        "1",
        "share of runs of identical code that may be accused",
        number(0.01, 50),
        metavar="PERCENT",
    ),
    Option(
        "perf_budget_minutes",
        "45",
        "time after which a run begins no further pair",
        number(0, 6000),
        metavar="MINUTES",
    ),
    Option(
        "perf_allow",
        "",
        "changes for the worse that are accepted on purpose, as in: api: up to 5 %: stronger checks; "
        "api.memory: up to 10 %: a larger model; also as a line of a commit's message that begins with `Perf-allow: `",
        parse_allowances,
        metavar="'NAME: up to N %: REASON'",
        is_for_one_run=True,
    ),
    Option("perf_processes", "3", "fresh processes that measure each cell", whole_number(1, 1000), metavar="N"),
    Option("perf_seconds", "5", "time that a process measures each cell", number(0.1, 3600), metavar="SECONDS"),
    Option("perf_warmup_seconds", "1", "time of load before a cell is measured", number(0, 600), metavar="SECONDS"),
    Option(
        "perf_confirm",
        "yes",
        "compare side by side with the baseline's commit what the stored baseline can't clear",
        parse=lambda text: text == "yes",
        choices=("yes", "no"),
    ),
    Option(
        "perf_other_run",
        "wait",
        "what to do while another run of yours measures on this machine: wait until it ends, or end this one",
        choices=("wait", "end"),
    ),
    PATHS,
    Option("perf_baselines", "perf_tests/baselines", "folder of the stored baselines", Path, metavar="FOLDER"),
    Option("perf_report", "perf-report", "folder that a run's report is written to; empty for none", metavar="FOLDER"),
    Option(
        "perf_history",
        "",
        "folder that keeps each run's results, for `servegate trend`; empty for none",
        metavar="FOLDER",
    ),
    Option("perf_service", "service", "folder or file of the service that is measured", metavar="PATH"),
    Option(
        "perf_lock",
        "requirements.lock",
        "file that pins the service's packages; without it a comparison's two sides share this environment",
        metavar="FILE",
    ),
    Option(
        "perf_environment",
        "",
        "a shell's command that makes another commit's environment in {folder} of its lock file, {lock}, run in the "
        "commit's folder, as in: UV_PROJECT_ENVIRONMENT={folder} uv sync --frozen --no-install-project; empty for pip",
        metavar="COMMAND",
    ),
    Option(
        "perf_carry",
        "",
        "files or folders that git ignores but the service needs, as weights.npz data/: both sides of a comparison get "
        "them, read-only",
        words,
        metavar="'PATH PATH...'",
    ),
    Option("perf_packages", "", "packages whose versions are recorded", words, metavar="NAMES"),
    Option(
        "perf_server_url",
        "",
        "measure the service that runs there, with the load that --perf-cells names and no more; "
        f"its API key stands in the variable {KEY_VARIABLE}",
        metavar="URL",
        is_for_one_run=True,
    ),
    Option(
        "perf_server_ca",
        "",
        "certificates to trust at that URL instead of the system's",
        metavar="FILE",
        is_for_one_run=True,
    ),
    Option(
        "perf_pairs",
        "4 5 7 10 15 22",
        "numbers of pairs of fresh processes after which a comparison is judged",
        looks,
        metavar="'N N...'",
    ),
    Option(
        "perf_burst_seconds",
        "0.25",
        "time of load in a burst of a comparison; of a server on a GPU at least 1",
        number(0.05, 600),
        metavar="SECONDS",
    ),
    Option(
        "perf_turn_seconds",
        "1",
        "time of load in a turn of a comparison, which shows how late answers come; at random times at least 2",
        number(0.5, 600),
        metavar="SECONDS",
    ),
    Option("perf_blocks", "4", "blocks of four bursts for a cell in a pair", whole_number(2, 1000), metavar="N"),
    Option("perf_load_engine", "builtin", "the program that makes a closed loop's load", choices=("builtin", "locust")),
    Option(
        "perf_load_processes",
        "auto",
        "built-in client processes that share a cell's connections; auto: one for every 4 connections, but no more "
        "than one for every 4 usable cores, at least 1 and at most 8",
        load_processes,
        metavar="N",
    ),
    Option("perf_locust_workers", "2", "Locust workers that are started here", whole_number(0, 1000), metavar="N"),
    Option("perf_locust_remote_workers", "0", "Locust workers that others start", whole_number(0, 1000), metavar="N"),
    Option(
        "perf_locust_bind",
        "",
        "where remote Locust workers find the master; empty for 127.0.0.1",
        address,
        metavar="HOST:PORT",
    ),
)
SWITCHES = (
    Switch("perf_strict", "INCONCLUSIVE and NO_BASELINE fail, too (for CI)"),
    Switch("perf_same_env", "run the other checkout in this environment even if its lock file differs"),
    Switch(
        "perf_accept",
        f"measure at least {MIN_ACCEPTED_PROCESSES} fresh processes and store them as this machine's baseline",
    ),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup(
        "servegate",
        "performance gate (--benchmark-compare judges against the stored baseline, --perf-versus against a commit; "
        "the ini file may set other defaults)",
    )
    for option in OPTIONS:
        group.addoption(
            option.flag,
            dest=option.name,
            default=None,
            metavar="|".join(option.choices) or option.metavar,
            help=option.description.replace("%", "%%"),
        )
        if not option.is_for_one_run:
            parser.addini(option.name, option.description)
    for switch in SWITCHES:
        group.addoption(switch.flag, dest=switch.name, action="store_true", help=switch.help)
