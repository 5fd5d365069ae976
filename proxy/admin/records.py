"""Select the newest audit records by the query's filters, and format them."""

from collections.abc import Iterable, Mapping
from io import StringIO

import orjson

from proxy.admin.control import Record
from proxy.audit.export import COLUMNS, csv_header, csv_row, row
from proxy.audit.instants import instant
from proxy.audit.reader import Query

PARAMETERS = ("report_id", "operation", "correlation_id", "failures", "since", "until", "format", "limit")

_TRUTH = {"": True, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def exported(records: Iterable[bytes], parameters: Mapping[str, str], default: str) -> tuple[bytes, str]:
    """Return the selected records (each as JSON, oldest first) and their content type.

    `default` is the format if the query names none. Raise ValueError with one sentence for an unknown parameter or
    value: a misspelt parameter must not return a result.
    """
    if unknown := parameters.keys() - set(PARAMETERS):
        raise ValueError(f"There is no parameter {min(unknown)!r}: use {', '.join(PARAMETERS)}.")
    form = parameters.get("format", default)
    if form not in {"json", "csv"}:
        raise ValueError(f"There is no format {form!r}: use json or csv.")
    query = _query(parameters)
    found = [record for record in map(orjson.loads, records) if query.matches(record)][-_limit(parameters) :]
    return (_csv(found), "text/csv") if form == "csv" else (orjson.dumps(found), "application/json")


def _limit(parameters: Mapping[str, str]) -> int:
    """Return the requested number of newest records; 0 means all: `[-0:]` is the whole list."""
    limit = parameters.get("limit", "0")
    if not limit.isascii() or not limit.isdecimal() or len(limit) > 9:
        raise ValueError(f"limit={limit} is not a number of records.")
    return int(limit)


def _query(parameters: Mapping[str, str]) -> Query:
    failures = _TRUTH.get(parameters.get("failures", "no").lower())
    if failures is None:
        raise ValueError(f"failures={parameters['failures']} is not valid: use true or false.")
    return Query(
        report_id=parameters.get("report_id"),
        operation=parameters.get("operation"),
        correlation_id=parameters.get("correlation_id"),
        failures=failures,
        since=_instant(parameters, "since"),
        until=_instant(parameters, "until"),
    )


def _instant(asked: Mapping[str, str], name: str) -> str | None:
    if name not in asked:
        return None
    try:
        return instant(asked[name])
    except ValueError as error:
        raise ValueError(f"{name}={error}.") from None


def _csv(found: Iterable[Record]) -> bytes:
    table = StringIO()
    csv_header(COLUMNS, table)
    for record in found:
        csv_row(row(record), table)
    return table.getvalue().encode()
