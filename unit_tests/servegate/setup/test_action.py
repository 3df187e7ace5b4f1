"""Tests of the action that servegate finds in what pip recorded."""

from typing import Any

import pytest

from servegate.setup.action import read_direct_url

COMMIT = "9d2ad33" + 33 * "0"


@pytest.mark.parametrize(
    ("direct_url", "action"),
    [
        ({"url": "https://github.com/me/servegate", "vcs_info": {"commit_id": COMMIT}}, f"me/servegate@{COMMIT}"),
        ({"url": "https://github.com/me/servegate.git", "vcs_info": {"commit_id": COMMIT}}, f"me/servegate@{COMMIT}"),
        ({"url": "https://git.example.org/me/servegate", "vcs_info": {"commit_id": COMMIT}}, None),
        ({"url": "file:///tmp/servegate.whl", "archive_info": {}}, None),
    ],
)
def test_what_pip_recorded(direct_url: dict[str, Any], action: str | None) -> None:
    assert read_direct_url(direct_url) == action
