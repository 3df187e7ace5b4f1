"""`servegate init`: writes what a project needs to be guarded, and overwrites nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from servegate.errors import CheckoutError, SetupError
from servegate.measure.http.service import HttpService
from servegate.options.values import cells
from servegate.records import Checkout
from servegate.setup.action import find_action
from servegate.setup.answers import Exchange, ask_twice
from servegate.setup.generated_files import ini_values, name_groups, performance_tests, workflow
from servegate.setup.ini_file import IniFile
from servegate.setup.project import OTHER_TESTS, PERF_TESTS, Project, choose_server, find_servers, read_project
from servegate.setup.requests import GivenRequest, match_paths, parse_json
from servegate.setup.server_code import Endpoint
from servegate.storage.git import run_git

_WORKFLOW = Path(".github") / "workflows" / "performance.yml"


@dataclass(frozen=True)
class InitOptions:
    """The options of the command line.

    Attributes
    ----------
    server:
        The file that starts the service; None to look for it.
    requests, expected:
        `[PATH=]JSON`; a request may be `[PATH=]@FILE`.
    concurrencies:
        Numbers of connections, as in `1,8`.
    action:
        The action, as in `OWNER/servegate@COMMIT`; None for the repository that servegate was installed from.
    question:
        Asks a person one question; None without a terminal.
    """

    server: str | None = None
    requests: Sequence[str] = ()
    expected: Sequence[str] = ()
    concurrencies: str = "1,8"
    action: str | None = None
    question: Callable[[str], str] | None = None


def run_init(root: Path, options: InitOptions, tell: Callable[[str], None]) -> None:
    """Write performance tests, settings, lines for git to ignore and a workflow, where they aren't there yet.

    Parameters
    ----------
    tell:
        Takes a line for the user.

    Raises
    ------
    ServegateError
        When the code doesn't show something, or the service doesn't work; the message says which flag or change helps.
    """
    if (root / PERF_TESTS).exists() or "perf_cells" in IniFile.find(root).keys:
        tell(f"kept {PERF_TESTS}/ and {IniFile.find(root).path.name}: this project has performance tests")
        project = None
    else:
        server = PurePosixPath(options.server) if options.server else choose_server(find_servers(root))
        project = read_project(root, server)
        _write_tests(project, options, tell)
    _ignore(root, project, tell)
    _write_workflow(root, project, options.action, tell)
    tell("next: servegate doctor    (starts the service, and says what this machine can tell apart in which time)")


def _write_tests(project: Project, options: InitOptions, tell: Callable[[str], None]) -> None:
    _check_concurrencies(options.concurrencies)
    tell(f"{project.server} starts the service: {' '.join(project.command)}")
    exchanges = _exchange(project, options, tell)
    groups = name_groups(exchanges)
    tests = project.root / PERF_TESTS / "test_service.py"
    tests.parent.mkdir()
    tests.write_text(performance_tests(project, groups), encoding="utf-8")
    tell(f"wrote {tests.relative_to(project.root)}")
    others = next((name for name in OTHER_TESTS if (project.root / name).is_dir()), None)
    ini = IniFile.find(project.root)
    for line in ini.add(ini_values(project, groups, options.concurrencies, others)):
        tell(f"wrote to {ini.path.name}: {line}")


def _check_concurrencies(text: str) -> None:
    try:
        values = cells(f"api={text}")["api"]
    except ValueError:
        values = (text,)
    if not all(isinstance(value, int) for value in values):
        raise SetupError(f"--concurrency={text!r}: must be different whole numbers above 0, as in 1,8")


def _exchange(project: Project, options: InitOptions, tell: Callable[[str], None]) -> list[Exchange]:
    """Make each endpoint's exchange: a person gives the requests that no option gives, the service the answers."""
    endpoints = project.code.endpoints
    requests = match_paths(options.requests, endpoints, "--request")
    expected = match_paths(options.expected, endpoints, "--expected")
    given = [
        GivenRequest.parse(requests.get(endpoint.path) or _ask_request(endpoint, options), endpoint, project.root)
        for endpoint in endpoints
    ]
    service = HttpService(project.command, environment=project.environment, health_path=project.code.health_path)
    tell("starting it once, to see its answers …")
    with service.process(Checkout.working_tree(project.root)) as server:
        answered = [ask_twice(server.url, request, project.root) for request in given]
    return [_confirm(exchange, body, expected, options, tell) for exchange, body in answered]


def _ask_request(endpoint: Endpoint, options: InitOptions) -> str:
    if endpoint.takes_form:
        example = f"@FILE for the form's field {endpoint.form_field!r}"
    else:
        keys = "{" + ", ".join(f'"{key}": …' for key in endpoint.keys) + "}"
        example = f"{keys if endpoint.keys else 'a JSON document'}, or @FILE for the bytes of a file"
    if options.question is None:
        raise SetupError(
            f"which request does POST {endpoint.path} take? Give one with a known right answer ({example}): "
            f"servegate init --request '{endpoint.path}=…'"
        )
    return options.question(f"A request for POST {endpoint.path} ({example}): ")


def _confirm(
    exchange: Exchange, body: bytes, expected: Mapping[str, str], options: InitOptions, tell: Callable[[str], None]
) -> Exchange:
    """Return the exchange if its answer, of which this is the body, is the right one."""
    path = exchange.request.path
    if path in expected:
        document = parse_json(expected[path], f"the answer of POST {path}")
        right = Exchange.from_document(exchange.request, document)
        right.require(body)
        return right
    tell(f"POST {path} answers {body.decode(errors='replace').strip()}")
    if options.question is None:
        tell("    that is taken for the right answer from now on: look at it once")
    elif options.question("Is that the right answer? [Y/n] ").strip().lower().startswith("n"):
        raise SetupError("make the service answer rightly, or choose another request; nothing was written")
    return exchange


def _ignore(root: Path, project: Project | None, tell: Callable[[str], None]) -> None:
    """Let git ignore the files that runs leave behind."""
    names = ["perf-report/", "__pycache__/"]
    # LitServe writes this file at each start, and a baseline is accepted only in a clean working tree.
    if project is not None and project.code.writes_client and not _is_tracked(root, "client.py"):
        names.append("/client.py")
    missing = [name for name in names if not _is_ignored(root, name.removeprefix("/"))]
    if not missing:
        return
    file = root / ".gitignore"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(text + ("\n" if text and not text.endswith("\n") else "") + "\n".join(missing) + "\n", "utf-8")
    tell(f"wrote to .gitignore: {' '.join(missing)}")


def _is_ignored(root: Path, name: str) -> bool:
    try:
        run_git(root, "check-ignore", "--quiet", "--no-index", f"{name}x" if name.endswith("/") else name)
    except CheckoutError:
        return False
    return True


def _is_tracked(root: Path, name: str) -> bool:
    return bool(run_git(root, "ls-files", "--", name))


def _write_workflow(root: Path, project: Project | None, named: str | None, tell: Callable[[str], None]) -> None:
    top = Path(run_git(root, "rev-parse", "--show-toplevel"))
    file = top / _WORKFLOW
    if project is None or file.exists():
        return
    if (top / ".gitlab-ci.yml").exists() and not (top / ".github").exists():
        tell("wrote no workflow: docs/ci.md of servegate has the job for GitLab")
        return
    action = named or find_action()
    if action is None:
        tell(
            "wrote no workflow: servegate wasn't installed from a git repository whose action a runner could use; "
            "docs/ci.md of servegate shows the file, and `servegate init --action OWNER/servegate@COMMIT` writes it"
        )
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = run_git(root, "rev-parse", "--show-prefix").rstrip("/")
    file.write_text(workflow(action, project, folder, _main_branch(root)), encoding="utf-8")
    tell(f"wrote {_WORKFLOW}")


def _main_branch(root: Path) -> str:
    """Find the branch that pull requests go to, as far as the clone knows it."""
    for reference in ("refs/remotes/origin/HEAD", "HEAD"):
        try:
            return run_git(root, "symbolic-ref", "--short", reference).removeprefix("origin/")
        except CheckoutError:
            continue
    return "main"
