"""HTML pages from Jinja2 templates. Text is escaped unless it is Markup; a page runs no script and fetches nothing."""

import re

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from servegate.report.figures import name_stage


def render_html(template: str, package: str = "servegate.report", **values: object) -> str:
    """Fill in a template.

    Parameters
    ----------
    template:
        A file of the package's folder `templates`. It may extend and import the templates of this package.
    values:
        Values of the names in the template.
    """
    loader = ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, "servegate.report"))])
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["mark_names"] = _mark_names
    environment.filters["name_stage"] = name_stage
    return environment.get_template(template).render(**values)


def _mark_names(text: str) -> Markup:
    """Names between backticks become code; a figure and its percent sign stay on one line."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", marked))
