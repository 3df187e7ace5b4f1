"""Plots as SVG that take their text colour from the page, so that they suit light and dark."""

import io
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stands for the page's own text colour until the SVG is written.
TEXT = "#010203"
_STYLE: dict[str, Any] = {
    "axes.edgecolor": TEXT,
    "axes.facecolor": "none",
    "axes.labelcolor": TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 9.0,
    "legend.frameon": False,
    "legend.labelcolor": TEXT,
    "svg.fonttype": "none",
    "text.color": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}
# Told apart by people who see colours differently (Okabe and Ito), and on white as on black.
BLUE, ORANGE, GREEN, GREY = "#3a8fd0", "#e0762a", "#1fa37c", "#8a8a8a"
STAGE_COLOURS = (BLUE, GREY, GREEN, ORANGE, "#b07cc6", "#c9b458")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")
_WIDTH_IN = 5.2
HEIGHT_IN = 3.0

# The height in inches, at a width of 5.2, and what draws into the plot's axes.
Plot = tuple[float, Callable[["Axes"], None]]


def draw_svgs(plots: Mapping[str, Plot], part: str = "") -> dict[str, Markup] | None:
    """Draw plots as `<svg>` elements; None without matplotlib.

    Parameters
    ----------
    plots:
        The plots by title.
    part:
        The part of the page that they stand in, where a page has the same title in several parts.
    """
    if find_spec("matplotlib") is None:
        return None
    return {title: _draw_svg(f"{part} {title}", *plot) for title, plot in plots.items()}


def _draw_svg(salt: str, height_in: float, draw: Callable[["Axes"], None]) -> Markup:
    # Imported here: matplotlib takes a second to import, it is an extra, and only pages need it.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The salt makes the names in an SVG the same in each run, and different from those of the page's other plots.
    style: Any = {**_STYLE, "svg.hashsalt": salt}
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    svg = text[text.index("<svg") :].replace(TEXT, "currentColor")
    # A name must be unique in the page: only those that are referred to are kept.
    named = set(re.findall(r"#([\w-]+)", svg))
    # matplotlib has escaped the texts in it.
    return Markup(re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in named else "", svg))
