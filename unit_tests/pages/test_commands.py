"""Every command in a page exists, with the options that the page gives it."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from servegate.cli import main
from servegate.options.catalogue import OPTIONS, SWITCHES
from unit_tests.builders.pages import CURRENT_PAGES, Command, find_commands, read_page, split_commands
from unit_tests.builders.repository import ROOT

COMMANDS = [command for name in CURRENT_PAGES for command in find_commands(name)]
BY_FLAG = {option.flag: option for option in OPTIONS}
FLAGS = {*BY_FLAG, *(switch.flag for switch in SWITCHES)}
# Other names that begin as settings do: the fixture, the mark and the folder.
NOT_SETTINGS = {"perf_cell", "perf_target", "perf_tests"}
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS: dict[str, str] = dict(re.findall(r"^([a-z-]+):.*##.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE))
# Programs that are not this project's; the pages use them as their own manuals have it.
OTHERS = {
    ".",
    "curl",
    "docker",
    "echo",
    "export",
    "locust",
    "nvidia-smi",
    "pipx",
    "poetry",
    "tar",
    "true",
    "uv",
    "xdg-open",
}
PIP = {"download", "install", "wheel"}


@cache
def read_help(*arguments: str) -> str:
    """The help of a module's program."""
    command = [sys.executable, "-m", *arguments, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@cache
def read_servegate_help(name: str) -> str:
    """The help of one of servegate's commands."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    return shown.getvalue()


def long_options(words: tuple[str, ...]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]


def check(command: Command) -> None:
    """Assert that a command is one that its program takes."""
    program, *rest = command.words
    words = tuple(rest)
    match Path(program).name if program != "." else program:
        case "make":
            check_make(command.place, words)
        case "pytest":
            check_pytest(words)
        case "servegate":
            assert set(long_options(words[1:])) - FLAGS <= set(re.findall(r"--[a-z-]+", read_servegate_help(words[0])))
        case "python" | "python3":
            check_python(command.place, words)
        case "git":
            listed = subprocess.run(["git", "--list-cmds=main"], capture_output=True, text=True, check=True).stdout
            assert words[0] in listed.split()
            if words[:2] == ("bisect", "run") and words[2:]:
                check(Command(command.place, words[2:]))
        case "pip":
            assert words[0] in PIP
        case "pytest-benchmark":
            assert words[0] == "compare"
            assert list(ROOT.glob(words[1]))
        case name:
            assert name in OTHERS, f"{name} is unknown: check it here"


def check_make(place: str, words: tuple[str, ...]) -> None:
    for word in words:
        name, is_variable, value = word.partition("=")
        if not is_variable:
            assert name in TARGETS, f"the Makefile has no target {name}"
        elif name == "ARGS":
            (recipe,) = [line for line in TARGETS[words[0]].splitlines() if "$(ARGS)" in line] or [""]
            if words[0] != "lock":  # its recipe has the arguments in a variable
                full = recipe.strip().replace("$(ARGS)", value).replace("$(BIN)/", "")
                (expanded,) = split_commands(place, full)
                check(expanded)


def check_pytest(words: tuple[str, ...]) -> None:
    known = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", read_help("pytest")))
    assert set(long_options(words)) <= known
    remaining = iter(words)
    for word in remaining:
        flag, has_value, value = word.partition("=")
        if flag in BY_FLAG:
            BY_FLAG[flag].parse_from(value if has_value else next(remaining), flag)
        elif flag in ("-k", "-m", "-n"):
            next(remaining)
        elif not flag.startswith("-"):
            assert (ROOT / flag.partition("::")[0]).exists(), f"there is no {flag}"


def check_python(place: str, words: tuple[str, ...]) -> None:
    if words[0] != "-m":
        assert words[0] == "-c"
        return
    module = words[1]
    if place.startswith("examples/"):
        assert list((ROOT / place).parent.rglob(f"{module.replace('.', '/')}.py")), f"there is no module {module}"
        return
    assert find_spec(module) is not None, f"there is no module {module}"
    if module.startswith(("tools.", "service.")):
        assert set(long_options(words[2:])) <= {*re.findall(r"--[a-z][\w-]*", read_help(module)), "--help"}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_one_that_its_program_takes(command: Command) -> None:
    check(command)


@pytest.mark.parametrize(
    "line",
    [
        "make no-such-target",
        "make profile ARGS=--no-such-option",
        "pytest no_such_folder",
        "pytest perf_tests --perf-no-such-option",
        "pytest perf_tests --perf-cells api=0",
        "servegate trend history --no-such-option",
        "python -m tools.no_such_module",
        "git no-such-command",
        "no-such-program",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    (command,) = split_commands("here", line)
    with pytest.raises(Exception, match=r"no.such|must be|assert"):
        check(command)


@pytest.mark.parametrize("name", CURRENT_PAGES)
def test_options_and_settings_that_a_page_names_exist(name: str) -> None:
    text = read_page(name)
    assert set(re.findall(r"--perf-[a-z]+(?:-[a-z]+)*", text)) <= FLAGS
    settings = set(re.findall(r"(?<![\w/.])perf_[a-z]+(?:_[a-z]+)*(?![\w/])", text))
    assert settings - NOT_SETTINGS <= {option.name for option in OPTIONS}


@pytest.mark.parametrize("name", CURRENT_PAGES)
def test_files_that_a_page_names_exist(name: str) -> None:
    top = "|".join(("servegate", "service", "tools", "unit_tests", "docs", "examples"))
    named = set(re.findall(rf"`((?:{top})/[\w./-]+)`", read_page(name)))
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_commands_are_collected_from_blocks_and_from_the_text() -> None:
    words = {shlex.join(command.words) for command in find_commands("README.md")}
    assert {"make test", "make perf", "pytest perf_tests --benchmark-compare", "make perf-quick"} <= words
