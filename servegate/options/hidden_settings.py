"""Detect settings in a file that pytest ignores: if there are several ini files, pytest reads only the first."""

import tomllib

import pytest

from servegate.errors import SettingsError


def refuse_hidden_settings(config: pytest.Config) -> None:
    """Refuse a run whose settings stand in pyproject.toml while another ini file hides them.

    Raises
    ------
    SettingsError
        If there are such settings; the message names them and both files.
    """
    ini, pyproject = config.inipath, config.rootpath / "pyproject.toml"
    is_chosen = bool(getattr(config.option, "inifilename", None))  # pytest -c
    if ini is None or is_chosen or ini == pyproject or ini.parent != pyproject.parent or not pyproject.is_file():
        return
    # pytest has parsed it before, when it looked for the root.
    table = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {}).get("pytest", {})
    names = sorted(name for name in {**table, **table.get("ini_options", {})} if name.startswith("perf_"))
    if names:
        raise SettingsError(
            f"{pyproject} sets {', '.join(names)}, but pytest reads {ini.name} beside it and no other ini file; "
            f"move these lines to {ini.name}, or all of {ini.name} to pyproject.toml"
        )
