"""Export records as their original JSON lines, or as a table with fixed columns."""

import csv
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TextIO

from proxy.audit.files import Record
from proxy.audit.reader import Stats, Summary
from proxy.audit.values import as_json, as_text
from proxy.text import escaped_json, harmless_cell

COLUMNS = (
    "seq",
    "ts",
    "id",
    "correlation_id",
    "operation",
    "subject",
    "method",
    "path",
    "status",
    "success",
    "outcome",
    "duration_ms",
    "upstream",
    "attempts",
    "flight.role",
    "flight.id",
    "flight.followers",
    "idempotency.source",
    "idempotency.key_hash",
    "idempotency.replayed",
    "circuit",
    "target",
    "bytes_in",
    "bytes_out",
    "metadata",
    "gap",
)


def write_json(found: Iterable[Record], out: BinaryIO, *, for_a_person: bool = False) -> int:
    """Write each record's original line; return their number.

    `for_a_person`: escape what a terminal would interpret; the JSON is equivalent, the bytes differ.
    """
    count = 0
    for record in found:
        line = record.line.data.removesuffix(b"\n")
        out.write((escaped_json(line.decode("utf-8", "replace")).encode() if for_a_person else line) + b"\n")
        count += 1
    return count


def write_csv(found: Iterable[Record], out: TextIO) -> int:
    """Write a header and a row for each record; return their number. The header precedes the first record."""
    count = 0
    for count, record in enumerate(found, start=1):
        if count == 1:
            csv_header(COLUMNS, out)
        csv_row(row(record.fields), out)
    return count


def csv_header(columns: Iterable[str], out: TextIO) -> None:
    """Write the column names, which need no quotes."""
    csv.writer(out, lineterminator="\n").writerow(columns)


def csv_row(cells: Iterable[object], out: TextIO) -> None:
    """Write a row with every cell quoted."""
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)


def write_rows_json(columns: tuple[str, ...], rows: Iterable[tuple[object, ...]], out: BinaryIO) -> None:
    """Write each row as a JSON object on one line."""
    for cells in rows:
        out.write(as_json(dict(zip(columns, cells, strict=True))) + b"\n")


def write_rows_csv(columns: tuple[str, ...], rows: Iterable[tuple[object, ...]], out: TextIO) -> None:
    """Write a header and all rows."""
    csv_header(map(harmless_cell, columns), out)
    for cells in rows:
        csv_row(map(_cell, cells), out)


def write_stats_json(sums: Stats, out: BinaryIO) -> None:
    """Write the sums as one JSON line: `overall`, `operations` and `lost`."""
    everything = sums.overall._asdict() if sums.overall else None
    document = {"overall": everything, "operations": [row._asdict() for row in sums.operations], "lost": sums.lost}
    out.write(as_json(document) + b"\n")


def write_stats_csv(sums: Stats, out: TextIO) -> None:
    """Write a header, a row for each operation, and one for the total."""
    rows = (*sums.operations, *([sums.overall] if sums.overall else []))
    write_rows_csv(Summary._fields, rows, out)


def row(fields: dict[str, object]) -> Iterator[object]:
    """Yield a record's cells in the order of COLUMNS; `attempts` is a number, nested values are JSON."""
    return (_cell(_field(fields, column)) for column in COLUMNS)


def _field(fields: dict[str, object], column: str) -> object:
    name, _, member = column.partition(".")
    value = fields.get(name)
    if member:
        return value.get(member) if isinstance(value, dict) else None
    return len(value) if isinstance(value, list) else value


def _cell(value: object) -> object:
    """Return the text of a cell, escaped so that a spreadsheet runs no formula."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list() | tuple() | str():
            return harmless_cell(as_text(value))
        case _:
            return value
