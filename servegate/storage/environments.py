"""Environments of other commits, built once and kept."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from servegate.errors import CheckoutError
from servegate.processes.guard import guard

_TAIL_CHARACTERS = 500
_BY_PIP = (
    f"{shlex.quote(sys.executable)} -m venv {{folder}} && "
    "{folder}/bin/python -m pip install --quiet --requirement {lock}"
)


@dataclass(frozen=True)
class EnvironmentRecipe:
    """The recipe for another commit's environment.

    Attributes
    ----------
    lock:
        Name of the file that pins the packages; where no arm has it they share this environment.
    command:
        A shell's command that makes an environment in `{folder}` of the file `{lock}`; empty for venv and pip.
    is_shared:
        Share this environment whatever the lock files say.
    """

    lock: str
    command: str = ""
    is_shared: bool = False


def environment_python(
    head: Path, base: Path, recipe: EnvironmentRecipe, progress: Callable[[str], None] = lambda _: None
) -> str:
    """Return the interpreter of the base: this one if the lock files are equal, or else one of its own environment.

    An environment is built once and kept under the user's cache folder by its lock file, command and version of Python.

    Parameters
    ----------
    head, base:
        The two checkouts.
    progress:
        Called with a line of text when an environment is built, or shared for want of a lock file.

    Raises
    ------
    CheckoutError
        When only the head has a lock file, or the base's environment can't be built.
    """
    if recipe.is_shared:
        return sys.executable
    head_pins, base_pins = _read_lock(head, recipe.lock), _read_lock(base, recipe.lock)
    if head_pins is None and base_pins is None:
        missing = f"perf_lock = {recipe.lock}: there is no such file" if recipe.lock else "perf_lock is empty"
        progress(f"{missing}; both arms share this environment")
    if head_pins == base_pins:
        return sys.executable
    if base_pins is None:
        raise CheckoutError(
            f"the base has no {recipe.lock}, which perf_lock names, so nothing says which packages it ran with; "
            "--perf-same-env runs it in this environment"
        )
    key = hashlib.sha256(b"\0".join((base_pins, recipe.command.encode(), sys.version.encode()))).hexdigest()
    folder = user_cache_path("servegate") / key[:16]
    complete = folder / ".complete"
    if not complete.exists():
        progress(f"the base's environment is built, since its {recipe.lock} differs")
        _build(folder, base, recipe)
        complete.touch()
    return str(folder / "bin" / "python")


def _read_lock(checkout: Path, lock: str) -> bytes | None:
    file = checkout / lock
    return file.read_bytes() if lock and file.exists() else None


def _build(folder: Path, base: Path, recipe: EnvironmentRecipe) -> None:
    # The command could take leftovers of an earlier try for a part of the new environment.
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = recipe.command or _BY_PIP
    for placeholder, path in (("{folder}", folder), ("{lock}", base / recipe.lock)):
        command = command.replace(placeholder, shlex.quote(str(path)))
    # Tools such as Poetry and uv would install into the environment that this variable names: the head's.
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    result = subprocess.run(
        ["sh", "-c", command],
        cwd=base,
        env={**env, **guard().environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    said = result.stdout.strip()[-_TAIL_CHARACTERS:]
    by = f"by perf_environment = {recipe.command}" if recipe.command else "by pip; perf_environment names another way"
    if result.returncode != 0:
        raise CheckoutError(f"the base's environment can't be built {by}: {said}")
    if not (folder / "bin" / "python").exists():
        raise CheckoutError(f"the base's environment has no bin/python in {folder}, built {by}: {said}")
