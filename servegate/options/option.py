"""An option that stands on the command line and in the ini file, with one default and one parser."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from servegate.errors import SettingsError


@dataclass(frozen=True)
class Option:
    """An option `--perf-some-name`, with an ini twin `perf_some_name` unless it is meant for a single run.

    Attributes
    ----------
    default:
        The text that stands for a missing value; it is parsed as any other.
    parse:
        Makes a value of the text, or raises ValueError with what the text must look like.
    choices:
        The only texts that are allowed; empty for any.
    metavar:
        The value's name in `--help`.
    is_for_one_run:
        Whether the option makes sense for one run only, and so has no ini twin.
    """

    name: str
    default: str
    help: str
    parse: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    metavar: str = "VALUE"
    is_for_one_run: bool = False

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def description(self) -> str:
        """The help with the default."""
        return f"{self.help} (default: {self.default})" if self.default else self.help

    def read(self, config: pytest.Config) -> tuple[Any, str]:
        """The value, and where it came from; the command line goes before the ini file, and that before the default.

        Raises
        ------
        SettingsError
            For a wrong value, with its source.
        """
        text = config.getoption(self.name)
        if text is not None:
            return self.parse_from(text, self.flag), self.flag
        return self.read_ini(config)

    def read_ini(self, config: pytest.Config) -> tuple[Any, str]:
        """Read the value as `read` does, but not from the command line."""
        # pytest's own getini has no type that takes a string as well as a TOML list.
        entry = config._inicfg.get(self.name)
        source = f"{self.name} in {config.inipath or 'the default'}"
        return self.parse_from(self.default if entry is None else _as_text(entry.value), source), source

    def parse_from(self, text: str, source: str) -> Any:
        """Parse the value in the text; raises the same errors as `read`."""
        try:
            if self.choices and text not in self.choices:
                raise ValueError(f"must be {' or '.join(self.choices)}")
            return self.parse(text)
        except ValueError as error:
            raise SettingsError(f"{source}={text!r}: {error}") from None


@dataclass(frozen=True)
class Switch:
    """An option without a value, for a single run."""

    name: str
    help: str

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")


def _as_text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
