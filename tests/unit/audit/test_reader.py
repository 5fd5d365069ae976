"""The reader: which files belong to a trail, which records match, and their sums."""

import gzip
from pathlib import Path

import pytest

from proxy.audit.chain import Chain
from proxy.audit.files import (
    NoTrailError,
    Record,
    TrailError,
    TrailLine,
    lines,
    parse,
    trails,
)
from proxy.audit.reader import Query, Stats, records, stats, tail
from tests.unit.audit.samples import as_lines, chained, fields


def found(path: Path) -> list[int]:
    """Return the numbers of the records that all trails at a path hold."""
    return [number_of(record) for trail in trails(path) for record in records(trail, unexpected)]


def number_of(record: Record) -> int:
    """Return a record's seq."""
    seq = record.fields["seq"]
    assert isinstance(seq, int)
    return seq


def unexpected(line: TrailLine) -> None:
    """Fail for a damaged line."""
    raise AssertionError(line)


def sums(*wanted: dict[str, object]) -> Stats:
    """Return the statistics over records with these fields."""
    chain = Chain()
    return stats(record for line in as_lines(b"".join(map(chain.append, wanted))) if (record := parse(line)))


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """Return a trail of six records: four in rotated files, one of them gzipped, and the two newest."""
    trail = chained(6)
    with gzip.open(tmp_path / "audit.jsonl-20261121.gz", "wb") as old:
        old.write(b"".join(trail[:2]))
    (tmp_path / "audit.jsonl.1").write_bytes(b"".join(trail[2:4]))
    (tmp_path / "audit.jsonl").write_bytes(b"".join(trail[4:]))
    (tmp_path / "audit.jsonl.torn").write_bytes(b"half a line\n")
    (tmp_path / "notes.txt").write_bytes(b"not ours\n")
    return tmp_path / "audit.jsonl"


def test_a_file_is_read_together_with_its_rotated_files(rotated: Path) -> None:
    """Oldest first, whatever the rotation calls them; files that are no part of the trail are left alone."""
    assert found(rotated) == [1, 2, 3, 4, 5, 6]


def test_a_rotated_file_can_be_read_alone(rotated: Path) -> None:
    """Its own name asks for it and nothing else."""
    assert found(rotated.with_name("audit.jsonl.1")) == [3, 4]


def test_a_folder_is_read_trail_by_trail(rotated: Path) -> None:
    """Two sidecars may write into one folder: each chain stays on its own."""
    rotated.with_name("other.jsonl").write_bytes(chained(1)[0])
    assert found(rotated.parent) == [1, 2, 3, 4, 5, 6, 1]


def test_a_file_half_way_through_gzip_counts_once(rotated: Path) -> None:
    """While gzip still has both, the plain file is read."""
    with gzip.open(rotated.with_name("audit.jsonl.1.gz"), "wb") as half:
        half.write(chained(3)[2])
    assert found(rotated) == [1, 2, 3, 4, 5, 6]


def test_nothing_there_is_said_plainly(tmp_path: Path) -> None:
    """A missing path and a folder without trails are told apart from a broken one."""
    with pytest.raises(NoTrailError, match="no such file or folder"):
        trails(tmp_path / "audit.jsonl")
    with pytest.raises(NoTrailError, match="no audit files"):
        trails(tmp_path)


def test_a_truncated_gzip_is_a_trail_error(rotated: Path) -> None:
    """The file is named, and what is wrong with it."""
    zipped = rotated.with_name("audit.jsonl-20261121.gz")
    zipped.write_bytes(zipped.read_bytes()[:-10])
    with pytest.raises(TrailError, match=r"20261121\.gz: cannot be read to its end"):
        found(rotated)


def test_an_endless_line_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without newlines never has to fit into memory."""
    monkeypatch.setattr("proxy.audit.files.MAX_LINE", 10)
    (tmp_path / "audit.jsonl").write_bytes(b"x" * 25)
    assert [len(line.data) for line in lines([tmp_path / "audit.jsonl"])] == [10, 10, 5]


def test_a_damaged_line_is_handed_over_and_passed(rotated: Path) -> None:
    """One bad line hides none of the others."""
    rotated.write_bytes(b"[1]\n{}\nnot json\n" + chained(1)[0])
    damaged: list[TrailLine] = []
    (trail,) = trails(rotated.parent)
    assert [number_of(record) for record in records(trail, damaged.append)] == [1, 1, 2, 3, 4]
    assert [line.number for line in damaged] == [1, 2, 3]


def test_a_newer_version_is_not_guessed_at() -> None:
    """Fields that mean something else must not be shown as if they did not."""
    with pytest.raises(TrailError, match=r"line 1: written by a newer version \(v 2\)"):
        parse(TrailLine(Path("audit.jsonl"), 1, b'{"v":2,"seq":1}\n'))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (Query(), True),
        (Query(report_id="val_123"), True),
        (Query(report_id="val_12"), False),
        (Query(operation="session-create"), True),
        (Query(operation="history"), False),
        (Query(correlation_id="session-create-a7f3e2c1-4"), True),
        (Query(correlation_id="session-create-a7f3e2c1-5"), False),
        (Query(failures=True), False),
        (Query(since="2026-11-23T15:37:04.123456Z"), True),
        (Query(since="2026-11-23T15:37:04.123457Z"), False),
        (Query(until="2026-11-23T15:37:04.123456Z"), False),
        (Query(until="2026-11-23T15:37:04.123457Z"), True),
        (Query(report_id="val_123", operation="history"), False),
    ],
)
def test_every_filter_that_is_set_must_hold(query: Query, wanted: bool) -> None:
    """Each filter alone, the edges of time, and two together."""
    assert query.matches(fields(4)) is wanted


def test_failures_are_records_that_did_not_succeed() -> None:
    """A failed request passes, a gap is no request."""
    assert Query(failures=True).matches(fields(success=False))
    assert not Query(failures=True).matches({"ts": "now", "gap": 3})


def test_statistics_by_operation_and_over_everything() -> None:
    """Total, success rate, mean and the duration that 95 % do not exceed; gaps are summed apart."""
    creates = [fields(success=number != 1, duration_ms=float(number)) for number in range(1, 101)]
    history = fields(operation="history", duration_ms=1000)
    result = sums(*creates, history, {"ts": "now", "gap": 3}, {"ts": "now", "gap": 4})
    assert [tuple(row) for row in result.operations] == [
        ("history", 1, 1.0, 1000.0, 1000.0),
        ("session-create", 100, 0.99, 50.5, 95.0),
    ]
    assert result.overall is not None
    assert (result.overall.total, result.overall.success_rate, result.overall.p95_ms) == (101, 0.9901, 96.0)
    assert result.lost == 7


def test_statistics_take_a_stream_by_its_head() -> None:
    """The duration of a streamed response is the time to its head; a tunnel is counted without a duration."""
    streamed = fields(duration_ms=60_000.0, metadata={"head_ms": 200.0})
    tunnel = fields(duration_ms=3_600_000.0, metadata={"head_ms": 900.0, "endless": True})
    result = sums(fields(duration_ms=100.0), streamed, tunnel)
    assert [tuple(row) for row in result.operations] == [("session-create", 3, 1.0, 150.0, 200.0)]
    assert [tuple(row) for row in sums(tunnel).operations] == [("session-create", 1, 1.0, 0.0, 0.0)]


def test_statistics_of_nothing() -> None:
    """No record, no rows, no division by zero."""
    assert sums() == Stats(None, (), 0)


def test_a_tail_shows_the_last_and_then_what_comes(tmp_path: Path) -> None:
    """The newest two, then each finished line as the file grows; an unfinished one waits for its end."""
    trail, file = chained(5), tmp_path / "audit.jsonl"
    file.write_bytes(b"".join(trail[:3]))
    additions = iter([trail[3][:40], trail[3][40:], trail[4]])

    def grow() -> None:
        with file.open("ab") as stream:
            stream.write(next(additions))

    shown = tail(trails(file)[0], Query(), 2, grow)
    assert [[number_of(record) for record in next(shown)] for _ in range(4)] == [[2, 3], [], [4], [5]]


def test_a_tail_goes_through_rotations(tmp_path: Path) -> None:
    """Two rotations between two looks, one of them gzipped: nothing is left out and nothing comes twice."""
    trail, file = chained(6), tmp_path / "audit.jsonl"
    file.write_bytes(trail[0])

    def rotate_twice() -> None:
        with file.open("ab") as stream:
            stream.write(trail[1])
        file.rename(tmp_path / "audit.jsonl.1")
        with gzip.open(tmp_path / "audit.jsonl.2.gz", "wb") as zipped:
            zipped.write(trail[2] + trail[3])
        file.write_bytes(trail[4])

    def grow() -> None:
        with file.open("ab") as stream:
            stream.write(trail[5])

    def rest() -> None:
        """Nothing happens."""

    happenings = iter([rotate_twice, grow, rest])
    shown = tail(trails(file)[0], Query(), 9, lambda: next(happenings)())
    assert [[number_of(record) for record in next(shown)] for _ in range(4)] == [[1], [2, 3, 4, 5], [6], []]


def test_a_narrow_query_finds_what_a_wide_one_finds(tmp_path: Path) -> None:
    """Lines are passed unparsed only where they cannot be wanted; damage is still told, and so is a newer version."""
    chain, file = Chain(), tmp_path / "audit.jsonl"
    wanted = Query(report_id='val"1\u00e9', failures=True)
    subject = 'val"1\u00e9'
    kinds = [fields(subject=subject), fields(subject=subject, success=False), fields(success=False)]
    file.write_bytes(b"damage\n" + b"".join(map(chain.append, kinds)))
    damaged: list[TrailLine] = []
    (trail,) = trails(file)
    assert [number_of(record) for record in records(trail, damaged.append, wanted)] == [2]
    assert len(damaged) == 1
    file.write_bytes(b'{"v":2,"seq":1,"hash":"00"}\n')
    with pytest.raises(TrailError, match="newer version"):
        list(records(trail, damaged.append, wanted))


def test_a_file_gzipped_between_listing_and_reading_is_read_all_the_same(rotated: Path) -> None:
    """The listing named the plain file; by now only the gzipped one is there."""
    (trail,) = trails(rotated)
    plain = rotated.with_name("audit.jsonl.1")
    rotated.with_name("audit.jsonl.1.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert [number_of(record) for record in records(trail, unexpected)] == [1, 2, 3, 4, 5, 6]


def test_an_endless_line_is_passed_by_a_tail_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without an end is read in pieces: what follows it is shown, and what was read is not read again."""
    monkeypatch.setattr("proxy.audit.reader.MAX_LINE", 1_000)
    file = tmp_path / "audit.jsonl"
    lines_ = chained(2)
    file.write_bytes(lines_[0] + b"x" * 5_500)
    follow = tail(trails(file)[0], Query(), 10, lambda: None)
    assert [record.line.data for record in next(follow)] == [lines_[0]]
    with file.open("ab") as stream:
        stream.write(b"\n" + lines_[1])
    assert [record.line.data for record in next(follow)] == [lines_[1]]
