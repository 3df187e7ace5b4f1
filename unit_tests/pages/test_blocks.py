"""Every block of code in a page can be read in its language."""

import ast
import configparser
import subprocess
from pathlib import Path

import pytest
import yaml

from servegate.load.server_timing import parse_server_timing
from servegate.options.catalogue import OPTIONS
from unit_tests.builders import pages
from unit_tests.builders.pages import CURRENT_PAGES, SHELL, Block, find_blocks, find_commands

BLOCKS = [block for name in CURRENT_PAGES for block in find_blocks(name)]
BY_NAME = {option.name: option for option in OPTIONS}
# Blocks that show what a program prints, or a tree of folders.
_SHOWN = "text"


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def test_every_language_is_one_that_is_checked_here() -> None:
    """A new language needs a test below."""
    checked = {SHELL, _SHOWN, "python", "ini", "yaml", "http"}
    assert {str(block): block.language for block in BLOCKS if block.language not in checked} == {}


def test_blocks_are_found_where_markdown_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fence within a list hides nothing that follows it."""
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(
        "1. A line:\n\n   ```text\n   shown\n   ```\n\nRun `make check` or `this`:\n\n    make test\n"
    )
    assert find_blocks("page.md") == [Block("page.md", 4, "text", "shown\n"), Block("page.md", 9, SHELL, "make test\n")]
    assert [command.words for command in find_commands("page.md")] == [("make", "test"), ("make", "check")]


@pytest.mark.parametrize("block", of(SHELL), ids=str)
def test_a_shell_can_parse_commands(block: Block) -> None:
    parsed = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert parsed.returncode == 0, parsed.stderr


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", of("ini"), ids=str)
def test_settings_have_names_and_values_that_are_accepted(block: Block) -> None:
    text = block.text if block.text.startswith("[") else f"[pytest]\n{block.text}"
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    for name, value in parser["pytest"].items():
        if name.startswith("perf_"):
            BY_NAME[name].parse_from(value, str(block))


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_yaml_is_a_mapping_or_a_part_of_one(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("block", of("http"), ids=str)
def test_headers_are_those_that_the_gate_reads(block: Block) -> None:
    name, _, value = block.text.partition(":")
    assert name == "Server-Timing"
    assert parse_server_timing(value)
