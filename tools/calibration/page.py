"""The certificate as one page without scripts or network: what the gate can do on a class of machine, and what not."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from servegate.report.html import render_html
from servegate.report.svg import TEXT, draw_svgs

# A slowdown of this size and more must be found this often.
_WANTED_POWER = {"5%": 0.80, "10%": 0.95}
_POWER_TITLE = "Share of runs REGRESSED; the bars: what is wanted"


def write_page(path: Path, certificate: Mapping[str, Any]) -> None:
    """Write the page.

    Parameters
    ----------
    certificate:
        As `certify` returns it, with machine class, commit, service_tree and attribution.
    """
    # For the first kind of noise.
    sizes = next(iter(certificate["simulated"]["power"].values()))
    page = render_html(
        "certificate.html",
        "tools.calibration",
        certificate=certificate,
        injected_cells=_collect_keys(certificate["injected"]),
        stock_kinds=_collect_keys(certificate["stock_rules"]),
        plots=draw_svgs({_POWER_TITLE: (3.6, partial(_draw_power, sizes=sizes))}),
    )
    path.write_text(page, encoding="utf-8")


def _collect_keys(tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names that stand in any of the tables, each once."""
    return list(dict.fromkeys(name for table in tables.values() for name in table))


def _draw_power(axes: Axes, sizes: Mapping[str, Any]) -> None:
    """Draw power over size, a line a cell."""
    positions = [float(size.rstrip("%")) for size in sizes]
    for cell in next(iter(sizes.values()))["regressed"]:
        axes.plot(positions, [figures["regressed"][cell] for figures in sizes.values()], marker="o", label=cell)
    for size, wanted in _WANTED_POWER.items():
        axes.plot([float(size.rstrip("%"))], [wanted], marker="_", markersize=24, color=TEXT)
    axes.set(xlabel="true slowdown (%)", ylabel="share of runs REGRESSED", ylim=(-0.02, 1.02))
    axes.legend(fontsize="small", loc="lower right")
