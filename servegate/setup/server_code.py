"""What the source of a LitServe app says: how it gets its port, its endpoints, and what their requests hold."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SERVER, _API = "LitServer", "LitAPI"
_PORT_VARIABLE = re.compile(r"([A-Z0-9]+_)*PORT")
# They make the option --port of a function's parameter.
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
    """What a server's file says.

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
            continue  # it is not this file that starts the server, or Python will say it better
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
        writes_client=run is None or not _is_false(_keywords(run).get("generate_client_file")),
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
            yield _endpoint(path, made, classes, is_stream=_is_true(keywords.get("stream")))
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
    """The names in `request["text"]` and `request.get("text")`, in the order in which the code has them."""
    found = []
    for node in ast.walk(method):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and _name(node.value) == request:
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            key = node.args[0] if node.args and _name(node.func.value) == request else None
        if text := _text(key, ""):
            found.append(text)
    return list(dict.fromkeys(found))


def _fields(model: ast.ClassDef) -> list[str]:
    """Of a pydantic model or a dataclass."""
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
    if "--port" in _texts(tree) or (imported_modules([tree]) & _MAKE_OPTIONS and "port" in parameters):
        return "--port"
    return None


def _port_variable(tree: ast.Module) -> str | None:
    """As in `os.environ["PORT"]`, `os.environ.get("PORT", 8000)` and `os.getenv("PORT")`."""
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Subscript) and _name(node.value) == "environ":
            name = _text(node.slice, "")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Attribute | ast.Name):
            of = _name(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            if _name(node.func) == "getenv" or (_name(node.func), of) == ("get", "environ"):
                name = _text(node.args[0], "")
        if _PORT_VARIABLE.fullmatch(name):
            return name
    return None


def read_texts(trees: Sequence[ast.Module]) -> frozenset[str]:
    """All texts that stand between quotes in the code."""
    return frozenset(text for tree in trees for text in _texts(tree))


def imported_modules(trees: Sequence[ast.Module]) -> frozenset[str]:
    """The top-level names of what the code imports."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_others = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return frozenset(name.partition(".")[0] for name in plain | from_others)


def _texts(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _calls(tree: ast.Module) -> list[ast.Call]:
    """In the order in which they stand in the file."""
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


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False
