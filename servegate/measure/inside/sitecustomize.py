"""Tells which Python files a process loads. Python imports it at the start, since its folder leads the PYTHONPATH.

It runs inside the service, under whatever version of Python and packages that has. So it imports what every interpreter
has loaded anyway, and an error of its own never reaches the service. `servegate.measure.loaded_files` reads its log.
"""

import os
import sys
from importlib.machinery import PathFinder, SourceFileLoader

TYPE_CHECKING = False  # as mypy knows it; typing would take some ms
if TYPE_CHECKING:
    from types import CodeType

_LOG = os.environ.get("SERVEGATE_LOADED_LOG", "")
_PROJECT_MODULES = frozenset(os.environ.get("SERVEGATE_PROJECT_MODULES", "").split(","))
_HERE = os.path.dirname(os.path.abspath(__file__))
_STANDARD_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep


def _may_be_the_projects(module: str, path: str) -> bool:
    """Installed packages have thousands of files: only those that bear a name of the project's are told."""
    if "site-packages" in path or "dist-packages" in path:
        return module.partition(".")[0] in _PROJECT_MODULES
    return not path.startswith(_STANDARD_LIBRARY)


def _tell(module: str, path: str) -> None:
    """Append a file to the log. A process that is killed, forked or loses its open files keeps what it has told."""
    log = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(log, os.fsencode(module + "\0" + path + "\0"))  # one write, so that processes don't mix theirs
    finally:
        os.close(log)


def _tell_main() -> None:
    """Tell the script, which no loader loads. Without one (`-m`, `-c`) the path is empty: this process takes part."""
    script = sys.argv[0] if sys.argv else ""
    _tell("__main__", os.path.abspath(script) if os.path.isfile(script) else "")


def _watch_loader() -> None:
    get_code = SourceFileLoader.get_code

    def tell_and_get_code(loader: SourceFileLoader, fullname: str) -> "CodeType | None":
        try:
            path = os.path.abspath(loader.path)
            if _may_be_the_projects(fullname, path):
                _tell(fullname, path)
        except Exception:
            pass  # a service must run as it does without servegate, be it on a full disk
        return get_code(loader, fullname)

    SourceFileLoader.get_code = tell_and_get_code  # type: ignore[method-assign, assignment]


def _run_next_sitecustomize() -> None:
    """Run the one that this one hides, such as Debian's or the user's; its errors are reported as ever."""
    spec = PathFinder.find_spec("sitecustomize", [entry for entry in sys.path if os.path.abspath(entry) != _HERE])
    if spec is not None and spec.loader is not None:
        from importlib.util import module_from_spec  # takes 1 ms that most processes can save

        module = sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(module)


if _LOG:
    try:
        _watch_loader()
        _tell_main()
    except Exception:
        pass  # the gate notices that a process has told nothing
_run_next_sitecustomize()
