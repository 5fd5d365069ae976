"""`backstay audit`: read the trail. It prints; what a trail says is decided in proxy/audit."""

import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.audit.chain import timestamp
from proxy.audit.export import write_csv, write_json, write_stats_csv, write_stats_json
from proxy.audit.files import Line, NoTrailError, Record, TrailError, lines, trails
from proxy.audit.reader import Query, Stats, records
from proxy.audit.reader import stats as sum_up
from proxy.audit.reader import tail as newest_records
from proxy.audit.verify import Condition
from proxy.audit.verify import verify as check
from proxy.clock import SystemClock

app = typer.Typer(no_args_is_help=True, help="Read the audit trail: query, stats, export, verify, tail.")

_POLL_S = 0.2
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Format(StrEnum):
    """How records are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class ExportFormat(StrEnum):
    """How records are handed to other programs."""

    JSON = "json"
    CSV = "csv"


PathArg = Annotated[Path, typer.Argument(metavar="PATH", help="The audit file, with its rotated files, or a folder.")]
ReportId = Annotated[str | None, typer.Option("--report-id", help="Only this report (the record's subject).")]
Operation = Annotated[str | None, typer.Option("--operation", help="Only this operation (the route's name).")]
CorrelationId = Annotated[str | None, typer.Option("--correlation-id", help="Only this correlation id.")]
Failures = Annotated[bool, typer.Option("--failures", help="Only requests that failed.")]
Since = Annotated[str | None, typer.Option("--since", help="From then on: ISO 8601 (UTC unless it says), or 10m ago.")]
Until = Annotated[str | None, typer.Option("--until", help="Before then: ISO 8601 (UTC unless it says), or 10m ago.")]
Printed = Annotated[Format | None, typer.Option("--format", help="Default: table on a terminal, else json.")]


@app.command()
def query(
    path: PathArg,
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
        _say_if_none(_print(_found(path, wanted), format_ or _default_format()))


@app.command()
def stats(
    path: PathArg,
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
        _say_if_none(sums.overall.total if sums.overall else sums.lost)
        _print_stats(sums, format_ or _default_format())


@app.command()
def export(
    path: PathArg,
    report_id: ReportId = None,
    operation: Operation = None,
    correlation_id: CorrelationId = None,
    failures: Failures = False,
    since: Since = None,
    until: Until = None,
    format_: Annotated[ExportFormat, typer.Option("--format", envvar="AUDIT_TRAIL_EXPORT_FORMAT")] = ExportFormat.JSON,
) -> None:
    """Write records to standard output for another program: JSON lines as they stand, or CSV with fixed columns."""
    with _plain_errors():
        wanted = _query(report_id, operation, correlation_id, failures, since, until)
        _say_if_none(_print(_found(path, wanted), Format(format_)))


@app.command()
def verify(
    path: PathArg,
    partial: Annotated[bool, typer.Option("--partial", help="Accept that the oldest files were retired.")] = False,
) -> None:
    """Check that no record was edited, moved or removed, and name the first that is not as it was written.

    Exit status: 0 whole; 10 edited; 11 reordered or repeated; 12 missing; 13 torn tail, which is what a crash leaves;
    1 the trail cannot be read; 2 there is no trail at PATH.
    """
    with _plain_errors():
        findings = [check(lines(trail.files), partial=partial) for trail in trails(path)]
    for finding in findings:
        typer.echo(str(finding))
    raise typer.Exit(next((finding.condition for finding in findings if finding.condition), Condition.WHOLE).value)


@app.command()
def tail(
    path: PathArg,
    count: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the newest records.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as the file grows, until interrupted.")] = False,
    report_id: ReportId = None,
    operation: Operation = None,
    correlation_id: CorrelationId = None,
    failures: Failures = False,
    since: Since = None,
    until: Until = None,
    format_: Printed = None,
) -> None:
    """Print the newest records of the newest file, and with -f those that come."""
    with _plain_errors():
        wanted = _query(report_id, operation, correlation_id, failures, since, until)
        newest = trails(path)[-1].files[-1]
        for found in newest_records(newest, wanted, count, _poll if follow else None):
            _print(found, format_ or _default_format())
            sys.stdout.flush()


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
    """Return an instant as the records write it, from ISO 8601 or from a time ago such as 10m."""
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return timestamp(max(0.0, now - int(ago[1]) * _UNITS[ago[2]]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _refuse(2, f"{option} {text!r} is no time: write 2026-11-23T15:00:00Z, or 10m for ten minutes ago")
    return timestamp((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _found(path: Path, wanted: Query) -> Iterator[Record]:
    """Yield what the query wants from every trail at a path; the first damaged line is told to a person, once."""
    warned = False

    def warn(line: Line) -> None:
        nonlocal warned
        if not warned:
            _say(f"{line.file} line {line.number} holds no whole record: backstay audit verify says more")
        warned = True

    for trail in trails(path):
        yield from (record for record in records(trail, warn) if wanted.matches(record.fields))


def _print(found: Iterable[Record], format_: Format) -> int:
    """Print records and return how many."""
    match format_:
        case Format.JSON:
            return write_json(found, sys.stdout.buffer)
        case Format.CSV:
            return write_csv(found, sys.stdout)
        case Format.TABLE:
            from proxy.audit.show import show_records

            return show_records(found)


def _print_stats(sums: Stats, format_: Format) -> None:
    match format_:
        case Format.JSON:
            write_stats_json(sums, sys.stdout.buffer)
        case Format.CSV:
            write_stats_csv(sums, sys.stdout)
        case Format.TABLE:
            from proxy.audit.show import show_stats

            show_stats(sums)


def _poll() -> None:
    time.sleep(_POLL_S)


def _default_format() -> Format:
    return Format.TABLE if sys.stdout.isatty() else Format.JSON


def _say_if_none(count: int) -> None:
    if not count:
        _say("no record matches")


def _say(text: str) -> None:
    typer.echo(f"backstay audit: {text}", err=True)


def _refuse(status: int, text: str) -> NoReturn:
    _say(text)
    raise typer.Exit(status)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what goes wrong into one line: exit 2 for a path that is no trail, 1 for one that cannot be read."""
    try:
        yield
    except NoTrailError as error:
        _refuse(2, str(error))
    except TrailError as error:
        _refuse(1, str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # 128 + SIGINT: how following a trail ends
