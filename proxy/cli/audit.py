"""`backstay audit`: query, export and verify the audit trail. The rules are in proxy/audit; this module prints."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn

import typer

from proxy.audit.checkpoint import CheckpointKey, read, read_key
from proxy.audit.export import (
    write_csv,
    write_json,
    write_rows_csv,
    write_rows_json,
    write_stats_csv,
    write_stats_json,
)
from proxy.audit.files import (
    NoTrailError,
    Record,
    Trail,
    TrailError,
    TrailLine,
    lines,
    trails,
)
from proxy.audit.instants import instant_or_age
from proxy.audit.own_file import open_own
from proxy.audit.reader import Query, Stats, records
from proxy.audit.reader import stats as sum_up
from proxy.audit.reader import tail as newest_records
from proxy.audit.trail_end import is_written, live_proof
from proxy.audit.verify import Condition, Finding, Proof
from proxy.audit.verify import verify as check
from proxy.clock import SystemClock
from proxy.text import escaped

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Read the audit trail: query, stats, export, verify, tail, sql."
)

_POLL_S = 0.2
_EXPORT_FORMAT = "AUDIT_TRAIL_EXPORT_FORMAT"  # a variable of the seed document


class Format(StrEnum):
    """Choose how records are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class ExportFormat(StrEnum):
    """Choose the file format of exported records."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


PathArg = Annotated[Path, typer.Argument(metavar="PATH", help="The audit file, with its rotated files, or a folder.")]
TRAIL = Path("audit.jsonl")  # the default of audit.path
ReportId = Annotated[str | None, typer.Option("--report-id", help="Only this report (the record's subject).")]
Operation = Annotated[str | None, typer.Option("--operation", help="Only this operation (the route's name).")]
CorrelationId = Annotated[str | None, typer.Option("--correlation-id", help="Only this correlation id.")]
Failures = Annotated[
    bool,
    typer.Option("--failures", help="Only requests that failed, and circuits that opened or became half-open."),
]
Since = Annotated[
    str | None, typer.Option("--since", help="From this time on: ISO 8601 (default UTC), or an age: 10m.")
]
Until = Annotated[str | None, typer.Option("--until", help="Before this time: ISO 8601 (default UTC), or an age: 10m.")]
Printed = Annotated[Format | None, typer.Option("--format", help="Default: table on a terminal, else json.")]


@app.command()
def query(
    path: PathArg = TRAIL,
    report_id: ReportId = None,
    operation: Operation = None,
    correlation_id: CorrelationId = None,
    failures: Failures = False,
    since: Since = None,
    until: Until = None,
    format_: Printed = None,
) -> None:
    """Print the records that pass every filter, oldest first."""
    with _plain_errors():
        wanted = _query(report_id, operation, correlation_id, failures, since, until)
        _warn_if_none(_print(_found(path, wanted), format_ or _default_format()))


@app.command()
def stats(
    path: PathArg = TRAIL,
    report_id: ReportId = None,
    operation: Operation = None,
    correlation_id: CorrelationId = None,
    failures: Failures = False,
    since: Since = None,
    until: Until = None,
    format_: Printed = None,
) -> None:
    """Print total, success rate, mean and 95th percentile of the duration, by operation."""
    with _plain_errors():
        wanted = _query(report_id, operation, correlation_id, failures, since, until)
        sums = sum_up(_found(path, wanted))
        _warn_if_none(sums.overall.total if sums.overall else sums.lost)
        _print_stats(sums, format_ or _default_format())


@app.command()
def export(
    path: PathArg = TRAIL,
    report_id: ReportId = None,
    operation: Operation = None,
    correlation_id: CorrelationId = None,
    failures: Failures = False,
    since: Since = None,
    until: Until = None,
    format_: Annotated[
        ExportFormat | None,
        typer.Option("--format", help=f"Default: the variable {_EXPORT_FORMAT}, else json."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file; Parquet needs one.")] = None,
) -> None:
    """Write records for another program: JSON lines unchanged, CSV with fixed columns, or Parquet (an extra)."""
    with _plain_errors():
        wanted = _query(report_id, operation, correlation_id, failures, since, until)
        _warn_if_none(_export(_found(path, wanted), format_ or _seeded_format(os.environ), output))


@app.command()
def verify(
    path: PathArg = TRAIL,
    partial: Annotated[bool, typer.Option("--partial", help="Accept that the oldest files are elsewhere.")] = False,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", help="A key that signed checkpoints, or the public key. Repeatable."),
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="Default: PATH.checkpoints, if the file exists.")
    ] = None,
    uncovered: Annotated[
        int,
        typer.Option("--allow-uncovered", min=0, help="Accept this many records that no signed checkpoint covers."),
    ] = 0,
) -> None:
    """Check that no record was edited, moved or removed, and name the first record that fails the check.

    Only checkpoints reveal a truncated or a rewritten trail, and only their key proves it. The output names what could
    not be checked. With a key, a trail that is still being written is checked up to a checkpoint that covers all
    records present when the command began.

    Exit status: 0 whole; 10 edited; 11 reordered or repeated; 12 missing; 13 torn tail, which is what a crash leaves;
    14 cut tail; 15 checkpoints signed with another key, or unsigned; 16 records that no signed checkpoint covers; 1
    a file cannot be read; 2 there is no trail at PATH.
    """
    with _plain_errors():
        keys = [read_key(file) for file in key or ()]
        findings = [_verified(trail, partial, _claimed(trail, checkpoints, keys, uncovered)) for trail in trails(path)]
    for finding in findings:
        typer.echo(escaped(str(finding)))
    raise typer.Exit(next((finding.condition for finding in findings if finding.condition), Condition.WHOLE).value)


@app.command()
def tail(
    path: PathArg = TRAIL,
    count: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the newest records.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Print new records until interrupted.")] = False,
    report_id: ReportId = None,
    operation: Operation = None,
    correlation_id: CorrelationId = None,
    failures: Failures = False,
    since: Since = None,
    until: Until = None,
    format_: Printed = None,
) -> None:
    """Print the newest records of the newest file. With -f, also print new records as they are written."""
    with _plain_errors():
        wanted = _query(report_id, operation, correlation_id, failures, since, until)
        for found in newest_records(trails(path)[-1], wanted, count, _poll if follow else None):
            _print(found, format_ or _default_format())
            sys.stdout.flush()


@app.command()
def sql(
    statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="SQL over the view audit, one row a line.")],
    path: PathArg = TRAIL,
    format_: Printed = None,
) -> None:
    """Query a trail in SQL, through DuckDB (the extra `analytics`).

    The columns of the view `audit` are the record's fields: ts is a TIMESTAMP in UTC, attempts a list of structs,
    flight and idempotency are structs, metadata is JSON. A line about the trail has gap, torn or note set, and no
    status.
    """
    with _plain_errors(), _analytics().sql(statement, trails(path)) as table:
        _print_table(table.columns, table.rows, format_ or _default_format())


def _verified(trail: Trail, partial: bool, proof: Proof) -> Finding:
    return check(lines(trail.files), partial=partial, proof=proof)


def _claimed(trail: Trail, checkpoints: Path | None, keys: list[CheckpointKey], uncovered: int) -> Proof:
    """Return the checkpoints to verify a trail against; none if there is no checkpoint file and no key was given."""
    beside = trail.path.with_name(f"{trail.path.name}.checkpoints")
    file = checkpoints or (beside if keys or beside.exists() else None)
    if file is None:
        return Proof()
    if keys and is_written(trail.path):
        return live_proof(trail, file, keys, uncovered, _poll)
    return Proof(read(file, keys), keyed=bool(keys), uncovered=uncovered)


def _export(found: Iterable[Record], format_: ExportFormat, output: Path | None) -> int:
    """Write records to a file or to standard output and return how many."""
    if format_ is ExportFormat.PARQUET:
        if output is None:
            _refuse(2, "Parquet cannot go to standard output: add --output FILE")
        with _naming(output):
            os.close(_created(output))
            written: int = _analytics().write_parquet(found, output)
        return written
    if output is None:
        return _print(found, Format(format_))
    with _naming(output), os.fdopen(_created(output), "wb") as out:
        if format_ is ExportFormat.CSV:
            with TextIOWrapper(out, encoding="utf-8", newline="") as text:
                return write_csv(found, text)
        return write_json(found, out)


def _seeded_format(environ: Mapping[str, str]) -> ExportFormat:
    """Return the format that the seed document's variable names; it may be switched off."""
    text = environ.get(_EXPORT_FORMAT, "").strip()
    if not text or not _seed_is_read(environ):
        return ExportFormat.JSON
    try:
        return ExportFormat(text)
    except ValueError:
        _refuse(2, f"{_EXPORT_FORMAT}: {text!r} is not one of {', '.join(ExportFormat)}")


def _seed_is_read(environ: Mapping[str, str]) -> bool:
    from proxy.config.seed import seed_is_read  # imports every model of the settings, which no other command needs

    return seed_is_read(environ)


def _created(output: Path) -> int:
    """Return the descriptor of an empty file that only the current user can read."""
    fd = open_own(output, os.O_WRONLY | os.O_CREAT)
    os.ftruncate(fd, 0)
    return fd


@contextmanager
def _naming(output: Path) -> Iterator[None]:
    """Name the file in an error that lacks it: a failed write knows only a descriptor."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(output)
        raise


def _analytics() -> ModuleType:
    try:
        from proxy.audit import analytics
    except ImportError:
        _refuse(1, "this needs DuckDB: pip install 'backstay[analytics]'")
    return analytics


def _print_table(columns: tuple[str, ...], rows: Iterable[tuple[object, ...]], format_: Format) -> None:
    match format_:
        case Format.JSON:
            write_rows_json(columns, rows, sys.stdout.buffer)
        case Format.CSV:
            write_rows_csv(columns, rows, sys.stdout)
        case Format.TABLE:
            from proxy.audit.printing import show_rows

            show_rows(columns, rows)


def _query(
    report_id: str | None,
    operation: str | None,
    correlation_id: str | None,
    failures: bool,
    since: str | None,
    until: str | None,
) -> Query:
    now = SystemClock.wall()
    start, end = _moment("--since", since, now), _moment("--until", until, now)
    return Query(report_id, operation, correlation_id, failures, start, end)


def _moment(option: str, text: str | None, now: float) -> str | None:
    """Return an instant in the format of the records, from ISO 8601 or an age such as 10m."""
    try:
        return None if text is None else instant_or_age(text, now)
    except ValueError as error:
        _refuse(2, f"{option} {error}")


def _found(path: Path, wanted: Query) -> Iterator[Record]:
    """Yield the matching records of every trail at a path. Warn about the first damaged line only."""
    warned = False

    def warn(line: TrailLine) -> None:
        nonlocal warned
        if not warned:
            _warn(f"{line.file} line {line.number} is not a complete record: run backstay audit verify")
        warned = True

    for trail in trails(path):
        yield from records(trail, warn, wanted, _progress_over(trail))


def _progress_over(trail: Trail) -> Callable[[int, int], None] | None:
    """Return a function that shows the progress of a long read on a terminal; `None` if stderr is not a terminal."""
    if not sys.stderr.isatty():
        return None
    total = sum(file.stat().st_size for file in trail.files) >> 20

    def show(count: int, size: int) -> None:
        typer.echo(f"\r{count:,} lines, {size >> 20:,} MiB of {total:,} MiB on disk\x1b[K\r", err=True, nl=False)

    return show


def _print(found: Iterable[Record], format_: Format) -> int:
    """Print records and return how many."""
    match format_:
        case Format.JSON:
            return write_json(found, sys.stdout.buffer, for_a_person=sys.stdout.isatty())
        case Format.CSV:
            return write_csv(found, sys.stdout)
        case Format.TABLE:
            from proxy.audit.printing import show_records

            return show_records(found)


def _print_stats(sums: Stats, format_: Format) -> None:
    match format_:
        case Format.JSON:
            write_stats_json(sums, sys.stdout.buffer)
        case Format.CSV:
            write_stats_csv(sums, sys.stdout)
        case Format.TABLE:
            from proxy.audit.printing import show_stats

            show_stats(sums)


def _poll() -> None:
    time.sleep(_POLL_S)


def _default_format() -> Format:
    return Format.TABLE if sys.stdout.isatty() else Format.JSON


def _warn_if_none(count: int) -> None:
    if not count:
        _warn("no record matches")


def _warn(text: str) -> None:
    typer.echo(escaped(f"backstay audit: {text}"), err=True)


def _refuse(status: int, text: str) -> NoReturn:
    _warn(text)
    raise typer.Exit(status)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn an exception into one line: exit with 2 if the path is not a trail, with 1 if a file cannot be read."""
    try:
        yield
    except NoTrailError as error:
        _refuse(2, str(error))
    except TrailError as error:
        _refuse(1, str(error))
    except OSError as error:  # file errors only: proxy/cli/output.py handles errors of standard output
        _refuse(1, f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # 128 + SIGINT: the user stopped `--follow`
