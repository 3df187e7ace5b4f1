"""Plots as SVG that take their text colour from the page, so that they suit light and dark."""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
_WIDTH_IN = 5.2
HEIGHT_IN = 3.0


def render_svg(title: str, height_in: float, draw: Callable[[Axes], None]) -> str:
    """An `<svg>` element.

    Parameters
    ----------
    title:
        Another for each plot of a page.
    height_in:
        At a width of 5.2 inches.
    draw:
        Draws into the axes that it gets.
    """
    # The salt makes names in the SVG the same for the same figures, and others than those of the page's other plots.
    style: Any = {**_STYLE, "svg.hashsalt": title}
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    svg = text[text.index("<svg") :].replace(TEXT, "currentColor")
    # A name must be unique in the page: only those that are referred to are kept.
    named = set(re.findall(r"#([\w-]+)", svg))
    return re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in named else "", svg)
