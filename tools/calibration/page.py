"""The certificate as one page without scripts or network: what the gate can do on a class of machine, and what not."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from servegate.report.skeleton import render, render_plots, text
from servegate.report.svg import TEXT, render_svg

# A slowdown of this size and more must be found this often.
_WANTED_POWER = {"5%": 0.80, "10%": 0.95}


def write_page(path: Path, certificate: Mapping[str, Any]) -> None:
    """Write the page.

    Parameters
    ----------
    certificate:
        As `certify` returns it, with machine class, commit, service_tree and attribution.
    """
    simulated = certificate["simulated"]
    identical, power = simulated["identical_code"], simulated["power"]
    sections = [
        f"<h1>Does the gate tell the truth?</h1><p>Machine class <b>{text(certificate['machine_class'])}</b>, "
        f"commit {text(certificate['commit'][:12])}, service {text(certificate['service_tree'][:12])}. "
        "Recorded pairs of fresh processes: "
        f"{text(', '.join(f'{kind} {count}' for kind, count in certificate['recorded_pairs'].items()))}.</p>",
        "<h2>Identical code</h2><p>Whole runs side by side under --perf-strict, <b>simulated</b> on noise drawn from "
        "the recorded pairs; 90 % intervals by bootstrap over whole pairs.</p>",
        _table(
            ("", "estimate", "interval"),
            [
                (name.replace("_", " "), _figure(name, value["estimate"]), _interval(name, value))
                for name, value in identical.items()
            ],
        ),
        "<p>At a tenth of this noise a run takes "
        f"{simulated['identical_code_at_a_tenth_of_the_noise']['median_minutes']:.1f} minutes (median).</p>",
        _live(certificate["live"]),
        "<h2>Slowdowns</h2><p>How often a cell that is slower by so much is REGRESSED, <b>simulated</b> likewise.</p>",
        *(_power(name, sizes) for name, sizes in power.items()),
        _power_plot(power),
        "<h2>What the injected slowdowns cost each cell</h2><p><b>Measured</b>: a stage of the service made slower by "
        "a share of its own time.</p>",
        _injected(certificate["injected"]),
        *_attribution(certificate["attribution"]),
        "<h2>Rules in common use, on the same recorded processes</h2><p>How often a whole run would have been red; "
        "on identical code each is a false alarm.</p>",
        _stock(certificate["stock_rules"]),
        "<h2>The noise</h2><p>Standard deviation of log ratios in a pair; how much of it the blocks explain.</p>",
        _table(
            ("cell", "pair", "block", "pair, from blocks", "pair, from processes", "seconds"),
            [
                (
                    cell,
                    *(
                        f"{noise[key]:.1%}"
                        for key in ("pair_sd", "block_sd", "pair_sd_from_blocks", "pair_sd_from_processes")
                    ),
                    f"{noise['seconds']:.0f}",
                )
                for cell, noise in certificate["noise"].items()
            ],
        ),
    ]
    path.write_text(render("The gate's certificate", sections), encoding="utf-8")


def _live(live: Mapping[str, Any]) -> str:
    if not live:
        return "<p>No live whole run is recorded yet.</p>"
    return "<p>Live whole runs, with exact 95 % intervals:</p>" + _table(
        ("code", "runs", "red", "REGRESSED", "median minutes"),
        [
            (
                kind,
                str(figures["runs"]),
                _counted(figures["red"]),
                _counted(figures["regressed"]),
                str(figures["median_minutes"]),
            )
            for kind, figures in live.items()
        ],
    )


def _power(name: str, sizes: Mapping[str, Any]) -> str:
    cells = list(next(iter(sizes.values()))["regressed"])
    rows = [(cell, *(f"{figures['regressed'][cell]:.0%}" for figures in sizes.values())) for cell in cells]
    rows.append(
        ("median minutes, all cells slower", *(f"{figures['median_minutes']:.1f}" for figures in sizes.values()))
    )
    return f"<h3>{text(name.capitalize())}</h3>" + _table(("cell", *sizes), rows)


def _power_plot(power: Mapping[str, Any]) -> str:
    """Power over size, a line a cell, for the first kind of noise."""
    sizes = next(iter(power.values()))
    return render_plots(
        {
            "Share of runs REGRESSED; the bars: what is wanted": render_svg(
                "power", 3.6, partial(_draw_power, sizes=sizes)
            )
        }
    )


def _draw_power(axes: Axes, sizes: Mapping[str, Any]) -> None:
    positions = [float(size.rstrip("%")) for size in sizes]
    for cell in next(iter(sizes.values()))["regressed"]:
        axes.plot(positions, [figures["regressed"][cell] for figures in sizes.values()], marker="o", label=cell)
    for size, wanted in _WANTED_POWER.items():
        axes.plot([float(size.rstrip("%"))], [wanted], marker="_", markersize=24, color=TEXT)
    axes.set(xlabel="true slowdown (%)", ylabel="share of runs REGRESSED", ylim=(-0.02, 1.02))
    axes.legend(fontsize="small", loc="lower right")


def _injected(injected: Mapping[str, Any]) -> str:
    kinds = list(injected)
    cells = dict.fromkeys(cell for kind in kinds for cell in injected[kind])
    return _table(
        ("cell", *kinds),
        [
            (cell, *(f"{injected[kind][cell]['change']:+.1%}" if cell in injected[kind] else "" for kind in kinds))
            for cell in cells
        ],
    )


def _attribution(attribution: Mapping[str, Any] | None) -> list[str]:
    if attribution is None:
        return []
    return [
        "<h2>Which stage?</h2><p><b>Measured</b>: how often the stage that is named first, of three pairs in one API "
        "cell, was the slowed one.</p>",
        _table(("slowed stage", "named"), [(stage, _counted(right)) for stage, right in attribution["right"].items()]),
        *(f"<p>Not named: {text(line)}</p>" for line in attribution["wrong"]),
    ]


def _stock(rules: Mapping[str, Any]) -> str:
    kinds = list(dict.fromkeys(kind for figures in rules.values() for kind in figures))
    return _table(
        ("rule", *kinds),
        [
            (rule, *(_counted(figures[kind]) if kind in figures else "" for kind in kinds))
            for rule, figures in rules.items()
        ],
    )


def _counted(figures: Mapping[str, float]) -> str:
    return f"{figures['count']} of {figures['of']} [{figures['low']:.0%}, {figures['high']:.0%}]"


def _figure(name: str, value: float) -> str:
    return f"{value:.1f}" if "minutes" in name else f"{value:.1%}"


def _interval(name: str, value: Mapping[str, float]) -> str:
    return f"[{_figure(name, value['low'])}, {_figure(name, value['high'])}]"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{text(cell)}</th>" for cell in heading)
    lines = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'
