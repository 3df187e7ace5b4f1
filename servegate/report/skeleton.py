"""What all pages share: no script, nothing fetched, light and dark, fit for a phone and for paper."""

import html
from collections.abc import Mapping, Sequence

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --good: #1b7f5f; --bad: #b4491a; --other: #6b6b6b; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc79f; --bad: #f0955f; --other: #a5a5a5; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.PASS, .IMPROVED { color: var(--good); } .REGRESSED, .INVALID { color: var(--bad); }
.INCONCLUSIVE, .NO_BASELINE { color: var(--other); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; vertical-align: bottom; }
th.text, th.name, td.name { text-align: left; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { width: 100%; height: auto; max-width: 34rem; display: block; }
details { margin: .5rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .7rem; background: var(--soft); border-radius: 6px; font-size: .85rem; }
@media print { body { max-width: none; padding: 0; } details:not([open]) { display: none; } }
"""


def render(title: str, sections: Sequence[str]) -> str:
    """A page of sections that are HTML already."""
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>\n<body>{body}</body></html>\n"
    )


def render_plots(plots: Mapping[str, str]) -> str:
    """Plots by title, beside each other where there is room."""
    figures = "\n".join(
        f"<figure><figcaption>{text(title)}</figcaption>"
        + svg.replace("<svg ", f'<svg role="img" aria-label="{text(title)}" ', 1)
        + "</figure>"
        for title, svg in plots.items()
    )
    return f'<div class="plots">{figures}</div>'


def text(plain: str) -> str:
    """What somebody else wrote, as HTML."""
    return html.escape(plain)
