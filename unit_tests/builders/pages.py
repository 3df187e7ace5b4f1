"""The project's pages, and the blocks of code, the commands, the links and the headings in them.

A block is fenced and names its language, or is indented and holds commands of a shell.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

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
_MARKDOWN = MarkdownIt("commonmark").enable("table")
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
    """All blocks of a page, also those within a list."""
    return [_make_block(name, token) for token in _parse(name) if token.type in ("fence", "code_block")]


def _parse(name: str) -> list[Token]:
    return _MARKDOWN.parse(read_page(name))


def _make_block(name: str, token: Token) -> Block:
    assert token.map is not None  # every block has one
    if token.type == "fence":
        return Block(name, token.map[0] + 2, token.info, token.content)
    return Block(name, token.map[0] + 1, SHELL, token.content)


def find_headings(name: str) -> list[str]:
    """The headings of a page, as they are written."""
    tokens = _parse(name)
    return [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]


def find_links(name: str) -> list[str]:
    """The targets of a page's links and pictures."""
    found = ((token.attrGet("href"), token.attrGet("src")) for token in _inline(name))
    return [str(target) for targets in found for target in targets if target is not None]


def _inline(name: str) -> Iterator[Token]:
    """The parts of a page's text, without its blocks."""
    for token in _parse(name):
        yield from token.children or ()


def find_commands(name: str) -> list[Command]:
    """The commands of a page's shell blocks, and those between backticks in its text."""
    commands = [command for block in find_blocks(name) if block.language == SHELL for command in _split_block(block)]
    for token in _inline(name):
        if token.type == "code_inline" and re.match(rf"({'|'.join(_PROGRAMS_IN_TEXT)}) ", token.content):
            commands += split_commands(name, token.content)
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
