"""Reads a project: its server and how that starts, the lock file of its packages, the ignored files that it needs."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from servegate.errors import CheckoutError, SetupError
from servegate.setup.server_code import (
    ServerCode,
    imported_modules,
    makes_server,
    parse_sources,
    read_server,
    read_texts,
)
from servegate.storage.git import run_git

# Lock files in the order of the search, each with the command that makes an environment; empty for venv and pip.
_LOCKS = {
    "requirements.lock": "",
    "uv.lock": "UV_PROJECT_ENVIRONMENT={folder} uv sync --frozen --no-install-project",
    "poetry.lock": "python -m venv {folder} && VIRTUAL_ENV={folder} poetry install --no-root",
    "requirements.txt": "",
}
_RECORDED = ("jax", "litserve", "numpy", "onnxruntime", "openvino", "tensorflow", "torch", "transformers", "vllm")
PERF_TESTS = "perf_tests"
OTHER_TESTS = ("tests", "test", "unit_tests")
_SOURCE = "src"
# Folders that tools leave behind; a name in the code that looks like one of them is a coincidence.
_OF_TOOLS = frozenset({"build", "dist", "env", "node_modules", "perf-report", "venv", "__pycache__"})


@dataclass(frozen=True)
class Project:
    """A project, as far as its files show it.

    Attributes
    ----------
    server:
        The file that starts the server, from the project's root.
    command, environment:
        The arguments of `HttpService`.
    service:
        The file or folder that holds the service's code.
    lock:
        The file that pins its packages; None if there is none.
    make_environment:
        The command for `perf_environment`; empty for venv and pip.
    carried:
        The ignored files and folders that the code names.
    packages:
        Packages whose versions are worth recording.
    """

    root: Path
    server: PurePosixPath
    code: ServerCode
    command: tuple[str, ...]
    environment: Mapping[str, str]
    service: str
    lock: str | None
    make_environment: str
    carried: tuple[str, ...]
    packages: tuple[str, ...]


def read_code(root: Path) -> dict[Path, ast.Module]:
    """The project's Python files that git doesn't ignore, without its tests.

    Raises
    ------
    SetupError
        Where git knows no such project.
    """
    return parse_sources([root / name for name in _python_files(root)])


def read_service_code(root: Path, service: PurePosixPath) -> list[ast.Module]:
    """The code of the service, and of what it imports of the project: a project's tools need other files than it does.

    Parameters
    ----------
    service:
        The service's file or folder, from the project's root.

    Raises
    ------
    SetupError
        Where git knows no such project.
    """
    by_name: dict[str, list[ast.Module]] = {}
    for file, tree in read_code(root).items():
        by_name.setdefault(_top_module(PurePosixPath(file.relative_to(root))), []).append(tree)
    reached: set[str] = set()
    names = {_top_module(service)} if service.parts else set(by_name)
    while names:
        reached |= names
        imported = imported_modules([tree for name in names for tree in by_name.get(name, ())])
        names = set(imported & by_name.keys()) - reached
    return [tree for name in sorted(reached) for tree in by_name.get(name, ())]


def _top_module(path: PurePosixPath) -> str:
    """The name by which a file, or a folder of files, is imported."""
    parts = path.parts
    return (parts[1] if parts[0] == _SOURCE and len(parts) > 1 else parts[0]).removesuffix(".py")


def find_servers(root: Path) -> list[PurePosixPath]:
    """The files that make a LitServer: those that also run it, if there are any.

    Raises
    ------
    SetupError
        Where git knows no such project.
    """
    trees = read_code(root)
    servers = [file.relative_to(root) for file, tree in trees.items() if makes_server(tree)]
    running = [name for name in servers if read_server(trees[root / name], ()).run_line]
    return [PurePosixPath(name.as_posix()) for name in running or servers]


def read_project(root: Path, server: PurePosixPath) -> Project:
    """Read the project whose server is started by a file.

    Raises
    ------
    SetupError
        When the file isn't there or is no Python, or when the server's port can't be set.
    """
    trees = read_code(root)
    if root / server not in trees:
        raise SetupError(f"{server} is no Python file of the project {root} that git doesn't ignore")
    modules = list(trees.values())
    code = read_server(trees[root / server], modules)
    environment = {code.port_variable: "{port}"} if code.port_variable and not code.port_option else {}
    if not code.port_option and not environment:
        raise SetupError(_advise_port(root, server, code))
    port = (code.port_option, "{port}") if code.port_option else ()
    lock = next((name for name in _LOCKS if (root / name).is_file()), None)
    imported = imported_modules(modules)
    return Project(
        root=root,
        server=server,
        code=code,
        command=("{python}", *_module_or_file(root, server), *port),
        environment=environment,
        service=_service(server),
        lock=lock,
        make_environment=_LOCKS.get(lock or "", ""),
        carried=find_carried(root, modules),
        packages=tuple(name for name in _RECORDED if name in imported),
    )


def _python_files(root: Path) -> list[str]:
    """The Python files that git tracks or would add, except tests."""
    try:
        listed = run_git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py")
    except CheckoutError as error:
        raise SetupError(
            f"{root} is no git repository, and a comparison needs the project's commits: git init ({error})"
        ) from None
    names = sorted(set(filter(None, listed.split("\0"))))
    return [name for name in names if PurePosixPath(name).parts[0] not in (PERF_TESTS, *OTHER_TESTS)]


def _module_or_file(root: Path, server: PurePosixPath) -> tuple[str, ...]:
    """`-m app.server` for a module of a package, else the file."""
    parts = server.with_suffix("").parts
    module = parts[1:] if parts[0] == _SOURCE else parts
    if len(module) == 1 or (parts[0] != _SOURCE and not (root / server.parent / "__init__.py").exists()):
        return (str(server),)
    return ("-m", ".".join(module[:-1] if module[-1] == "__main__" else module))


def _service(server: PurePosixPath) -> str:
    parts = server.parts
    depth = 2 if parts[0] == _SOURCE and len(parts) > 1 else 1
    return str(PurePosixPath(*parts[:depth]))


def find_carried(root: Path, trees: Sequence[ast.Module]) -> tuple[str, ...]:
    """Find the ignored files and folders that a text in the code names: by path, name or a path below a folder."""
    listed = run_git(root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    named = {PurePosixPath(text) for text in read_texts(trees) if text and "\n" not in text and len(text) < 200}
    found = []
    for entry in filter(None, listed.split("\0")):
        path = PurePosixPath(entry)
        is_of_tool = path.parts[0] in _OF_TOOLS or path.parts[0].startswith(".") or "__pycache__" in path.parts
        if is_of_tool or path.suffix in (".pyc", ".egg-info"):
            continue
        if path in named or PurePosixPath(path.name) in named or any(path in text.parents for text in named):
            found.append(entry)
    return tuple(found)


def _advise_port(root: Path, server: PurePosixPath, code: ServerCode) -> str:
    where, line = str(server), ""
    if code.run_line:
        where = f"{server}:{code.run_line}"
        line = (root / server).read_text(encoding="utf-8").splitlines()[code.run_line - 1].strip()
    return (
        f"{where} listens on a port that cannot be set from outside, and a comparison runs two servers at a time.\n"
        f"    {line or '(the line that starts the server)'}\n"
        "Let the port come from the variable PORT, and run servegate init again:\n"
        '    port=int(os.environ.get("PORT", 8000))    (with `import os` at the top)'
    )


def choose_server(servers: Sequence[PurePosixPath]) -> PurePosixPath:
    """The only server.

    Raises
    ------
    SetupError
        When there is none, or more than one.
    """
    if len(servers) == 1:
        return servers[0]
    found = (
        f"{len(servers)} files make a LitServer: {', '.join(map(str, servers))}"
        if servers
        else ("no Python file that git doesn't ignore makes a LitServer")
    )
    raise SetupError(f"{found}; name the one that starts the service: servegate init --server FILE")
