"""A forged line of the trail, chained or not, ends no command of `backstay audit` before the records behind it."""

import csv
import sys
from io import StringIO
from pathlib import Path

import orjson
import pytest

from proxy.audit.chain import GENESIS, Chain
from proxy.audit.checkpoint import NoKey, checkpoint_line, read
from proxy.audit.export import COLUMNS
from tests.unit.audit.samples import fields
from tests.unit.cli.test_audit import audit


def nested(levels: int) -> list[bytes]:
    """Return an object and a list nested so deeply."""
    return [b'{"a":' * levels + b"1" + b"}" * levels, b"[" * levels + b"1" + b"]" * levels]


# JSON's writer refuses 255 levels; Python's recursion ends at 1,000; JSON's reader refuses 1,025.
NESTED = (*nested(260), *nested(1_000), *nested(1_100))
VALUES = (*NESTED, b"1e308", b"123456789012345678901234567890", b'["=cmd"]', b"\xff")
NAMES = sorted({column.partition(".")[0] for column in COLUMNS} - {"seq"} | {"torn", "note", "through"})
LAST = "the-last-one"


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trail in which each field has each value once, with a whole record at the end."""
    chain = Chain()
    lines = [chain.append(fields(1))]
    for value in VALUES:
        lines += [chain.append_encoded(b'{"%b":%b}' % (name.encode(), value)) for name in NAMES]
        lines.append(chain.append_encoded(b'{"operation":%b,"success":true,"duration_ms":1.5}' % value))
        lines.append(chain.append_encoded(b'{"flight":{"role":%b},"idempotency":{"source":%b}}' % (value, value)))
    lines.append(chain.append(fields(2, operation=LAST)))
    path = tmp_path_factory.mktemp("forged") / "audit.jsonl"
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize("form", ["table", "csv", "json"])
@pytest.mark.parametrize("words", [("query",), ("query", "--since", "2020-01-01"), ("stats",), ("tail", "-n", "9999")])
def test_what_is_printed_goes_on_behind_a_forged_line(forged: Path, words: tuple[str, ...], form: str) -> None:
    """Before, a nested value ended a CSV, a table and the sums with a traceback."""
    result = audit(words[0], forged, *words[1:], "--format", form)
    assert result.exit_code == 0, result.exception
    assert LAST in result.stdout


@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_export_goes_on_behind_a_forged_line(forged: Path, form: str) -> None:
    result = audit("export", forged, "--format", form)
    assert result.exit_code == 0, result.exception
    assert LAST in result.stdout


def test_a_cell_of_a_nested_value_is_cut_and_runs_nothing(forged: Path) -> None:
    csv.field_size_limit(sys.maxsize)
    rows = list(csv.DictReader(StringIO(audit("export", forged, "--format", "csv").stdout)))
    cut = [row["metadata"] for row in rows if row["metadata"].startswith('{"a":{')]
    assert [text.count("{") for text in cut] == [64, 64]
    assert all('"..."' in text for text in cut)
    assert {row["flight.role"] for row in rows if "cmd" in row["flight.role"]} == {'["\'=cmd"]'}


def test_parquet_and_sql_go_on_behind_a_forged_line(forged: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    out = tmp_path / "out.parquet"
    assert audit("export", forged, "--format", "parquet", "-o", out).exit_code == 0
    assert duckdb.sql(f"SELECT count(*) FROM '{out}' WHERE operation = '{LAST}'").fetchall() == [(1,)]
    for form, columns in (("json", "*"), ("csv", "*"), ("table", "seq, operation")):
        result = audit("sql", f"SELECT {columns} FROM audit ORDER BY seq", forged, "--format", form)
        assert result.exit_code == 0, result.exception
        assert LAST in result.stdout


def test_verify_says_what_it_says_of_any_chained_line(forged: Path) -> None:
    """The chain is over bytes: it is unbroken, whatever the lines hold."""
    assert audit("verify", forged).stdout.startswith("unbroken, not proven")


@pytest.mark.parametrize("said", [b"nonsense", b'"a":' + nested(1_100)[0], b'"a":"\xff"', b'"through":[1]'])
@pytest.mark.parametrize("words", [(), ("--partial",)])
def test_a_retirement_that_is_no_json_excuses_nothing(tmp_path: Path, said: bytes, words: tuple[str, ...]) -> None:
    """Before, verify ended with a traceback and exit status 1."""
    chain = Chain(head=b"1" * 64, seq=4)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(chain.append_encoded(b'{"note":"retired",%b}' % said) for _ in range(3)))
    result = audit("verify", path, *words)
    assert result.stdout.startswith("unbroken, not proven" if words else "missing: "), result.exception


@pytest.mark.parametrize("value", [*NESTED, b"1e308", b"null", b'"\\u0000"'])
@pytest.mark.parametrize("name", [b"n", b"seq", b"head", b"key", b"prev"])
def test_a_forged_checkpoint_is_not_signed_and_no_error(tmp_path: Path, name: bytes, value: bytes) -> None:
    whole = orjson.loads(checkpoint_line("now", GENESIS, NoKey()))
    rest = b",".join(
        b'"%b":%b' % (key.encode(), orjson.dumps(each)) for key, each in whole.items() if key != name.decode()
    )
    path = tmp_path / "audit.jsonl.checkpoints"
    path.write_bytes(b'{"%b":%b,%b}\n' % (name, value, rest))
    assert [claim.line for claim in read(path)]
