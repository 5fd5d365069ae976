"""Export: JSON lines byte for byte, and a table that a spreadsheet can open safely."""

import csv
from io import BytesIO, StringIO

import pytest

from proxy.audit.chain import Chain
from proxy.audit.export import COLUMNS, write_csv, write_json
from proxy.audit.files import Record, parse
from tests.unit.audit.samples import as_lines, fields, sealed


def found(*wanted: dict[str, object]) -> list[Record]:
    """Return the records that a trail with these fields holds."""
    chain = Chain()
    return [record for line in as_lines(b"".join(map(chain.seal, wanted))) if (record := parse(line))]


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
    assert out.getvalue() == b"".join(sealed(2))


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


@pytest.mark.parametrize("formula", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1"])
def test_text_from_strangers_is_no_formula(formula: str) -> None:
    """A subject that a spreadsheet would run is marked as text."""
    (row,) = table(fields(subject=formula))
    assert row["subject"] == f"'{formula}"
