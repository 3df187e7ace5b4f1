"""The release workflow publishes what the tag names, and only the job that publishes can prove who it is."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import servegate
from unit_tests.builders.repository import ROOT

VERSION = "1.2.3"


def read_jobs() -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    return jobs


def compare_tag(tag: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the step that compares the tag with the version, in the folder of a checkout."""
    (step,) = (step for step in read_jobs()["build"]["steps"] if "TAG" in step.get("env", {}))
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "TAG": tag}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The two files that the step reads."""
    (tmp_path / "servegate").mkdir()
    (tmp_path / "servegate" / "__init__.py").write_text(f'__version__ = "{VERSION}"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## [Unreleased]\n\n## [{VERSION}] - 2026-01-02\n")
    return tmp_path


def test_a_tag_of_the_version_is_released(checkout: Path) -> None:
    result = compare_tag(f"v{VERSION}", checkout)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("tag", ["v1.2.4", "v1.2.3.1", "1.2.3"])
def test_a_tag_of_another_version_is_refused(tag: str, checkout: Path) -> None:
    result = compare_tag(tag, checkout)
    assert result.returncode == 1
    assert result.stderr.strip() == f"the tag {tag} isn't v1.2.3, the version in servegate/__init__.py"


def test_a_version_without_a_section_in_the_changelog_is_refused(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.2] - 2026-01-01\n")
    result = compare_tag(f"v{VERSION}", checkout)
    assert result.returncode == 1
    assert result.stderr.strip() == "CHANGELOG.md has no section [1.2.3]"


def test_this_version_could_be_released() -> None:
    result = compare_tag(f"v{servegate.__version__}", ROOT)
    assert result.returncode == 0, result.stderr


def test_only_the_publishing_job_gets_an_identity_and_it_runs_none_of_our_code() -> None:
    jobs = read_jobs()
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "build": {"contents": "read"},
        "publish": {"id-token": "write"},
    }
    publish = jobs["publish"]
    assert publish["environment"] == "pypi"
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def test_the_page_on_other_services_installs_this_version() -> None:
    page = (ROOT / "docs/your-own-service.md").read_text()
    assert f"servegate-{servegate.__version__}-py3-none-any.whl" in page
