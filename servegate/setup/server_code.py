"""Reads the source of a LitServe app: how it gets its port, its endpoints, and the keys of their requests."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SERVER, _API = "LitServer", "LitAPI"
_PORT_VARIABLE = re.compile(r"([A-Z0-9]+_)*PORT")
# Packages that make the option --port of a function's parameter.
_MAKE_OPTIONS = frozenset({"fire", "jsonargparse", "tyro", "typer"})
_UPLOAD = "UploadFile"
# The name of LitServe's parameter, and so of a form's only field.
_BODY = "request"


@dataclass(frozen=True)
class Endpoint:
    """One path that requests are posted to.

    Attributes
    ----------
    keys:
        The names that the code reads from a request; empty where it doesn't say.
    is_stream:
        Whether the answer comes in pieces.
    takes_form:
        Whether the request is an uploaded file in a form.
    """

    path: str = "/predict"
    keys: tuple[str, ...] = ()
    is_stream: bool = False
    takes_form: bool = False

    @property
    def form_field(self) -> str | None:
        """The field of the form that the file belongs in; None where no form is taken."""
        if not self.takes_form:
            return None
        return self.keys[0] if self.keys else _BODY


@dataclass(frozen=True)
class ServerCode:
    """A server as its file shows it.

    Attributes
    ----------
    port_option, port_variable:
        The option or the environment variable that sets the port; None for another way or none.
    run_line:
        The line that starts the server; 0 if it isn't in this file.
    writes_client:
        Whether LitServe writes a `client.py` when the server starts.
    """

    endpoints: tuple[Endpoint, ...]
    health_path: str
    port_option: str | None
    port_variable: str | None
    run_line: int
    writes_client: bool


def parse_sources(files: Sequence[Path]) -> dict[Path, ast.Module]:
    """The syntax trees of the files that this Python can parse."""
    trees = {}
    for file in files:
        try:
            trees[file] = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # this file does not start the server, or Python will explain the error better
    return trees


def makes_server(tree: ast.Module) -> bool:
    """Whether a module makes a LitServer."""
    return any(_name(call.func) == _SERVER for call in _calls(tree))


def read_server(tree: ast.Module, others: Sequence[ast.Module]) -> ServerCode:
    """Read a server's module.

    Parameters
    ----------
    others:
        The project's modules, of which some may hold the classes that the server uses.
    """
    classes = {
        node.name: node for module in (*others, tree) for node in ast.walk(module) if isinstance(node, ast.ClassDef)
    }
    servers = [call for call in _calls(tree) if _name(call.func) == _SERVER]
    runs = [call for call in _calls(tree) if isinstance(call.func, ast.Attribute) and call.func.attr == "run"]
    run = next((call for call in runs if _keywords(call).keys() & {"port", "host", "generate_client_file"}), None)
    run = run or next(iter(runs), None)
    of_server = {name: value for call in servers for name, value in _keywords(call).items()}
    return ServerCode(
        endpoints=tuple(_endpoints(tree, classes, of_server)),
        health_path=_text(of_server.get("healthcheck_path"), "/health"),
        port_option=_port_option(tree),
        port_variable=_port_variable(tree),
        run_line=run.lineno if run else 0,
        writes_client=run is None or _flag(_keywords(run).get("generate_client_file"), default=True),
    )


def _endpoints(
    tree: ast.Module, classes: Mapping[str, ast.ClassDef], of_server: Mapping[str, ast.expr]
) -> Iterator[Endpoint]:
    seen = set()
    for call in _calls(tree):
        made = classes.get(_name(call.func))
        if made is None or not _is_api(made, classes):
            continue
        keywords = {**of_server, **_keywords(call)}
        path = _text(keywords.get("api_path"), Endpoint.path)
        if path not in seen:
            seen.add(path)
            yield _endpoint(path, made, classes, is_stream=_flag(keywords.get("stream"), default=False))
    if not seen:
        yield Endpoint(_text(of_server.get("api_path"), Endpoint.path))


def _endpoint(path: str, made: ast.ClassDef, classes: Mapping[str, ast.ClassDef], *, is_stream: bool) -> Endpoint:
    methods = {node.name: node for node in made.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    method = methods.get("decode_request") or methods.get("predict")
    if method is None or len(method.args.args) < 2:
        return Endpoint(path, is_stream=is_stream)
    request = method.args.args[1]
    annotation = ast.unparse(request.annotation) if request.annotation else ""
    reads_file = any(isinstance(node, ast.Attribute) and node.attr == "file" for node in ast.walk(method))
    keys = _fields(classes[annotation]) if annotation in classes else _keys(method, request.arg)
    return Endpoint(path, tuple(keys), is_stream, _UPLOAD in annotation or reads_file)


def _keys(method: ast.AST, request: str) -> list[str]:
    """The names in `request["text"]` and `request.get("text")`, each once."""
    return list(dict.fromkeys(key for source, key in _reads(method) if source == request))


def _reads(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The source and the key of `source["key"]`, `source.get("key")` and `source("key")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            source, key = node.value, node.slice
        elif isinstance(node, ast.Call) and node.args:
            source, key = node.func, node.args[0]
            if isinstance(source, ast.Attribute) and source.attr == "get":
                source = source.value
        else:
            continue
        if text := _text(key, ""):
            yield _name(source), text


def _fields(model: ast.ClassDef) -> list[str]:
    """The fields of a pydantic model or a dataclass."""
    return [
        node.target.id for node in model.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def _is_api(made: ast.ClassDef, classes: Mapping[str, ast.ClassDef], seen: frozenset[str] = frozenset()) -> bool:
    bases = {_name(base) for base in made.bases}
    return _API in bases or any(
        base in classes and base not in seen and _is_api(classes[base], classes, seen | {made.name}) for base in bases
    )


def _port_option(tree: ast.Module) -> str | None:
    parameters = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    if "--port" in read_texts([tree]) or (imported_modules([tree]) & _MAKE_OPTIONS and "port" in parameters):
        return "--port"
    return None


def _port_variable(tree: ast.Module) -> str | None:
    """As in `os.environ["PORT"]`, `os.environ.get("PORT", 8000)` and `os.getenv("PORT")`."""
    variables = (key for source, key in _reads(tree) if source in ("environ", "getenv"))
    return next((name for name in variables if _PORT_VARIABLE.fullmatch(name)), None)


def read_texts(trees: Sequence[ast.Module]) -> frozenset[str]:
    """All texts that stand between quotes in the code."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def imported_modules(trees: Sequence[ast.Module]) -> frozenset[str]:
    """The top-level names of what the code imports."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_others = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return frozenset(name.partition(".")[0] for name in plain | from_others)


def _calls(tree: ast.Module) -> list[ast.Call]:
    """The calls, in the order in which they stand in the file."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sorted(calls, key=lambda call: (call.lineno, call.col_offset))


def _name(node: ast.expr) -> str:
    """The last part of a name, as LitServer in `ls.LitServer`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _keywords(call: ast.Call) -> dict[str, ast.expr]:
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def _text(node: ast.expr | None, default: str) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else default


def _flag(node: ast.expr | None, *, default: bool) -> bool:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, bool) else default
