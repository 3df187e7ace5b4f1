"""The certificate as one page without scripts or network: what the gate can do on a class of machine, and what not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servegate.report.html import render_html


def write_page(path: Path, certificate: Mapping[str, Any], synthetic: Mapping[str, Any] | None) -> None:
    """Write the page.

    Parameters
    ----------
    certificate:
        The document that `certify` returns, with machine class, commit, service trees, budget_minutes and attribution.
    synthetic:
        The document that `certify_conditions` returns; None if that wasn't simulated yet.
    """
    page = render_html(
        "certificate.html",
        "tools.calibration.certificate",
        certificate=certificate,
        injected_cells=_collect_keys(certificate["injected"]),
        stock_kinds=_collect_keys(certificate["stock_rules"]),
        synthetic=synthetic,
        machines=_group_by_machine(synthetic) if synthetic else {},
    )
    path.write_text(page, encoding="utf-8")


def _collect_keys(tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names that stand in any of the tables, each once."""
    return list(dict.fromkeys(name for table in tables.values() for name in table))


def _group_by_machine(synthetic: Mapping[str, Any]) -> dict[tuple[str, str, float], dict[float, Any]]:
    """The conditions by place, shape and correlation, and there by the standard deviation between processes."""
    machines: dict[tuple[str, str, float], dict[float, Any]] = {}
    for condition in synthetic["conditions"]:
        machine = (condition["place"], condition["shape"], condition["correlation"])
        machines.setdefault(machine, {})[condition["sd"]] = condition
    return machines
