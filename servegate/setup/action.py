"""The repository whose GitHub Action is this servegate: the one that it was installed from."""

import json
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?")


def find_action(distribution: str = "servegate") -> str | None:
    """As `OWNER/servegate@COMMIT`; None if it was installed from elsewhere.

    References
    ----------
    PEP 610: `direct_url.json`, in which pip records where a distribution came from.
    """
    recorded = metadata.distribution(distribution).read_text("direct_url.json")
    return action_of(json.loads(recorded)) if recorded else None


def action_of(direct_url: Mapping[str, Any]) -> str | None:
    """The same of what pip recorded."""
    repository = _GITHUB.fullmatch(direct_url.get("url", ""))
    commit = direct_url.get("vcs_info", {}).get("commit_id")
    return f"{repository[1]}@{commit}" if repository and commit else None
