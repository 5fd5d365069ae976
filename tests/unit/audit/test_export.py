"""Export: JSON lines byte for byte, and a table that a spreadsheet can open safely."""

import csv
import re
from io import BytesIO, StringIO
from pathlib import Path

import pytest

from proxy.audit.chain import Chain
from proxy.audit.export import COLUMNS, write_csv, write_json, write_rows_json, write_stats_json
from proxy.audit.files import Record, TrailLine, parse
from proxy.audit.reader import stats
from tests.unit.audit.samples import as_lines, chained, fields


def found(*wanted: dict[str, object]) -> list[Record]:
    """Return the records that a trail with these fields holds."""
    chain = Chain()
    return [record for line in as_lines(b"".join(map(chain.append, wanted))) if (record := parse(line))]


def table(*wanted: dict[str, object]) -> list[dict[str, str]]:
    """Return what a CSV reader sees of these records."""
    out = StringIO()
    assert write_csv(found(*wanted), out) == len(wanted)
    out.seek(0)
    return list(csv.DictReader(out))


def test_json_is_the_trail_byte_for_byte() -> None:
    """What is exported whole can be verified like the trail itself."""
    out = BytesIO()
    assert write_json(found(fields(1), fields(2)), out) == 2
    assert out.getvalue() == b"".join(chained(2))


def test_csv_has_fixed_columns() -> None:
    """Nested fields have columns of their own, attempts are counted, what a record lacks is empty."""
    first, gap = table(fields(1), {"ts": "now", "gap": 3})
    assert tuple(first) == COLUMNS
    assert (first["seq"], first["subject"], first["success"], first["attempts"]) == ("1", "val_123", "true", "1")
    assert (first["flight.followers"], first["idempotency.replayed"]) == ("3", "false")
    assert first["metadata"] == '{"view":"manual"}'
    assert (gap["gap"], gap["status"], gap["flight.role"]) == ("3", "", "")


def test_nothing_found_is_not_even_a_header() -> None:
    """An empty answer is empty."""
    assert table() == []


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\uff1d1", "'\uff1d1"),
        ("a;=1", "a;'=1"),
        ('a";" =1', 'a";"\' =1'),
        ("a,-1|@x", "a,'-1|'@x"),
        ("\t=1", "\\x09=1"),
        ("a\r\n=1", "a\\x0d\\x0a=1"),
        ("val\u202e_1\x9b", "val\\u202e_1\\x9b"),
        ("val-1", "val-1"),
    ],
)
def test_text_from_strangers_is_no_formula(formula: str, shown: str) -> None:
    """Not where a cell begins, nor where one would begin for a spreadsheet that splits at another character."""
    (row,) = table(fields(subject=formula))
    assert row["subject"] == shown


def test_every_cell_is_in_quotes() -> None:
    """The header's names are ours and are not."""
    text = StringIO()
    write_csv(found(fields(subject="a;b")), text)
    header, line = text.getvalue().splitlines()
    assert header.startswith("seq,ts,id")
    assert all(cell.startswith('"') and cell.endswith('"') for cell in re.split(r",(?=\")", line))


def test_the_sum_of_forged_gaps_may_have_more_than_64_bits() -> None:
    """A line of a trail is anybody's: a reader that ends with a traceback says nothing of the other lines."""
    out, forged = BytesIO(), (1 << 64) - 1
    line = TrailLine(Path("audit.jsonl"), 1, b"")
    write_stats_json(stats([Record(line, {"gap": forged}), Record(line, {"gap": 3})]), out)
    assert out.getvalue() == b'{"overall":null,"operations":[],"lost":"18446744073709551618"}\n'


@pytest.mark.parametrize("large", [1 << 64, -(1 << 63) - 1, (1 << 127) - 1])
def test_a_row_with_an_integer_of_more_than_64_bits_is_written(large: int) -> None:
    """SQL has such integers, alone and in lists and structures."""
    out = BytesIO()
    write_rows_json(("a", "b", "c"), [(large, [1, large], {"d": large})], out)
    assert out.getvalue() == b'{"a":"%d","b":[1,"%d"],"c":{"d":"%d"}}\n' % (large, large, large)
