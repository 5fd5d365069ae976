"""SQL over a trail with DuckDB. Imported only when needed: it is the extra `backstay[analytics]`."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, NamedTuple, cast

import duckdb

from proxy.audit.export import write_json
from proxy.audit.files import Record, Trail, TrailError

_COLUMNS = {
    "v": "INTEGER",
    "seq": "BIGINT",
    "ts": "TIMESTAMP",
    "id": "VARCHAR",
    "note": "VARCHAR",
    "correlation_id": "VARCHAR",
    "operation": "VARCHAR",
    "subject": "VARCHAR",
    "method": "VARCHAR",
    "path": "VARCHAR",
    "status": "INTEGER",
    "success": "BOOLEAN",
    "outcome": "VARCHAR",
    "duration_ms": "DOUBLE",
    "upstream": "VARCHAR",
    "attempts": "STRUCT(n INTEGER, status INTEGER, error VARCHAR, sent BOOLEAN, ms DOUBLE, waited_ms DOUBLE, "
    "why VARCHAR)[]",
    "flight": 'STRUCT("role" VARCHAR, id VARCHAR, followers INTEGER)',
    "idempotency": "STRUCT(source VARCHAR, key_hash VARCHAR, replayed BOOLEAN)",
    "circuit": "VARCHAR",
    "target": "VARCHAR",
    "bytes_in": "BIGINT",
    "bytes_out": "BIGINT",
    "metadata": "JSON",
    "gap": "BIGINT",
    "torn": "BIGINT",
    "prev": "VARCHAR",
    "hash": "VARCHAR",
}


class Table(NamedTuple):
    """The column names and the rows of a result."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[object, ...]]


@contextmanager
def sql(statement: str, trails: Sequence[Trail]) -> Iterator[Table]:
    """Run one statement over the view `audit`: one row for each record, times in UTC. Raise TrailError."""
    try:
        with duckdb.connect() as connection:
            _make_view(connection, [file for trail in trails for file in trail.files])
            result = connection.execute(statement)
            columns = tuple(str(column[0]) for column in result.description or ())
            yield Table(columns, _rows(result))
    except duckdb.Error as error:
        raise TrailError(str(error).splitlines()[0]) from error


def write_parquet(found: Iterable[Record], out: Path) -> int:
    """Write records as a Parquet file with the columns of the view `audit`, and return how many."""
    with NamedTemporaryFile(suffix=".part", dir=out.parent) as plain, duckdb.connect() as connection:
        count = write_json(found, cast(BinaryIO, plain))
        plain.flush()
        _make_view(connection, [Path(plain.name)])
        try:
            connection.execute(f"COPY audit TO {_quoted(out)} (FORMAT parquet, COMPRESSION zstd)")
        except duckdb.Error as error:
            raise TrailError(f"{out}: {str(error).splitlines()[0]}") from error
    return count


def _make_view(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Create the view `audit` with the contract's fields in order; an unfinished last line has no row."""
    connection.execute("SET autoinstall_known_extensions = false")
    columns = ", ".join(f"{name}: {kind!r}" for name, kind in _COLUMNS.items())
    names = ", ".join(map(_quoted, files))
    source = f"read_json([{names}], format = 'newline_delimited', ignore_errors = true, columns = {{{columns}}})"
    connection.execute(f"CREATE VIEW audit AS FROM {source} WHERE seq IS NOT NULL")


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[object, ...]]:
    while page := result.fetchmany(1_000):
        yield from page


def _quoted(file: Path) -> str:
    return "'" + str(file).replace("'", "''") + "'"
