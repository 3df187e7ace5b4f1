"""Finds the GitHub repository that this servegate was installed from, which is also its GitHub Action."""

import json
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?")


def find_action() -> str | None:
    """Name the action as `OWNER/servegate@COMMIT`; None if servegate was installed from elsewhere.

    References
    ----------
    PEP 610: `direct_url.json`, in which pip records where a distribution came from.
    """
    recorded = metadata.distribution("servegate").read_text("direct_url.json")
    return read_direct_url(json.loads(recorded)) if recorded else None


def read_direct_url(direct_url: Mapping[str, Any]) -> str | None:
    """Name the action that pip recorded, as `find_action` does."""
    repository = _GITHUB.fullmatch(direct_url.get("url", ""))
    commit = direct_url.get("vcs_info", {}).get("commit_id")
    return f"{repository[1]}@{commit}" if repository and commit else None
