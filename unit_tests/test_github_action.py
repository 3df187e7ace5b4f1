"""Tests of the action and of the workflows that docs/ci.md shows to another project: a stand-in runs each step."""

import json
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from servegate.cli import main
from servegate.setup.generated_files import workflow
from servegate.setup.project import read_project
from servegate.storage.history import append_run
from unit_tests.builders.example_projects import commit_all, copy_example
from unit_tests.builders.github_runner import Runner, StepFailedError
from unit_tests.builders.repository import ROOT
from unit_tests.builders.tiny_project import git

SHORT = "--perf-cells=api=4 --perf-pairs=2 --perf-blocks=2 --perf-burst-seconds=0.1 --perf-margin-percent=90"
COMMENTS = "repos/me/scores/issues/7/comments"


def page_texts() -> list[str]:
    """The workflows that docs/ci.md shows to another project."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    return [block for block in blocks if "jobs:" in block]


def read_page() -> dict[str, Any]:
    """The same workflows, parsed, by name."""
    documents = [yaml.safe_load(text) for text in page_texts()]
    return {document["name"]: document for document in documents}


@pytest.fixture(autouse=True)
def git_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "nobody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "nobody@example.org")


def publish_job(name: str) -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text())["jobs"][name]
    return job


def run_of(event: str, owner: str = "me", sha: str = "abc123") -> dict[str, Any]:
    """The context of the workflow that GitHub starts when the measuring one has ended."""
    run = {
        "id": 1,
        "event": event,
        "head_branch": "faster",
        "head_sha": sha,
        "head_repository": {"owner": {"login": owner}},
    }
    return {"repository": "me/scores", "event": {"workflow_run": run}}


INPUTS = {"artifact": "perf-report", "history": "perf-history"}


@pytest.fixture
def publisher(tmp_path: Path) -> Runner:
    """The runner after a run for pull request 7, which has left its report."""
    runner = Runner(tmp_path / "runner", run_of("pull_request"), INPUTS)
    report = tmp_path / "runner" / "artifacts" / "perf-report"
    report.mkdir()
    (report / "summary.md").write_text("No change found. @everyone\n")
    pulls = [{"number": 6, "head": {"sha": "old"}}, {"number": 7, "head": {"sha": "abc123"}}]
    runner.answer({"repos/me/scores/pulls": pulls, COMMENTS: []})
    return runner


class TestComment:
    """One comment of a pull request, which is renewed."""

    def test_the_first_one_is_written(self, publisher: Runner) -> None:
        assert publisher.run_job(publish_job("comment"))
        (change,) = publisher.noted("changes")
        assert (change["method"], change["path"]) == ("POST", COMMENTS)
        assert change["body"] == "<!-- servegate -->\nNo change found. @&#8203;everyone\n"

    def test_the_second_one_takes_its_place(self, publisher: Runner) -> None:
        comments = [
            {"url": "https://x/1", "body": "<!-- servegate --> by a person", "user": {"type": "User"}},
            {"url": "https://x/2", "body": "another bot", "user": {"type": "Bot"}},
            {"url": "https://x/3", "body": "<!-- servegate -->\nold", "user": {"type": "Bot"}},
        ]
        pulls = [{"number": 7, "head": {"sha": "abc123"}}]
        publisher.answer({"repos/me/scores/pulls": pulls, COMMENTS: comments})
        publisher.run_job(publish_job("comment"))
        (change,) = publisher.noted("changes")
        assert (change["method"], change["path"]) == ("PATCH", "https://x/3")

    def test_a_fork_is_found_by_its_owner_and_branch(self, publisher: Runner) -> None:
        publisher.github = run_of("pull_request", owner="stranger")
        publisher.run_job(publish_job("comment"))
        assert publisher.noted("questions")[0]["fields"] == {"state": "open", "head": "stranger:faster"}
        assert publisher.noted("changes")

    def test_a_pull_request_with_newer_commits_gets_none(self, publisher: Runner) -> None:
        publisher.github = run_of("pull_request", sha="gone")
        publisher.run_job(publish_job("comment"))
        assert not publisher.noted("changes")
        assert "no open pull request has this commit any more" in publisher.shown[-1]

    def test_a_run_without_a_summary_is_no_failure(self, publisher: Runner) -> None:
        (publisher.folder / "artifacts" / "perf-report" / "summary.md").unlink()
        publisher.run_job(publish_job("comment"))
        assert not publisher.noted("changes")

    def test_a_push_gets_no_comment(self, publisher: Runner) -> None:
        publisher.github = run_of("push")
        assert not publisher.run_job(publish_job("comment"))


def test_each_push_adds_its_figures_to_the_branch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`servegate trend` reads the branch."""
    bare = tmp_path / "server" / "me" / "scores.git"
    bare.mkdir(parents=True)
    git(bare, "init", "--quiet", "--bare")
    for number in range(2):
        document = {
            "schema": 1,
            "began": f"2026-01-0{number + 1}T08:00:00+00:00",
            "commit": f"{number}" * 40,
            "machine": {"class": "here"},
            "cells": [{"cell": "api[concurrency=8]", "now_per_s": 100.0, "status": "PASS"}],
        }
        context = run_of("push", sha=f"{number}" * 40)
        context["event"]["workflow_run"]["id"] = number
        runner = Runner(tmp_path / str(number), {**context, "server_url": f"file://{tmp_path}/server"}, INPUTS)
        append_run(tmp_path / str(number) / "run", document)
        (kept,) = (tmp_path / str(number) / "run").iterdir()
        report = runner.folder / "artifacts" / "perf-report"
        report.mkdir()
        kept.rename(report / "results.json")
        assert runner.run_job(publish_job("history"))
    git(tmp_path, "clone", "--quiet", "--branch", "perf-history", str(bare), "history")
    assert main(["trend", str(tmp_path / "history")]) == 0
    assert "2 runs, 1 cells" in capsys.readouterr().out


class TestPage:
    """The workflows that docs/ci.md tells another project to copy."""

    def test_what_measures_has_no_token_to_write_with(self) -> None:
        workflow = read_page()["performance"]
        assert workflow["permissions"] == {}
        (job,) = workflow["jobs"].values()
        assert job["permissions"] == {"contents": "read"}
        action = (ROOT / "action.yml").read_text()
        assert "token" not in action.partition("inputs:")[2]
        assert "secrets" not in action

    def test_what_publishes_waits_for_it_and_may_do_what_the_called_workflow_needs(self) -> None:
        pages = read_page()
        publishing = pages["performance results"]
        # YAML 1.1 reads `on` as true.
        assert publishing[True]["workflow_run"]["workflows"] == [pages["performance"]["name"]]
        (job,) = publishing["jobs"].values()
        called = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text())["jobs"].values()
        needed = {name: level for needing in called for name, level in needing["permissions"].items()}
        assert job["permissions"] == needed

    def test_this_repository_publishes_as_it_tells_others_to(self) -> None:
        shown = read_page()["performance results"]
        shown["jobs"]["publish"]["uses"] = "$/.github/workflows/publish.yml"
        assert yaml.safe_load((ROOT / ".github/workflows/performance-results.yml").read_text()) == shown

    def test_zizmor_has_nothing_to_say(self, tmp_path: Path) -> None:
        for number, text in enumerate(page_texts()):
            (tmp_path / f"{number}.yml").write_text(text.replace("COMMIT", "9d2ad33" + 33 * "0"))
        command: list[str | Path] = [
            Path(sys.executable).parent / "zizmor",
            "--offline",
            "--pedantic",
            *tmp_path.iterdir(),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout

    def test_it_is_what_servegate_init_writes(self, tmp_path: Path) -> None:
        git(tmp_path, "init", "--quiet")
        (tmp_path / "server.py").write_text("litserve.LitServer(Api()).run(port=os.environ['PORT'])\n")
        (tmp_path / "requirements.lock").touch()
        project = read_project(tmp_path, PurePosixPath("server.py"))
        written = yaml.safe_load(workflow("OWNER/servegate@COMMIT", project, folder="", branch="main"))
        assert written == read_page()["performance"]


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A project with two commits."""
    project = copy_example("text_scores", tmp_path / "scores")
    (project / "notes.txt").write_text("a change that changes nothing\n")
    commit_all(project)
    return project


def measure(runner: Runner, arguments: str = SHORT) -> None:
    """Run the job of the page, with short settings."""
    (job,) = read_page()["performance"]["jobs"].values()
    job["steps"][-1]["with"]["arguments"] = arguments
    runner.run_job(job)


# In the place of `python3 -m venv`: the environment's pip and python note how they were called, and write a summary.
ENVIRONMENT = """\
#!/bin/sh
mkdir -p "$3/bin"
echo "PATH=$3/bin:\\$PATH" > "$3/bin/activate"
cat > "$3/bin/pip" <<'END'
#!/bin/sh
echo "$(basename "$0") $*" >> "$RUNNER_TEMP/calls"
if [ "$1" = -m ]; then mkdir "$RUNNER_TEMP/perf-report"; echo measured > "$RUNNER_TEMP/perf-report/summary.md"; fi
END
chmod +x "$3/bin/pip"
cp "$3/bin/pip" "$3/bin/python"
"""


def make_events(scores: Path) -> dict[str, tuple[dict[str, Any], str, str]]:
    """The event of two commits, the commit that GitHub checks out, and the base, by the event's name."""
    (scores / "more.txt").touch()
    commit_all(scores)
    base, before, head = (git(scores, "rev-parse", name) for name in ("HEAD~2", "HEAD~1", "HEAD"))
    # GitHub checks out a merge of the pull request and of its target, which has gone on since.
    git(scores, "checkout", "--quiet", "-b", "target", base)
    (scores / "other.txt").touch()
    commit_all(scores)
    target = git(scores, "rev-parse", "HEAD")
    git(scores, "merge", "--quiet", "--no-edit", head)
    merged = git(scores, "rev-parse", "HEAD")
    return {
        "a pull request": ({"pull_request": {"base": {"sha": base}}}, head, base),
        "a fork's pull request": ({"pull_request": {"base": {"sha": target}}}, merged, target),
        "a push": ({"before": base}, head, base),
        "a push of a new branch": ({"before": "0" * 40}, head, before),
    }


class TestSteps:
    """The action's steps in their order, on each event; nothing is installed or measured."""

    @pytest.mark.parametrize("name", ["a pull request", "a fork's pull request", "a push", "a push of a new branch"])
    def test_it_installs_measures_beside_the_base_and_keeps_the_report(
        self, scores: Path, tmp_path: Path, name: str
    ) -> None:
        event, commit, base = make_events(scores)[name]
        runner = Runner(tmp_path / "runner", {"event": event}, origin=(scores, commit))
        (runner.folder / "programs" / "python3").write_text(ENVIRONMENT)
        measure(runner, "--perf-pairs=4 --perf-blocks=2")
        report = runner.folder / "temp" / "perf-report"
        assert (runner.folder / "temp" / "calls").read_text().splitlines() == [
            "pip install -r requirements.lock",
            f"pip install --quiet {runner.folder / 'action'}[report]",
            f"python -m pytest perf_tests --perf-versus {base} --perf-strict --perf-report {report} "
            f"--junitxml {report / 'junit.xml'} --perf-pairs=4 --perf-blocks=2",
        ]
        assert (runner.folder / "step-summary.md").read_text() == "measured\n"
        assert (runner.folder / "artifacts" / "perf-report" / "summary.md").read_text() == "measured\n"


@pytest.mark.slow
def test_from_the_checkout_of_a_pull_request_to_its_comment(scores: Path, tmp_path: Path) -> None:
    base, head = git(scores, "rev-parse", "HEAD~1"), git(scores, "rev-parse", "HEAD")
    event = {"pull_request": {"base": {"sha": base}}}
    runner = Runner(tmp_path / "runner", {"event": event}, origin=(scores, head))
    try:
        measure(runner)
    except StepFailedError as error:  # two short pairs on a busy machine may disagree, which fails in CI
        if "INCONCLUSIVE" not in str(error):
            raise
    results = json.loads((runner.folder / "artifacts" / "perf-report" / "results.json").read_text())
    assert results["compared_with"]["commit"] == base
    assert "api" in (runner.folder / "step-summary.md").read_text()
    runner.github, runner.inputs = run_of("pull_request", sha=head), INPUTS
    runner.answer({"repos/me/scores/pulls": [{"number": 7, "head": {"sha": head}}], COMMENTS: []})
    runner.run_job(publish_job("comment"))
    (change,) = runner.noted("changes")
    assert "api" in change["body"]


@pytest.mark.slow
def test_a_push_with_wrong_answers_is_red_and_keeps_its_report(scores: Path, tmp_path: Path) -> None:
    before = git(scores, "rev-parse", "HEAD")
    server = scores / "service" / "server.py"
    server.write_text(server.read_text().replace('"great": 2.0', '"great": 20.0'))
    commit_all(scores)
    runner = Runner(tmp_path / "runner", {"event": {"before": before}}, origin=(scores, "HEAD"))
    with pytest.raises(StepFailedError, match="INVALID"):
        measure(runner)
    results = json.loads((runner.folder / "artifacts" / "perf-report" / "results.json").read_text())
    assert [cell["status"] for cell in results["cells"]] == ["INVALID"]
    assert "INVALID" in (runner.folder / "step-summary.md").read_text()
