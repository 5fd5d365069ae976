"""Functions that read and write single records, or format them for a terminal, a spreadsheet or the control plane."""

from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import BytesIO, StringIO
from pathlib import Path

import orjson
import typer

from proxy.admin.hosts import OwnNames
from proxy.admin.records import exported
from proxy.admin.snapshot import restoration_view
from proxy.audit.chain import Chain, parse_link
from proxy.audit.export import write_csv, write_json, write_rows_csv, write_rows_json
from proxy.audit.files import TrailLine, parse
from proxy.audit.printing import show_records, show_rows
from proxy.audit.reader import Query, stats
from proxy.audit.redaction import Redaction, bounded
from proxy.audit.verify import verify
from proxy.cli.audit import _moment
from proxy.cli.circuits import _print_table
from proxy.http.fields import Fields
from proxy.policy.restoration import (
    Half,
    HalfResult,
    Restorations,
    Step,
)
from proxy.text import escaped, escaped_json, escaped_lines, harmless_cell
from tests.growth.case import TEXT, Case
from tests.growth.inputs import Around

_REDACTION = Redaction(b"salt", frozenset({b"a"}), (b"cookie",), "hashed")


def line_of(data: bytes) -> TrailLine:
    """Return the line of a trail that has these bytes."""
    return TrailLine(Path("audit.jsonl"), 1, data)


def chained(data: bytes, **more: object) -> bytes:
    """Return the first line of a trail, with the input in its record."""
    text = data.decode(TEXT)
    return Chain().append(
        {"subject": text, "success": False, "duration_ms": 1.0, "operation": text, "ts": text, **more}
    )


def _path(data: bytes) -> None:
    _REDACTION.path(b"/" + data, b"")
    _REDACTION.path(b"/", data)


def _noted(data: bytes) -> None:
    _REDACTION.noted_headers(Fields(((b"Cookie", data),)))
    _REDACTION.hashed(data)
    _REDACTION.client(data.decode(TEXT))
    bounded(data.decode(TEXT))


def _escaped(data: bytes) -> None:
    text = data.decode(TEXT)
    escaped(text)
    escaped_lines(text)
    escaped_json(text)
    harmless_cell(text)


def _one_record(data: bytes) -> None:
    line = chained(data)
    str(verify([line_of(line), line_of(line[:-1])]))
    parse_link(line)
    record = parse(line_of(line))
    assert record is not None
    Query(report_id=data.decode(TEXT), since="2026").matches(record.fields)
    write_csv([record], StringIO())
    write_json([record], BytesIO(), for_a_person=True)
    stats([record])


def _shown(data: bytes) -> None:
    record = parse(line_of(chained(data)))
    assert record is not None
    rows = [(data.decode(TEXT),)]
    write_rows_csv(("a",), rows, StringIO())
    write_rows_json(("a",), rows, BytesIO())
    with redirect_stdout(StringIO()):
        show_records([record])
        show_rows(("a",), rows)
        _print_table([dict.fromkeys(("name", "state", "failures", "mode", "probes_in_s"), rows[0][0])])


def _time(data: bytes) -> None:
    with redirect_stderr(StringIO()), suppress(typer.Exit):
        _moment("--since", data.decode(TEXT), 0.0)


def _queried(said: str) -> Callable[[bytes], object]:
    """Return a query to the control plane in which one parameter grows."""
    newest = [orjson.dumps({"subject": "a", "ts": "2026"})]

    def call(data: bytes) -> None:
        with suppress(ValueError):
            exported(newest, {said: data.decode(TEXT)}, "json")

    return call


def _exported(data: bytes) -> object:
    return exported([chained(data)], {"report_id": data.decode(TEXT), "format": "csv"}, "json")


def _restorations(data: bytes) -> None:
    """Ask the control plane for a subject that is not known, and for one that is."""
    known = Restorations()
    for subject in (data.decode(TEXT), "a"):
        known.take(subject, 1, Step(Half.STATUS, HalfResult.CONTENT, 0.0, 1.0, subject))
        restoration_view(subject, known.of(subject, 2.0), 2.0)


def _asked_by_name(data: bytes) -> None:
    """Name whom a request to the control plane is for: in its Host field, and in its target."""
    text = data.decode(TEXT)
    names = OwnNames("127.0.0.1", ("backstay.internal",))
    names.refusal([text], f"http://{text}/{text}", f"/{text}", required=True)
    names.refusal([text], text, text, required=True)
    names.include(text, dotless=True)


READERS = (
    Case("hosts.OwnNames.refusal, include", _asked_by_name, times=8),
    Case("redaction.Redaction.path", _path),
    Case("redaction.Redaction.noted_headers, hashed, client; bounded", _noted),
    Case("text.escaped, escaped_lines, escaped_json, harmless_cell", _escaped, times=8),
    Case("chain.append, parse_link; files.parse; reader.stats; verify; export", _one_record, times=8),
    Case("export.write_rows_csv, write_rows_json; show", _shown, times=128),
    Case("chain.parse_link", parse_link, (Around(), Around(b'{"v":1,"seq":1,'), Around(b'{"v":', b'"}\n'))),
    Case("cli.audit, a time", _time),
    Case("records.exported", _exported, times=8),
    Case("restoration.Restorations; snapshot.restoration_view", _restorations),
    *(Case(f"records.exported, {said}", _queried(said)) for said in ("format", "limit", "since", "failures", "x")),
)
