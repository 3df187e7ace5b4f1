"""The repository whose action is this servegate."""

from typing import Any

import pytest

from servegate.setup.action import action_of

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
    assert action_of(direct_url) == action
