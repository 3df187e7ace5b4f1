"""The commit that adds the gate has a base without it, which judges nothing and fails nothing."""

import shutil

import pytest

from unit_tests.builders.tiny_project import CELLS, TinyProject, git, table_of


@pytest.mark.parametrize(
    ("folder", "missing"),
    [
        ("service", "no service (perf_service = service)"),
        ("perf_tests", "no performance tests (perf_paths = perf_tests)"),
    ],
)
def test_a_base_from_before_the_gate_is_told_and_passes(tiny_project: TinyProject, folder: str, missing: str) -> None:
    """Also in CI, which is strict."""
    kept = tiny_project.root / "kept"
    shutil.move(tiny_project.root / folder, kept)
    tiny_project.write(".gitignore", (tiny_project.root / ".gitignore").read_text() + "kept/\n")
    tiny_project.commit()
    shutil.move(kept, tiny_project.root / folder)
    tiny_project.commit()
    base = git(tiny_project.root, "rev-parse", "HEAD~1")
    result = tiny_project.run("perf_tests", "--perf-versus", base, "--perf-strict")
    result.assert_outcomes(passed=3)
    assert table_of(result) == dict.fromkeys(CELLS, "not judged")
    told = " ".join(result.stdout.str().split())
    assert f"Nothing was judged: there is nothing to compare with: the commit {base[:12]} has {missing}" in told
