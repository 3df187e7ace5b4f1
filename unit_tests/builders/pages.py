"""The project's pages, and the blocks of code and the commands in them.

A block is fenced and names its language, or is indented and holds commands of a shell.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from unit_tests.builders.repository import ROOT

SHELL = "sh"
_RECORDS = ROOT / "docs" / "decisions"
_ALL = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")])
ALL_PAGES = [str(page.relative_to(ROOT)) for page in _ALL]
# Dated records and the changelog tell of commands and settings as they were then.
CURRENT_PAGES = [
    name
    for name in ALL_PAGES
    if name != "CHANGELOG.md" and ((ROOT / name).parent != _RECORDS or (ROOT / name).name == "index.md")
]
_PROGRAMS_IN_TEXT = ("make", "pytest", "servegate", "python", "git", "pip")
_SEPARATORS = frozenset({"&&", "||", "|", ";", "&"})


@dataclass(frozen=True)
class Block:
    """A block of code in a page.

    Attributes
    ----------
    page, line:
        The page's path from the repository's folder, and the number of the block's first line.
    language:
        The language after the fence; `sh` for an indented block, empty for a fence without one.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command in a page: its words, without the variables before them."""

    place: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.place} {' '.join(self.words)}"


def read_page(name: str) -> str:
    """The text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


def find_blocks(name: str) -> list[Block]:
    """All blocks of a page."""
    return list(_parse_blocks(name, read_page(name).split("\n")))


def _parse_blocks(name: str, lines: list[str]) -> Iterator[Block]:
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.startswith("```"):
            end = lines.index("```", place + 1)
            yield Block(name, place + 2, line[3:], "\n".join(lines[place + 1 : end]) + "\n")
            place = end
        elif line.startswith("    ") and not lines[place - 1].strip():
            end = place
            while end < len(lines) and lines[end].startswith("    "):
                end += 1
            yield Block(name, place + 1, SHELL, "\n".join(text[4:] for text in lines[place:end]) + "\n")
            place = end
        place += 1


def strip_blocks(name: str) -> str:
    """The text of a page without its blocks."""
    lines = read_page(name).split("\n")
    for block in find_blocks(name):
        for place in range(block.line - 1, block.line - 1 + block.text.count("\n")):
            lines[place] = ""
    return "\n".join(line for line in lines if not line.startswith("```"))


def find_commands(name: str) -> list[Command]:
    """The commands of a page's shell blocks, and those between backticks in its text."""
    commands = [command for block in find_blocks(name) if block.language == SHELL for command in _split_block(block)]
    for inline in re.findall(r"`([^`]+)`", strip_blocks(name)):
        if inline.partition(" ")[0] in _PROGRAMS_IN_TEXT and " " in inline:
            commands += split_commands(name, inline)
    return commands


def _split_block(block: Block) -> Iterator[Command]:
    for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
        yield from split_commands(str(block), line)


def split_commands(place: str, line: str) -> list[Command]:
    """The commands of one line of a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word in _SEPARATORS:
            commands.append([])
        elif commands[-1] or not re.fullmatch(r"[A-Z_]+=.*", word, re.DOTALL):
            commands[-1].append(word)
    return [Command(place, tuple(words)) for words in commands if words]
