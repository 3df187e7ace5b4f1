"""A stand-in for GitHub's runner: runs the steps of a job in bash, as a workflow has them, without a network.

It imitates what three actions of GitHub do to folders: a checkout, an artifact that is kept, one that is fetched.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from unit_tests.builders.repository import ROOT

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_TOKEN = re.compile(r"'[^']*'|[A-Za-z_][\w-]*(?:\.[\w-]+)*(?:\(\))?|&&|\|\||[!=]=|!|[()]|\s+")
_IN_PYTHON = {"&&": " and ", "||": " or ", "!": " not ", "cancelled()": "False", "true": "True"}

# It stands in for `gh api`: it answers from a file of JSON documents by path, and notes the changes that it is sent.
_GH = """\
#!{python}
import json, subprocess, sys
from pathlib import Path

folder = Path({folder!r})
arguments = sys.argv[2:]
method = arguments[arguments.index("--method") + 1] if "--method" in arguments else None
jq = arguments[arguments.index("--jq") + 1] if "--jq" in arguments else None
fields = dict(arguments[n + 1].split("=", 1) for n, word in enumerate(arguments) if word == "--field")
path = next(word for word in arguments if "/" in word and "=" not in word and " " not in word)
body = fields.get("body", "")
if body:
    change = {{"method": method or "POST", "path": path, "body": Path(body[1:]).read_text()}}
    with (folder / "changes.jsonl").open("a") as file:
        file.write(json.dumps(change) + "\\n")
else:
    answer = json.loads((folder / "answers.json").read_text())[path]
    with (folder / "questions.jsonl").open("a") as file:
        file.write(json.dumps({{"path": path, "fields": fields}}) + "\\n")
    sys.exit(subprocess.run(["jq", "--raw-output", jq], input=json.dumps(answer), text=True).returncode)
"""
# It stands in for `python3 -m venv`: the packages of the tests are in the environment, since there is no network.
_PYTHON = """\
#!/bin/sh
{python} "$@" || exit
if [ "$1 $2" = "-m venv" ]; then
    for packages in "$3"/lib/python*/site-packages; do
        rm -rf "$packages"/setuptools*  # Python 3.11 brings one that is too old to build servegate
        cp "{packages}" "$packages/installed.pth"
    done
fi
"""


class StepFailedError(AssertionError):
    """A step has failed, with what it printed."""


@dataclass
class Runner:
    """A machine that runs jobs of one workflow run.

    Attributes
    ----------
    folder:
        The machine's own folder; artifacts stay there from one job to the next.
    github, inputs:
        The contexts of those names in a workflow.
    origin:
        The repository that a checkout clones, and the commit that it takes.
    """

    folder: Path
    github: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    origin: tuple[Path, str] | None = None
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("programs", "artifacts", "workspace", "temp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        packages = self.folder / "programs" / "installed.pth"
        packages.write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
        self._program("gh", _GH.format(python=sys.executable, folder=str(self.folder)))
        self._program("python3", _PYTHON.format(python=sys.executable, packages=packages))

    def _program(self, name: str, text: str) -> None:
        file = self.folder / "programs" / name
        file.write_text(text)
        file.chmod(0o755)

    def answer(self, answers: Mapping[str, object]) -> None:
        """GitHub's answers, by path."""
        (self.folder / "answers.json").write_text(json.dumps(answers))

    def noted(self, what: str) -> list[dict[str, Any]]:
        """The `changes` or `questions` that GitHub was sent."""
        file = self.folder / f"{what}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def run_job(self, job: Mapping[str, Any]) -> bool:
        """Run a job in a fresh workspace; False where its condition leaves it out.

        Raises
        ------
        StepFailedError
            After all of its steps that run in any case.
        """
        if not self._holds(job.get("if", "true"), {}):
            return False
        shutil.rmtree(self.folder / "workspace")
        (self.folder / "workspace").mkdir()
        self._run(job["steps"], self.inputs)
        return True

    def _run(self, steps: Sequence[Mapping[str, Any]], inputs: Mapping[str, str], action_path: str = "") -> None:
        failure: StepFailedError | None = None
        for step in steps:
            if failure is not None and "if" not in step:
                continue
            if not self._holds(step.get("if", "true"), inputs):
                continue
            try:
                if "run" in step:
                    self._run_script(step, inputs, action_path)
                else:
                    self._use(step["uses"], self._fill(step.get("with", {}), inputs, action_path))
            except StepFailedError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _use(self, action: str, given: Mapping[str, str]) -> None:
        name, workspace = action.partition("@")[0], self.folder / "workspace"
        if name == "actions/checkout":
            assert self.origin is not None, "a job with a checkout has a repository"
            assert given["fetch-depth"] == "0", "a comparison needs the other commit"
            subprocess.run(["git", "clone", "--quiet", str(self.origin[0]), str(workspace)], check=True)
            subprocess.run(["git", "checkout", "--quiet", self.origin[1]], cwd=workspace, check=True)
        elif name == "actions/upload-artifact":
            if Path(given["path"]).is_dir():
                shutil.copytree(given["path"], self.folder / "artifacts" / given["name"], dirs_exist_ok=True)
        elif name == "actions/download-artifact":
            source = self.folder / "artifacts" / given["name"]
            if not source.is_dir():
                raise StepFailedError(f"there is no artifact {given['name']}")
            shutil.copytree(source, workspace / given["path"])
        else:
            assert name.endswith("/servegate"), name
            action_path = _copy_action(self.folder / "action")
            document = yaml.safe_load((ROOT / "action.yml").read_text())
            unknown = given.keys() - document["inputs"].keys()
            assert not unknown, f"action.yml has no input {unknown}"
            defaults = {name: declared.get("default") for name, declared in document["inputs"].items()}
            self._run(document["runs"]["steps"], {**defaults, **given}, action_path)

    def _run_script(self, step: Mapping[str, Any], inputs: Mapping[str, str], action_path: str) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "PYTHON", "VIRTUAL_ENV", "SERVEGATE"))
        }
        environment = {
            **inherited,
            "PATH": f"{self.folder / 'programs'}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.folder / "temp"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "step-summary.md"),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round
            **self._fill(step.get("env", {}), inputs, action_path),
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        result = subprocess.run(
            command, cwd=self.folder / "workspace", env=environment, capture_output=True, text=True, check=False
        )
        self.shown.append(result.stdout)
        if result.returncode != 0:
            raise StepFailedError(f"status {result.returncode}\n{result.stdout}\n{result.stderr}")

    def _fill(self, values: Mapping[str, Any], inputs: Mapping[str, str], action_path: str) -> dict[str, str]:
        return {
            name: _EXPRESSION.sub(lambda match: str(self._evaluate(match[1], inputs, action_path)), str(value))
            for name, value in values.items()
        }

    def _holds(self, condition: str, inputs: Mapping[str, str]) -> bool:
        return bool(self._evaluate(condition.removeprefix("${{").removesuffix("}}"), inputs, ""))

    def _evaluate(self, expression: str, inputs: Mapping[str, str], action_path: str) -> object:
        """The value of an expression of names, texts, `&&`, `||`, `==` and `!=`; names that aren't there are empty."""
        contexts = {
            "github": {**self.github, "action_path": action_path, "token": "a-token"},
            "inputs": inputs,
            "runner": {"temp": str(self.folder / "temp")},
        }
        tokens = _TOKEN.findall(expression)
        assert "".join(tokens) == expression, f"the stand-in doesn't know {expression}"
        value: object = eval("".join(_as_python(token, contexts) for token in tokens).strip())
        return value


def _as_python(token: str, contexts: Mapping[str, Any]) -> str:
    if token in _IN_PYTHON:
        return _IN_PYTHON[token]
    if not token[0].isalpha():
        return token
    value: Any = contexts
    for name in token.split("."):
        value = value.get(name, "") if isinstance(value, Mapping) else ""
    return repr(value)


def _copy_action(folder: Path) -> str:
    """Copy the repository's files as GitHub downloads an action; its installation may write beside them."""
    if not folder.exists():
        for name in ("pyproject.toml", "README.md", "LICENSE", "action.yml"):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        shutil.copytree(ROOT / "servegate", folder / "servegate", ignore=shutil.ignore_patterns("__pycache__"))
    return str(folder)
