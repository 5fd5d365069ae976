"""Print records and sums as tables on a terminal. Imported only when needed, because rich is large."""

from collections.abc import Iterable
from itertools import islice

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.audit.files import Record
from proxy.audit.reader import Stats, Summary
from proxy.audit.values import as_text
from proxy.text import escaped

_PAGE = 1_000  # rows in one table, which bounds the memory for a long result
_PIPE_WIDTH = 200  # columns without a terminal

_HEADINGS = (
    "seq",
    "time (UTC)",
    "operation",
    "subject",
    "status",
    "outcome",
    "ms",
    "tries",
    "flight",
    "correlation id",
)


def show_records(found: Iterable[Record]) -> int:
    """Print tables of records, page by page; return their number."""
    rows, count, console = iter(found), 0, _console()
    while page := list(islice(rows, _PAGE)):
        table = _table(_HEADINGS, numbers=("seq", "status", "ms", "tries"))
        for record in page:
            table.add_row(*_cells(record.fields))
        console.print(table)
        count += len(page)
    return count


def show_stats(sums: Stats) -> None:
    """Print one table: a row for each operation and the total."""
    table = _table(
        ("operation", "total", "success", "mean ms", "p95 ms"), numbers=("total", "success", "mean ms", "p95 ms")
    )
    for row in sums.operations:
        table.add_row(*_summary(row))
    if sums.overall:
        table.add_section()
        table.add_row(*_summary(sums.overall))
    console = _console()
    console.print(table)
    if sums.lost:
        console.print(f"{sums.lost:,} more records were lost to a full queue or disk: the gaps in the trail show when")


def show_rows(columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """Print a table, page by page."""
    found, console = iter(rows), _console()
    while page := list(islice(found, _PAGE)):
        table = _table(columns, numbers=())
        for cells in page:
            table.add_row(*(Text(_printable(cell)) for cell in cells))
        console.print(table)


def _cells(fields: dict[str, object]) -> list[Text]:
    attempts, flight = fields.get("attempts"), fields.get("flight")
    lost = next((name for name in ("gap", "torn") if name in fields), None)
    outcome = fields.get("outcome") if lost is None else f"{lost}: {as_text(fields[lost])}"
    values = (
        fields.get("seq"),
        as_text(fields.get("ts", "")).rstrip("Z").replace("T", " ")[:23],
        fields.get("operation"),
        fields.get("subject"),
        fields.get("status"),
        outcome,
        fields.get("duration_ms"),
        len(attempts) if isinstance(attempts, list) else None,
        flight.get("role") if isinstance(flight, dict) else None,
        fields.get("correlation_id"),
    )
    style = "red" if fields.get("success") is False or "gap" in fields else ""
    return [Text(_printable(value), style) for value in values]


def _summary(row: Summary) -> tuple[str, ...]:
    return (
        _printable(row.operation),
        f"{row.total:,}",
        f"{row.success_rate:.2%}",
        f"{row.mean_ms:,.1f}",
        f"{row.p95_ms:,g}",
    )


def _printable(value: object) -> str:
    return "" if value is None else escaped(as_text(value))


def _table(headings: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    return table


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_PIPE_WIDTH)
