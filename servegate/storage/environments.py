"""Environments of other commits, built once and kept."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from platformdirs import user_cache_path

from servegate.errors import CheckoutError
from servegate.processes.guard import guard


def environment_python(root: Path, base: Path, lock: str, *, same: bool) -> str:
    """The interpreter that the base runs with: this one if the lock files are alike, else one of its own.

    An environment is built once and kept under the user's cache folder by its lock file's hash.

    Parameters
    ----------
    root, base:
        The two checkouts.
    lock:
        Name of the lock file in both.
    same:
        Share this environment whatever the lock files say.

    Raises
    ------
    CheckoutError
        When the base has no lock file or its packages can't be installed.
    """
    base_lock = base / lock
    if same or (base_lock.exists() and base_lock.read_bytes() == (root / lock).read_bytes()):
        return sys.executable
    if not base_lock.exists():
        raise CheckoutError(f"the base has no {lock}; share this environment with --perf-same-env")
    folder = user_cache_path("servegate") / hashlib.sha256(base_lock.read_bytes()).hexdigest()[:16]
    python = folder / "bin" / "python"
    complete = folder / ".complete"
    if not complete.exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(base_lock)],
        ):
            env = {**os.environ, **guard().environment}
            result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise CheckoutError(f"the base's environment can't be built: {result.stderr.strip()[-500:]}")
        complete.touch()
    return str(python)
