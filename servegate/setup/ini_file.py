"""The file that pytest reads a project's settings from: found as pytest finds it, and given further lines."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

# The places, in the order in which pytest looks. A file of the first four counts even without its section.
_PLACES = (
    ("pytest.toml", "[pytest]"),
    (".pytest.toml", "[pytest]"),
    ("pytest.ini", "[pytest]"),
    (".pytest.ini", "[pytest]"),
    ("pyproject.toml", "[tool.pytest]"),
    ("pyproject.toml", "[tool.pytest.ini_options]"),
    ("tox.ini", "[pytest]"),
    ("setup.cfg", "[tool:pytest]"),
)
_COUNT_WITHOUT_SECTION = 4


@dataclass(frozen=True)
class IniFile:
    """A section of a file; neither needs to be there yet."""

    path: Path
    section: str

    @classmethod
    def find(cls, root: Path) -> "IniFile":
        """Find the file that pytest reads in a project, or choose the one that it should get."""
        for place, (name, section) in enumerate(_PLACES):
            file = root / name
            if file.is_file() and (place < _COUNT_WITHOUT_SECTION or _find(section, _lines(file)) is not None):
                return cls(file, section)
        if (root / "pyproject.toml").is_file():
            return cls(root / "pyproject.toml", "[tool.pytest.ini_options]")
        return cls(root / "pytest.ini", "[pytest]")

    @property
    def keys(self) -> frozenset[str]:
        """The names that the section sets."""
        lines = _lines(self.path)
        place = _find(self.section, lines)
        rest = [] if place is None else lines[place + 1 :]
        section = takewhile(lambda line: not line.startswith("["), rest)
        matches = [re.match(r"\s*([\w-]+)\s*[=:]", line) for line in section]
        return frozenset(match[1] for match in matches if match)

    def add(self, values: Mapping[str, str | list[str]]) -> Sequence[str]:
        """Write the values that the section doesn't set yet, above those that it has. Returns their lines."""
        write = _as_toml if self.path.suffix == ".toml" else _as_ini
        present = self.keys
        added = [f"{name} = {write(value)}" for name, value in values.items() if name not in present]
        if not added:
            return ()
        lines = _lines(self.path)
        found = _find(self.section, lines)
        if found is None:
            lines += ["", self.section] if lines else [self.section]
        place = len(lines) if found is None else found + 1
        lines[place:place] = added
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return added


def _find(section: str, lines: Sequence[str]) -> int | None:
    """The line that begins a section, whatever spaces and comments it has; a second one would make TOML invalid."""
    for place, line in enumerate(lines):
        header = re.fullmatch(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?", line)
        if header is not None and f"[{header[1]}]" == section:
            return place
    return None


def _as_toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _as_ini(value: str | list[str]) -> str:
    return " ".join(value) if isinstance(value, list) else value


def _lines(file: Path) -> list[str]:
    return [line.rstrip() for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
