"""Workflows that measure on a runner with a GPU never measure its CPU in place of that."""

from typing import Any

import pytest
import yaml

from unit_tests.builders.repository import ROOT

_WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
_ON_GPU = [
    (name, job_name)
    for name, workflow in _WORKFLOWS.items()
    for job_name, job in workflow["jobs"].items()
    if "gpu" in job.get("runs-on", ())
]


def test_some_workflow_runs_on_a_gpu() -> None:
    """Otherwise the test below would say nothing."""
    assert _ON_GPU


@pytest.mark.parametrize(("name", "job_name"), _ON_GPU)
def test_the_gpu_is_asked_for(name: str, job_name: str) -> None:
    """With `auto` a runner without its driver would store and compare figures of its CPU."""
    workflow: dict[str, Any] = _WORKFLOWS[name]
    environment = {**workflow.get("env", {}), **workflow["jobs"][job_name].get("env", {})}
    assert environment.get("CLASSIFIER_DEVICE") == "cuda"
