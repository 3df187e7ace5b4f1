"""Documents of earlier versions, made complete: their readers need to know only the newest form."""

from collections.abc import Mapping
from typing import Any

from servegate.report.headline import headline

# Fields that were added without a new schema number, with the values that stand for missing ones.
_OF_RUN: Mapping[str, Any] = {
    "groups": (),
    "figures": (),
    "arms": {},
    "load": None,
    "changed_files": None,
    "requests": {},
    "errors": {},
}
_OF_CELL: Mapping[str, Any] = {"ceiling": None, "rate_is_given": False, "excludes": None, "slow_ms": None}
_OF_SIDE: Mapping[str, Any] = {"slow_share": None}
_OF_REFERENCE: Mapping[str, Any] = {"commit": None, "subject": None}


def complete(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the fields that an older document lacks; the newest stays as it is."""
    reference = document["compared_with"]
    filled = {
        **_OF_RUN,
        **document,
        "compared_with": reference if reference is None else {**_OF_REFERENCE, **reference},
        "cells": [_complete_cell(cell) for cell in document["cells"]],
    }
    return {"sentence": f"{headline(filled)}.", **filled}


def _complete_cell(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    sides = {side: None if cell[side] is None else {**_OF_SIDE, **cell[side]} for side in ("now", "base")}
    return {**_OF_CELL, **cell, **sides}
