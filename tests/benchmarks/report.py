"""Format the printed report and the tables of docs/performance.md as Markdown, from figures alone."""

from collections.abc import Iterable, Sequence

from tests.benchmarks.builds import OURS
from tests.benchmarks.figures import Figure, Results, Spread, bounded_by_load
from tests.benchmarks.stage import DIRECT

COLUMNS = {  # the table's heads
    "throughput": "GET/s", "p99": "p99, ms", "cpu": "CPU, µs a request", "added_p50": "added p50, ms",
    "added_p99": "added p99, ms", "added_p999": "added p99.9, ms", "idle_pss": "idle, MiB",
    "many": "GET/s at 5,000", "many_pss": "at 5,000, MiB", "held_pss": "with idle connections, MiB",
    "down": "1 MiB down, MiB/s", "up": "1 MiB up, MiB/s", "burst": "burst, ms", "start": "start-up, s",
}  # fmt: skip
COMPARED = ("throughput", "p99", "cpu", "added_p50", "added_p99", "many", "many_pss", "down", "up", "burst")


def render(results: Results, *, detailed: bool) -> str:
    """Return the report; in detail, with every figure's range."""
    shown = {key: head for key, head in COLUMNS.items() if key in results.figures}
    parts = [
        table(["median", *shown.values()], _medians(results, list(shown))),
        *(part for build in _builds(results) for part in _compared(results, build, shown)),
        table(["", "GET/s", "CPU, µs a request", "MiB"], _scale(results)),
        table(["quantity", "", "median", "least", "most", "unit"], _details(results)) if detailed else "",
        "\n".join(f"* {remark}" for remark in remarks(results)),
        about(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def remarks(results: Results) -> list[str]:
    """Return what a reader must know, the load generator's bounds first."""
    bounds = [
        f"{figure.title}: no proxy at all is not twice as fast as {', '.join(names)}: the load generator is the bound"
        for key in ("throughput", "many", "down", "up", "burst")
        if (figure := results.figures.get(key))
        and (names := bounded_by_load(figure, DIRECT, less_is_better=key == "burst"))
    ]
    failures = [f"{who}: {count:,} requests were not answered with 200" for who, count in results.failures.items()]
    return bounds + failures + results.remarks


def about(results: Results) -> str:
    """Return when, where and with what it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    told = [f"{name}: {value}" for name, value in {**results.about, "versions": versions}.items()]
    return "  \n".join(told)


def number(value: float) -> str:
    """Write a value with three digits that count."""
    if value == 0:
        return "0"
    size = abs(value)
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def ranged(spread: Spread | None) -> str:
    """Write a median and its range."""
    if spread is None:
        return "-"
    return f"{number(spread.middle)} ({number(spread.least)} to {number(spread.most)})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table, or nothing where there is no row."""
    if not rows:
        return ""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def row(cells: Iterable[str]) -> str:
        aligned = [
            cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(cells_of(cells))
        ]
        return f"| {' | '.join(aligned)} |"

    def cells_of(cells: Iterable[str]) -> Iterable[tuple[str, int]]:
        return zip(cells, widths, strict=True)

    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    return "\n".join([row(head), rule, *map(row, rows)])


def _names(results: Results) -> list[str]:
    """Return who was measured: the direct path, then everybody in the order of the versions."""
    return [DIRECT, *results.versions]


def _builds(results: Results) -> list[str]:
    """Return our own builds among them."""
    return [name for name in results.versions if is_ours(name)]


def is_ours(name: str) -> bool:
    """Tell whether a row is one of our own builds."""
    return name.partition(",")[0] == OURS


def _medians(results: Results, keys: list[str]) -> list[list[str]]:
    rows = []
    for name in _names(results):
        middles = [results.figures[key].middle(name) for key in keys]
        title = f"**{name}**" if is_ours(name) else name
        if any(middle is not None for middle in middles):
            rows.append([title, *("-" if middle is None else number(middle) for middle in middles)])
    return rows


def _compared(results: Results, build: str, shown: dict[str, str]) -> list[str]:
    """Return the sentence and the table that hold one of our builds against everybody else."""
    rows = _ratios(results, build)
    head = ["", *(shown[key] for key in COMPARED if key in shown)]
    sentence = f"{build}, divided by each, round by round: the median (and the range)"
    return [sentence, table(head, rows)] if rows else []


def _ratios(results: Results, build: str) -> list[list[str]]:
    figures = [results.figures[key] for key in COMPARED if key in results.figures]
    others = [name for name in _names(results) if name != build]
    rows = [[name, *(ranged(figure.ratio(build, name)) for figure in figures)] for name in others]
    return [row for row in rows if set(row[1:]) != {"-"} and figures]


def _scale(results: Results) -> list[list[str]]:
    figures = [results.figures.get(key, Figure("", "")) for key in ("scale", "scale_cpu", "scale_pss")]
    return [[case, *(ranged(figure.spread(case)) for figure in figures)] for case in figures[0].rounds]


def _details(results: Results) -> list[list[str]]:
    return [
        [figure.title, name, *map(number, spread), figure.unit]
        for figure in results.figures.values()
        for name in figure.rounds
        if (spread := figure.spread(name))
    ]
