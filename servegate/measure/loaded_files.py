"""Check which Python files the processes of a pair load: each arm must run its own code.

An editable or ordinary install, a PYTHONPATH or a path in the command may lead both arms to the same code, whose
comparison with itself would pass. So each arm's interpreters log the files that they load (`inside/sitecustomize.py`),
and what they have loaded of the project must lie below the arm's folder.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from servegate.errors import WrongCodeError
from servegate.measure.code_path import code_folders
from servegate.processes.guard import guard
from servegate.records import Checkout

_INSIDE = Path(__file__).parent / "inside"
# `inside/sitecustomize.py` spells these two on its own: it can't import servegate.
_LOG = "SERVEGATE_LOADED_LOG"
_MODULES = "SERVEGATE_PROJECT_MODULES"
_MAIN = "__main__"
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class LoadedFile:
    """A file, and the name of the module that it was loaded as; `__main__` for a script."""

    module: str
    path: Path

    @property
    def depth(self) -> int:
        """The number of the path's parts that belong to the module's name: three in `…/service/model/weights.py`."""
        return self.module.count(".") + (2 if self.path.name == "__init__.py" else 1)


class LoadWatch:
    """Notes what the processes of a pair load.

    Parameters
    ----------
    folder:
        For the logs.
    """

    def __init__(self, checkouts: Sequence[Checkout], folder: Path) -> None:
        self._checkouts = checkouts
        self._folder = folder

    def watched(self, checkout: Checkout) -> Checkout:
        """The checkout with an environment in which its interpreters log what they load."""
        environment = {
            **checkout.environment,
            "PYTHONPATH": str(_INSIDE),
            _LOG: str(self._log(checkout)),
            _MODULES: ",".join(sorted(find_modules(self._checkouts))),
        }
        return replace(checkout, environment=environment)

    def own_files(self, checkout: Checkout, *, is_python: bool) -> dict[str, str]:
        """SHA-256 of each of its project's files that a checkout has loaded, by the path within its folder.

        Parameters
        ----------
        is_python:
            Whether its command names the checkout's interpreter, which must tell what it loads.

        Raises
        ------
        WrongCodeError
            When it has loaded a file of the project from elsewhere, or its interpreter told nothing.
        """
        log = self._log(checkout)
        if is_python and not log.exists():
            raise WrongCodeError(
                f"the {checkout.name}'s processes told nothing of the Python files that they loaded, so nothing "
                "vouches for the code that they ran. Leave out Python's options -I, -E and -S, which make it ignore "
                "PYTHONPATH (-P keeps the current folder off the path just as well), and set PYTHONPATH, where it is "
                "needed, by the target's `environment`"
            )
        return select_own_files(read_log(log), checkout, self._checkouts)

    def _log(self, checkout: Checkout) -> Path:
        return self._folder / checkout.name


@contextmanager
def watch_loading(checkouts: Sequence[Checkout]) -> Iterator[LoadWatch]:
    """Watch what the checkouts' processes load; the logs are gone with the context."""
    with tempfile.TemporaryDirectory(prefix="loaded-", dir=guard().folder) as folder:
        yield LoadWatch(checkouts, Path(folder))


def find_modules(checkouts: Sequence[Checkout]) -> set[str]:
    """Names of what may be a top-level package or module of the project in any of its checkouts."""
    folders = [folder for checkout in checkouts for folder in code_folders(checkout.folder) if folder.is_dir()]
    entries = [entry for folder in folders for entry in folder.iterdir() if entry.is_dir() or entry.suffix == ".py"]
    return {name for name in (entry.name.removesuffix(".py") for entry in entries) if name.isidentifier()}


def read_log(log: Path) -> list[LoadedFile]:
    """The files that a checkout's processes loaded so far, each once; none without a log."""
    words = log.read_text("utf-8", "surrogateescape").split("\0") if log.exists() else []
    entries = dict.fromkeys(zip(words[::2], words[1::2], strict=False))
    return [LoadedFile(module, Path(path)) for module, path in entries if path]


def select_own_files(files: Sequence[LoadedFile], checkout: Checkout, checkouts: Sequence[Checkout]) -> dict[str, str]:
    """Select the project's own files; result and errors as in `LoadWatch.own_files`."""
    own: dict[str, str] = {}
    for file in files:
        is_installed = _is_installed(file.path, checkouts)
        owner = None if is_installed else _find_owner(file.path, checkouts)
        is_own = owner is not None and owner.checkout.folder == checkout.folder
        if owner is not None and is_own and not _leads_to_a_copy(file, owner, checkouts):
            own[str(owner.inner_path)] = _sha256(file.path)
        elif owner is not None or _is_copy(file, checkouts, is_installed=is_installed):
            raise WrongCodeError(
                f"the {checkout.name} loaded {file.module} from {file.path}, which is not in its own folder "
                f"{checkout.folder}: the other checkout may run the same file, so there is nothing to compare. An "
                "install of the project, a PYTHONPATH, or an absolute path in the command leads there. Uninstall the "
                f"project from the environment of {checkout.python}, and name its files and folders relative to the "
                'project, as in HttpService(["{python}", "app.py"], environment={"PYTHONPATH": "backend"})'
            )
    return own


@dataclass(frozen=True)
class _Owner:
    """The checkout that a file lies in, and the path within it."""

    checkout: Checkout
    inner_path: Path


def _find_owner(path: Path, checkouts: Sequence[Checkout]) -> _Owner | None:
    """The checkout that a file lies in; the inner one of two that lie in each other."""
    # A link that leads out of all checkouts belongs to the one that has it.
    for candidate in (path.resolve(), path):
        owners = [
            _Owner(checkout, candidate.relative_to(folder))
            for checkout in checkouts
            for folder in (checkout.top.resolve(), checkout.top.absolute())
            if candidate.is_relative_to(folder)
        ]
        if owners:
            return min(owners, key=lambda owner: len(owner.inner_path.parts))
    return None


def _leads_to_a_copy(file: LoadedFile, owner: _Owner, checkouts: Sequence[Checkout]) -> bool:
    """Whether a file is a link out of its checkout to one that the project has elsewhere, as in the working tree.

    It is told by its path's last parts, two at least: the name alone is that of the link.
    """
    real = file.path.resolve()
    if real.is_relative_to(owner.checkout.top.resolve()):
        return False
    ends = [Path(*real.parts[-length:]) for length in range(2, len(real.parts))]
    return any((checkout.top / end).is_file() for checkout in checkouts for end in ends)


def _is_installed(path: Path, checkouts: Sequence[Checkout]) -> bool:
    """Whether a file belongs to an environment, which may lie in a checkout, and a checkout in it."""
    if _INSTALLED & set(path.parts):
        return True
    around = {parent for checkout in checkouts for parent in (checkout.top, *checkout.top.parents)}
    return any((parent / "pyvenv.cfg").exists() for parent in path.parents if parent not in around)


def _is_copy(file: LoadedFile, checkouts: Sequence[Checkout], *, is_installed: bool) -> bool:
    """Whether a file outside all checkouts is one that the project has, by the path from where it is imported.

    For a file that isn't installed, any longer end of its path counts as well, as in `backend/app/main.py`.
    """
    if is_installed and file.module == _MAIN:
        return False  # a program of a package, as uvicorn's
    longest = file.depth if is_installed else len(file.path.parts) - 1
    ends = [Path(*file.path.parts[-length:]) for length in range(file.depth, longest + 1)]
    folders = [folder for checkout in checkouts for folder in code_folders(checkout.folder)]
    if not is_installed:
        folders += [checkout.top for checkout in checkouts]
    return any((folder / end).is_file() for folder in folders for end in ends)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "gone"  # written, loaded and removed again
