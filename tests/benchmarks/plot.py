"""The chart of docs/performance.md: an SVG by Matplotlib with letters as paths, readable in light and dark."""

from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure, Results
from tests.benchmarks.report import is_ours, number

INK = "#7d8590"  # the one grey that is far enough from both white and black
OTHERS = "#8b949e"
MINE = "#2f81f7"
PANELS = (  # key, title, logarithmic
    ("throughput", "distinct small GETs a second, 32 connections (more is better)", False),
    ("cpu", "CPU microseconds a request (less is better)", True),
    ("added_p50", "milliseconds added at 500 requests a second, p50 (less is better)", True),
    ("added_p99", "the same, p99 (less is better)", True),
)


def draw(results: Results, file: Path) -> None:
    """Write the picture. Raises `ImportError` without the extra `plots`, `ValueError` where nothing was measured."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    look: Any = {"svg.fonttype": "path", "svg.hashsalt": "backstay", "font.size": 9, "text.color": INK}
    look |= {f"figure.constrained_layout.{side}_pad": 0.1 for side in "hw"}
    panels = [panel for panel in PANELS if panel[0] in results.figures]
    if not panels:
        raise ValueError(f"none of {', '.join(key for key, *_ in PANELS)} was measured")
    with mpl.rc_context(look):
        canvas = Canvas(figsize=(9, 0.6 + 2.2 * len(panels)), layout="constrained")
        rows: Any = canvas.subplots(len(panels), 1, squeeze=False)
        for (key, title, logarithmic), (axes,) in zip(panels, rows, strict=True):
            _panel(axes, results.figures[key], [n for n in results.versions if n in results.figures[key].rounds])
            axes.set_title(title, loc="left", color=INK, fontsize=10)
            if logarithmic:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        caption = ", ".join(results.about[key] for key in ("date", "machine", "interpreter") if key in results.about)
        canvas.supxlabel(caption, fontsize=7, color=INK)
        canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None})


def _panel(axes: Any, figure: Figure, names: list[str]) -> None:
    """Draw one quantity: a dot for each median, a line for its range."""
    spreads = {name: spread for name in names if (spread := figure.spread(name)) and spread.middle > 0}
    for place, (name, (middle, least, most)) in enumerate(reversed(spreads.items())):
        colour = MINE if is_ours(name) else OTHERS
        axes.plot([max(least, middle / 100), most], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([middle], [place], "o", color=colour, markersize=7)
        axes.annotate(number(middle), (most, place), (8, 0), textcoords="offset points", va="center", color=INK)
    axes.set_yticks(range(len(spreads)), reversed(spreads), color=INK)
    axes.set_ylim(-0.6, len(spreads) - 0.4)
    axes.margins(x=0.12)
    axes.tick_params(which="both", colors=INK, length=0)
    axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.6)
    for side in axes.spines.values():
        side.set_visible(False)
