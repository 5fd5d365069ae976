"""`backstay audit`, as a user or a script calls it."""

import csv
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from proxy.audit.chain import Chain, parse_link
from proxy.audit.checkpoint import checkpoint_line, read_key
from proxy.cli.audit import app
from tests.unit.audit.samples import chained, fields


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """Return a trail: two creates of val_1, one failed history of val_2, and a gap."""
    chain = Chain()
    records: list[dict[str, object]] = [
        fields(1, subject="val_1"),
        fields(2, subject="val_1"),
        fields(3, subject="val_2", operation="history", success=False, status=504),
        {"ts": "2026-11-23T15:37:10.000000Z", "gap": 5},
    ]
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(chain.append(record) for record in records))
    return path


def audit(*words: object, **env: str) -> Result:
    """Run `backstay audit` with these words."""
    return CliRunner().invoke(app, [str(word) for word in words], env=env)


def seqs(result: Result) -> list[int]:
    """Return the numbers of the records printed as JSON lines."""
    assert result.exit_code == 0, result.output
    return [orjson.loads(line)["seq"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ((), [1, 2, 3, 4]),
        (("--report-id", "val_1"), [1, 2]),
        (("--operation", "history"), [3]),
        (("--correlation-id", "session-create-a7f3e2c1-2"), [2]),
        (("--failures",), [3]),
        (("--since", "2026-11-23T15:37:02Z", "--until", "2026-11-23T15:37:03Z"), [2]),
        (("--since", "2026-11-23T17:37:03+02:00"), [3, 4]),
        (("--since", "2026-11-23"), [1, 2, 3, 4]),
        (("--until", "9999-12-31T23:00:00-05:00"), [1, 2, 3, 4]),
        (("--since", "0999-01-01"), [1, 2, 3, 4]),
    ],
)
def test_query_filters(trail: Path, filters: tuple[str, ...], wanted: list[int]) -> None:
    """Each filter of the contract leaves its records, as JSON lines where no terminal reads them."""
    assert seqs(audit("query", trail, *filters)) == wanted


def test_query_prints_a_table(trail: Path) -> None:
    """For a person: what happened to which report, and that records are missing."""
    result = audit("query", trail, "--format", "table")
    for text in ("val_1", "history", "504", "session-create-a7f3e2c1-1", "gap: 5"):
        assert text in result.stdout


def test_a_table_shows_no_control_characters(trail: Path) -> None:
    """A subject cannot colour or move what an auditor sees."""
    trail.write_bytes(Chain().append(fields(subject="val\x1b[2J[red]_1")))
    result = audit("query", trail, "--format", "table")
    assert "\x1b" not in result.stdout
    assert r"val\x1b[2J[red]_1" in result.stdout


def test_query_prints_csv(trail: Path) -> None:
    """A header and one row a record."""
    rows = list(csv.DictReader(StringIO(audit("query", trail, "--format", "csv").stdout)))
    assert [row["seq"] for row in rows] == ["1", "2", "3", "4"]


def test_a_relative_time_is_counted_from_now(trail: Path) -> None:
    """Ten minutes ago is long after, or before, records of another year."""
    trail.write_bytes(Chain().append(fields(ts="2020-01-01T00:00:00.000000Z")))
    assert seqs(audit("query", trail, "--since", "10m")) == []
    assert seqs(audit("query", trail, "--until", "10m")) == [1]


def test_nothing_matches_is_said_and_is_no_failure(trail: Path) -> None:
    """Standard output stays empty for the next program."""
    result = audit("query", trail, "--report-id", "nobody")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "backstay audit: no record matches\n")


@pytest.mark.parametrize("command", ["query", "stats", "export", "verify", "tail"])
def test_a_path_without_a_trail_is_one_line(tmp_path: Path, command: str) -> None:
    """What was typed wrong: exit 2, for every command."""
    result = audit(command, tmp_path / "nothing.jsonl")
    assert result.exit_code == 2
    assert result.stderr == f"backstay audit: {tmp_path}/nothing.jsonl: no such file or folder\n"


@pytest.mark.parametrize("command", ["query", "stats", "export", "tail"])
@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("text", ["yesterday", "2026-11-23+02:00", "2026-13-45", ""])
def test_a_time_that_is_none_is_one_line(trail: Path, command: str, option: str, text: str) -> None:
    """What was typed wrong: exit 2, with an example."""
    result = audit(command, trail, option, text)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"backstay audit: {option} {text!r} is not a time: write 2026-")
    assert result.stderr.rstrip().endswith("or 10m for ten minutes ago")
    assert result.stderr.count("\n") == 1


def test_a_format_that_is_none_is_refused(trail: Path) -> None:
    """The choice is checked before anything is read."""
    assert audit("query", trail, "--format", "xml").exit_code == 2


@pytest.mark.parametrize("command", ["query", "stats", "export", "verify", "tail"])
def test_an_unreadable_trail_is_one_line(tmp_path: Path, command: str) -> None:
    """What failed: exit 1, for every command."""
    (tmp_path / "audit.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    result = audit(command, tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"backstay audit: {tmp_path}/audit.jsonl.gz: cannot be read")
    assert result.stderr.count("\n") == 1


def test_a_damaged_line_is_mentioned(trail: Path) -> None:
    """A query still answers, and points to the verifier."""
    trail.write_bytes(b"damage\n" + trail.read_bytes())
    result = audit("query", trail)
    assert seqs(result) == [1, 2, 3, 4]
    assert "line 1 is not a complete record: run backstay audit verify" in result.stderr


def test_stats_as_json(trail: Path) -> None:
    """The seed's figures by operation and over everything, and what was lost."""
    sums = orjson.loads(audit("stats", trail).stdout)
    assert [(row["operation"], row["total"], row["success_rate"]) for row in sums["operations"]] == [
        ("history", 1, 0.0),
        ("session-create", 2, 1.0),
    ]
    assert (sums["overall"]["total"], sums["lost"]) == (3, 5)


def test_stats_as_a_table_and_as_csv(trail: Path) -> None:
    """The same figures for a person and for a spreadsheet."""
    table = audit("stats", trail, "--format", "table").stdout
    assert "66.67%" in table
    assert "5 more records were lost" in table
    rows = list(csv.DictReader(StringIO(audit("stats", trail, "--format", "csv").stdout)))
    assert [row["operation"] for row in rows] == ["history", "session-create", "all"]


def test_export_is_the_trail_itself(trail: Path) -> None:
    """JSON unless asked otherwise, byte for byte."""
    assert audit("export", trail).stdout_bytes == trail.read_bytes()


def test_export_honours_the_environment(trail: Path) -> None:
    """The seed's variable chooses the format, and the option overrides it."""
    assert audit("export", trail, AUDIT_TRAIL_EXPORT_FORMAT="csv").stdout.startswith("seq,ts,id,")
    assert audit("export", trail, "--format", "json", AUDIT_TRAIL_EXPORT_FORMAT="csv").stdout.startswith('{"v":1')
    off = audit("export", trail, AUDIT_TRAIL_EXPORT_FORMAT="csv", BACKSTAY_SEED_ENV="0")
    assert off.stdout.startswith('{"v":1')
    wrong = audit("export", trail, AUDIT_TRAIL_EXPORT_FORMAT="xml")
    assert wrong.exit_code == 2
    assert wrong.stderr == "backstay audit: AUDIT_TRAIL_EXPORT_FORMAT: 'xml' is not one of json, csv, parquet\n"


def test_verify_says_whole_or_names_the_first_bad_record(trail: Path) -> None:
    """One line, and the exit status that belongs to it."""
    whole = audit("verify", trail)
    assert (whole.exit_code, whole.stdout.partition(" records")[0]) == (0, "unbroken, not proven: 4")
    trail.write_bytes(trail.read_bytes().replace(b"val_2", b"val_3"))
    edited = audit("verify", trail)
    assert edited.exit_code == 10
    assert edited.stdout == f"edited: {trail} line 3 (record 3): the bytes do not match their hash\n"


def test_verify_of_retired_files_needs_to_be_told(trail: Path) -> None:
    """A trail that begins late is missing records, unless that was meant."""
    trail.write_bytes(b"".join(chained(4)[2:]))
    assert audit("verify", trail).exit_code == 12
    assert audit("verify", trail, "--partial").exit_code == 0


def test_verify_lists_its_exit_statuses() -> None:
    """A script's author finds them in the help."""
    shown = " ".join(audit("verify", "--help", TERM="dumb", COLUMNS="200").stdout.split())
    assert "0 whole; 10 edited; 11 reordered or repeated; 12 missing; 13 torn tail" in shown
    assert "14 cut tail; 15 checkpoints signed with another key" in shown
    assert "16 records that no signed checkpoint covers" in shown


def test_tail_prints_the_newest(trail: Path) -> None:
    """The last two, and the last one that passes a filter."""
    assert seqs(audit("tail", trail, "-n", "2")) == [3, 4]
    assert seqs(audit("tail", trail, "-n", "1", "--operation", "session-create")) == [2]


def test_tail_follows_a_growing_file(trail: Path) -> None:
    """A record is printed as soon as its line is whole, and an interrupt ends it without a word."""
    words = [sys.executable, "-c", "from proxy.cli.audit import app; app()", "tail", "-f", "-n", "1", str(trail)]
    follower = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert follower.stdout is not None
    try:
        assert orjson.loads(follower.stdout.readline())["seq"] == 4
        with trail.open("ab", buffering=0) as stream:
            stream.write(Chain(seq=4).append(fields(5)))
        assert orjson.loads(follower.stdout.readline())["seq"] == 5
    finally:
        follower.send_signal(signal.SIGINT)
        stderr = follower.communicate()[1]
    assert (follower.returncode, stderr) == (130, b"")


@pytest.fixture
def proven(trail: Path) -> Path:
    """Return the trail with a checkpoint of its last record beside it, and the key that signed it."""
    key = trail.with_name("key")
    key.write_bytes(b"k" * 32)
    last = parse_link(trail.read_bytes().splitlines(keepends=True)[-1])
    assert last is not None
    trail.with_name("audit.jsonl.checkpoints").write_bytes(checkpoint_line("now", last, read_key(key)))
    return trail


def test_verify_finds_a_cut_tail_and_a_wrong_key(proven: Path) -> None:
    """Each with an exit status of its own; without a key the checkpoint beside the trail is still believed."""
    key, other = proven.with_name("key"), proven.with_name("other")
    other.write_bytes(b"x" * 32)
    assert audit("verify", proven, "--key", key).exit_code == 0
    assert audit("verify", proven, "--key", other).exit_code == 15
    assert audit("verify", proven, "--key", other, "--key", key).exit_code == 0
    proven.write_bytes(b"".join(proven.read_bytes().splitlines(keepends=True)[:-2]))
    for words in ((), ("--key", key)):
        cut = audit("verify", proven, *words)
        assert cut.exit_code == 14
        assert cut.stdout == "cut tail: a checkpoint reaches to record 4: records 3 to 4 are missing from the end\n"


def test_verify_with_a_key_wants_checkpoints(trail: Path, tmp_path: Path) -> None:
    """Whoever brings a key is not told "whole" when there is nothing that it signed."""
    (tmp_path / "key").write_bytes(b"k" * 32)
    result = audit("verify", trail, "--key", tmp_path / "key")
    assert result.exit_code == 2
    assert "there are no checkpoints" in result.stderr


def test_sql_asks_the_view(trail: Path) -> None:
    """One row a line; a mistake in the statement is one line."""
    pytest.importorskip("duckdb")
    statement = "SELECT operation, count(*) AS n FROM audit WHERE method IS NOT NULL GROUP BY 1 ORDER BY 1"
    asked = audit("sql", statement, trail)
    assert [orjson.loads(line) for line in asked.stdout.splitlines()] == [
        {"operation": "history", "n": 1},
        {"operation": "session-create", "n": 2},
    ]
    wrong = audit("sql", "SELEC 1", trail)
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)


def test_parquet_needs_a_file_and_holds_the_filtered_records(trail: Path, tmp_path: Path) -> None:
    """It cannot be streamed; nothing but the file is left behind."""
    duckdb = pytest.importorskip("duckdb")
    assert audit("export", trail, "--format", "parquet").exit_code == 2
    out = tmp_path / "out.parquet"
    assert audit("export", trail, "--format", "parquet", "-o", out, "--failures").exit_code == 0
    assert duckdb.sql(f"SELECT seq, subject, attempts[1].why FROM '{out}'").fetchall() == [(3, "val_2", "first")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["audit.jsonl", "out.parquet"]


@pytest.mark.parametrize(("form", "begins"), [("json", b'{"v":1'), ("csv", b"seq,ts,id")])
def test_export_into_a_file(trail: Path, tmp_path: Path, form: str, begins: bytes) -> None:
    """The same bytes as on standard output; a folder that does not exist is one line."""
    out = tmp_path / "out"
    assert audit("export", trail, "--format", form, "-o", out).stdout == ""
    assert out.read_bytes().startswith(begins)
    missing = audit("export", trail, "--format", form, "-o", tmp_path / "no" / "out")
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)
