"""The audit log: every appended record is written, queued or counted as lost, whatever the disk does."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from proxy.audit import writer
from proxy.audit.files import lines, put_aside, trails
from proxy.audit.log import AuditLog
from proxy.audit.trail_file import RotationRules, TrailFile
from proxy.audit.verify import Condition, verify
from proxy.clock import SystemClock
from proxy.errors import StartError
from tests.settings import log_rules, retention_rules, rotation
from tests.unit.audit.samples import chained, fields


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a free path for a trail."""
    return tmp_path / "audit.jsonl"


def log_to(path: Path | None, *, queue_limit: int = 100_000, max_entries: int = 10_000) -> AuditLog:
    """Return a log that is not started yet."""
    return AuditLog(path, clock=SystemClock(), rules=log_rules(queue_limit=queue_limit, max_entries=max_entries))


def on_file(path: Path) -> list[dict[str, object]]:
    """Return the records of one file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def content(path: Path) -> bytes:
    """Return the file's bytes."""
    return path.read_bytes()


def mode(path: Path) -> int:
    """Return the file's permissions."""
    return path.stat().st_mode & 0o777


def tear(path: Path) -> None:
    """Leave two whole records, and 50 bytes of a third."""
    whole = chained(3)
    path.write_bytes(b"".join(whole[:2]) + whole[2][:50])


def rotate(path: Path) -> Path:
    """Rename the file as logrotate does, and return its new path."""
    return path.rename(path.with_name("audit.jsonl.1"))


def remove(path: Path) -> None:
    """Delete the file."""
    path.unlink()


def condition(*paths: Path) -> Condition:
    """Return what the verifier says of these files."""
    return verify(lines(paths)).condition


async def test_appended_records_are_on_file_after_a_flush(path: Path) -> None:
    """Three appends and a flush: three sealed lines in order, in a file that only its owner reads."""
    log = log_to(path)
    await log.start()
    for number in range(1, 4):
        log.append(fields(number))
    assert (log.records, log.queued) == (0, 3)
    await log.flush()
    assert content(path) == b"".join(chained(3))
    assert (log.records, log.gaps, log.queued) == (3, 0, 0)
    assert mode(path) == 0o600
    await log.close()


async def test_a_record_needs_no_flush(path: Path) -> None:
    """The timer seals and writes by itself; the observer is told how long it took."""
    wrote = asyncio.Event()
    log = AuditLog(path, clock=SystemClock(), rules=log_rules(batch_s=0.001), on_write=lambda seconds: wrote.set())
    await log.start()
    log.append(fields(1))
    await asyncio.wait_for(wrote.wait(), 60)
    assert content(path) == chained(1)[0]
    await log.close()


async def test_close_writes_what_is_left_and_ends_the_thread(path: Path) -> None:
    """A burst over many turns is on file after the close; a second close does nothing; a later append is lost."""
    log = log_to(path)
    before = set(threading.enumerate())
    await log.start()
    writers = [thread for thread in set(threading.enumerate()) - before if thread.name == "audit-writer"]
    for number in range(2_000):
        log.append(fields(number))
    await log.close()
    await log.close()
    log.append(fields(2_000))
    assert (log.records, log.gaps, log.queued) == (2_000, 1, 0)
    assert condition(path) is Condition.WHOLE
    assert len(writers) == 1
    writers[0].join(timeout=30.0)  # it has said its last word; the system may end it later
    assert not writers[0].is_alive()


async def test_a_restart_goes_on_with_the_chain(path: Path) -> None:
    """Two lives of the log are one whole trail."""
    for _ in range(2):
        log = log_to(path)
        await log.start()
        log.append(fields(1))
        await log.close()
    assert [record["seq"] for record in on_file(path)] == [1, 2]
    assert condition(path) is Condition.WHOLE


async def test_a_torn_tail_is_set_aside_and_recorded(path: Path) -> None:
    """The unfinished line of a crash becomes a record about it, and the trail is whole again."""
    tear(path)
    log = log_to(path)
    await log.start()
    log.append(fields(4))
    await log.close()
    assert condition(path) is Condition.WHOLE
    records = on_file(path)
    assert [record["seq"] for record in records] == [1, 2, 3, 4]
    assert records[2]["torn"] == 50
    assert log.records == 1  # the note about the tear is nobody's request


@pytest.mark.parametrize("turn", [512, 4])
async def test_an_overflow_becomes_one_gap_behind_what_was_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """A disk that stalls fills the queue: what is over its bound is counted, and recorded when there is room.

    The gap stands behind all that was kept, however many turns of the loop that takes.
    """
    monkeypatch.setattr("proxy.audit.log._TURN", turn)
    stalled, write = threading.Event(), TrailFile.write

    def stall(self: TrailFile, data: memoryview) -> int:
        stalled.wait(60)
        return write(self, data)

    monkeypatch.setattr(TrailFile, "write", stall)
    log = log_to(path, queue_limit=10)
    await log.start()
    for number in range(25):
        log.append(fields(number))
    assert (log.queued, log.gaps) == (10, 15)
    stalled.set()
    await log.flush()
    log.append(fields(25))
    await log.close()
    assert [record.get("gap") for record in on_file(path)] == [None] * 10 + [15, None]
    assert log.records + log.gaps == 26
    assert condition(path) is Condition.WHOLE


async def test_the_queue_is_bounded_in_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long targets fill memory long before they are many; what is over the bound is one gap."""
    stalled, write = threading.Event(), TrailFile.write
    monkeypatch.setattr(TrailFile, "write", lambda self, data: (stalled.wait(60), write(self, data))[1])
    log = AuditLog(path, clock=SystemClock(), rules=log_rules(queue_size=200_000))
    await log.start()
    for number in range(25):
        log.append(fields(number, path="/" + "x" * 16_000))
    assert (log.queued, log.gaps) == (12, 13)
    log._chain_all()  # with the writer they count as well
    log.append(fields(25, path="/" + "x" * 16_000))
    assert (log.queued, log.gaps) == (12, 14)
    assert not log.note({"note": "no room" * 2_000})
    assert not await durable(log)
    stalled.set()
    await log.flush()
    assert (log.records, log.queued) == (12, 0)
    log.append(fields(26, path="/" + "x" * 16_000))
    await log.close()
    assert (log.records, log.gaps) == (13, 14)
    assert sum(int(str(record.get("gap", 0))) for record in on_file(path)) == 14
    assert condition(path) is Condition.WHOLE


async def test_one_record_is_taken_whatever_its_size(path: Path) -> None:
    """An empty queue loses none for its size alone, and then it is full."""
    log = AuditLog(path, clock=SystemClock(), rules=log_rules(queue_size=1))
    await log.start()
    log.append(fields(1))
    log.append(fields(2))
    await log.close()
    assert (log.records, log.gaps) == (1, 1)


async def test_what_waits_for_an_fsync_is_bounded_in_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept to be written again if the fsync fails: a fast disk must not let it grow for a whole interval."""
    monkeypatch.setattr(writer, "UNSYNCED_SIZE", 1_000)
    synced, sync = threading.Event(), TrailFile.sync

    def told(self: TrailFile) -> None:
        sync(self)
        synced.set()

    monkeypatch.setattr(TrailFile, "sync", told)
    log = AuditLog(path, clock=SystemClock(), rules=log_rules(batch_s=0.001, fsync_s=10_000.0))
    await log.start()
    log.append(fields(1, path="/" + "x" * 1_000))
    assert await asyncio.to_thread(synced.wait, 60)
    await log.close()


async def test_a_full_disk_blocks_nobody_and_everything_is_counted() -> None:
    """/dev/full refuses every byte: appends go on, the close gives up, and nothing is unaccounted for."""
    log = log_to(Path("/dev/full"), queue_limit=100)
    await log.start()
    for number in range(150):
        log.append(fields(number))
    assert (log.queued, log.gaps) == (100, 50)
    await asyncio.wait_for(log.close(), 60)
    assert (log.records, log.gaps, log.queued) == (0, 150, 0)


def small_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Let a trail's file hold so many bytes, and refuse the rest as a full disk does."""

    def write(self: TrailFile, data: memoryview) -> int:
        left = room - os.fstat(self._fd).st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(self._fd, data[:left])

    monkeypatch.setattr(TrailFile, "write", write)


@pytest.mark.parametrize("room", range(3_000, 3_400, 50))
async def test_a_close_on_a_full_disk_ends_and_says_what_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """What the disk refuses is counted and taken back: the trail is whole, and ends with the gap if that fits."""
    small_disk(monkeypatch, room)
    log = log_to(path)
    await log.start()
    for number in range(40):
        log.append(fields(number))
        if number % 4 == 3:
            log._chain_all()  # a batch of its own
    await log.close()
    assert (log.records + log.gaps, log.queued) == (40, 0)
    assert condition(path) is Condition.WHOLE
    kept = on_file(path)
    if room - len(content(path)) >= 300 or "gap" in kept[-1]:
        assert kept.pop()["gap"] == log.gaps
    assert len(kept) == log.records


async def test_a_gap_that_was_lost_is_part_of_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that records a loss was refused by the disk too: the last line of the trail has both."""
    log, write = log_to(path, queue_limit=2), TrailFile.write

    def refuse(self: TrailFile, data: memoryview) -> int:
        if not log._writer._given_up:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    monkeypatch.setattr(TrailFile, "write", refuse)
    await log.start()
    for number in range(3):
        log.append(fields(number))
    log._chain_all()  # two records, and the gap of the third behind them, go to the writer
    await log.close()
    assert [record.get("gap") for record in on_file(path)] == [3]
    assert (log.records, log.gaps) == (0, 3)


async def test_a_disk_that_does_not_answer_is_left_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody reads, a server that is gone: the close gives up in time, and counts what it leaves."""
    answers = threading.Event()
    monkeypatch.setattr(TrailFile, "write", lambda self, data: (answers.wait(30), len(data))[1])
    log = AuditLog(path, clock=SystemClock(), rules=log_rules(close_s=0.05))
    await log.start()
    for number in range(10):
        log.append(fields(number))
    log._chain_all()
    for number in range(5):
        log.append(fields(number))
    told: list[bool] = []
    log.when_durable(told.append)
    await asyncio.wait_for(log.close(), 20)
    assert (log.records, log.gaps, log.queued) == (0, 15, 0)
    assert told == [False]
    answers.set()


async def test_a_record_that_is_no_json_is_a_gap(path: Path) -> None:
    """A bug in one record costs that record, not the trail."""
    log = log_to(path)
    await log.start()
    log.append({"id": object()})
    log.append(fields(1))
    await log.flush()
    await log.close()
    assert [record.get("gap") for record in on_file(path)] == [None, 1]
    assert (log.records, log.gaps) == (1, 1)


@pytest.mark.parametrize("rename", [True, False], ids=["renamed", "deleted"])
async def test_the_log_follows_its_path(path: Path, rename: bool) -> None:
    """After a rename or a deletion the next record goes to a new file at the old path, and the chain goes on."""
    log = log_to(path)
    await log.start()
    log.append(fields(1))
    await log.flush()
    rotated = rotate(path)
    if not rename:
        remove(rotated)
    log.append(fields(2))
    await log.close()
    assert [record["seq"] for record in on_file(path)] == [2]
    if rename:
        assert condition(rotated, path) is Condition.WHOLE


async def test_a_second_writer_is_refused(path: Path) -> None:
    """One writer a file, as long as it lives."""
    first, second = log_to(path), log_to(path)
    await first.start()
    with pytest.raises(StartError, match=r"audit\.jsonl: another writer has it locked: stop that one"):
        await second.start()
    await first.close()
    await second.start()
    await second.close()


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("", "is a folder: set audit.path to a file in it"),
        ("missing/audit.jsonl", "its folder does not exist: create it"),
        ("file/audit.jsonl", "its folder is a file"),
        ("pipe", "neither a file nor a device"),
    ],
)
async def test_a_path_that_cannot_be_a_trail_is_one_line_with_its_cure(tmp_path: Path, name: str, cure: str) -> None:
    """The sidecar does not start, and says in one line which path and what to change."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StartError) as refused:
        await log_to(tmp_path / name).start()
    message = str(refused.value)
    assert str(tmp_path / name) in message
    assert cure in message
    assert "\n" not in message


async def test_a_path_without_permission_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the tests run as root and everything may be written."""

    def refuse(*args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StartError, match="no permission to write it: change the owner"):
        await log_to(path).start()


async def test_standard_output_is_a_sink(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a path the lines go to standard output, sealed from the start."""
    log = log_to(None)
    await log.start()
    log.append(fields(1))
    await log.flush()
    await log.close()
    assert capfd.readouterr().out.encode() == chained(1)[0]


async def test_the_newest_entries_stay_at_hand(path: Path) -> None:
    """The last few records can be read without the disk, and no more of them are kept."""
    log = log_to(path, max_entries=3)
    await log.start()
    for number in range(5):
        log.append(fields(number))
    assert [orjson.loads(entry)["id"] for entry in log.newest] == [fields(number)["id"] for number in (2, 3, 4)]
    await log.close()


async def test_before_its_start_the_log_only_counts(path: Path) -> None:
    """An early append is lost and said so: it neither raises nor waits."""
    log = log_to(path)
    log.append(fields(1))
    await log.flush()
    assert (log.records, log.gaps, log.queued) == (0, 1, 0)


async def durable(log: AuditLog, within_s: float | None = None) -> bool:
    """Wait until the log says that what was appended is on disk, or that it is late."""
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    log.when_durable(told.set_result, within_s)
    return await asyncio.wait_for(told, 60)


async def test_those_who_wait_for_the_disk_share_an_fsync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty waiters, one or two fsyncs, and every record is on file when its waiter is told."""
    syncs, sync = list[TrailFile](), TrailFile.sync

    def counted(self: TrailFile) -> None:
        syncs.append(self)
        sync(self)

    monkeypatch.setattr(TrailFile, "sync", counted)
    log = log_to(path)
    await log.start()

    async def ask(number: int) -> bool:
        log.append(fields(number))
        return await durable(log)

    assert all(await asyncio.gather(*map(ask, range(50))))
    assert len(on_file(path)) == 50
    assert len(syncs) <= 2
    await log.close()


async def test_nobody_waits_for_a_disk_that_refuses() -> None:
    """The first finds out, the others are told at once; none is told that his record is safe."""
    log = log_to(Path("/dev/full"))
    await log.start()
    log.append(fields(1))
    assert not await durable(log)
    assert not await durable(log)
    await log.close()


async def test_a_slow_disk_is_waited_for_only_so_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiter is told that it is late; the record is written all the same."""
    stalled, sync = threading.Event(), TrailFile.sync
    monkeypatch.setattr(TrailFile, "sync", lambda self: (stalled.wait(60), sync(self))[1])
    log = log_to(path)
    await log.start()
    log.append(fields(1))
    assert not await durable(log, within_s=0.01)
    stalled.set()
    await log.close()
    assert (log.records, condition(path)) == (1, Condition.WHOLE)


async def test_a_lost_record_is_never_called_durable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that overflowed has lost the record that the waiter asks about."""
    stalled, write = threading.Event(), TrailFile.write
    monkeypatch.setattr(TrailFile, "write", lambda self, data: (stalled.wait(60), write(self, data))[1])
    log = log_to(path, queue_limit=1)
    await log.start()
    log.append(fields(1))
    log.append(fields(2))
    told: list[bool] = []
    log.when_durable(told.append)
    assert told == [False]  # at once: whether the disk is slow has no part in it
    stalled.set()
    await log.close()
    assert (log.records, log.gaps) == (1, 1)


async def test_a_note_is_chained_and_is_nobodys_record(path: Path) -> None:
    """It stands in its place in the trail, and is counted nowhere."""
    log = log_to(path)
    await log.start()
    assert log.note({"ts": "now", "note": "intent"})
    log.append(fields(1))
    assert log.queued == 1
    await log.close()
    assert [record.get("note") for record in on_file(path)] == ["intent", None]
    assert (log.records, log.gaps, log.queued) == (1, 0, 0)


async def test_what_comes_while_it_closes_is_recorded(path: Path) -> None:
    """The last answers are written while the disk is being synced: they are in the trail, and the trail is whole."""
    log = log_to(path)
    await log.start()
    log.append(fields(1))
    closing = asyncio.ensure_future(log.close())
    await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop: the close has begun
    log.append(fields(2))
    await closing
    assert [record["seq"] for record in on_file(path)] == [1, 2]
    assert (log.records, log.gaps, log.queued) == (2, 0, 0)
    assert condition(path) is Condition.WHOLE


@pytest.mark.parametrize("rules", [rotation(size=1_500), rotation(age_s=0.0)], ids=["size", "age"])
async def test_our_own_rotation_carries_the_chain(path: Path, rules: RotationRules) -> None:
    """Put aside, gzipped, gone on: the files together are one whole trail, also in the next life."""
    rotating = log_rules(rotation=rules)
    for _ in range(2):
        log = AuditLog(path, clock=SystemClock(), rules=rotating)
        await log.start()
        for number in range(10):
            log.append(fields(number))
            await log.flush()
        await log.close()
    (trail,) = trails(path)
    assert len(trail.files) > 4
    assert verify(lines(trail.files)).lines == 20
    assert verify(lines(trail.files)).condition is Condition.WHOLE


async def test_retired_files_leave_a_trail_that_says_so(path: Path) -> None:
    """Three files stay, the note says what went, and the verifier calls the rest whole without being told."""
    rules = log_rules(rotation=rotation(size=1_000), keeping=retention_rules(max_files=3))
    log = AuditLog(path, clock=SystemClock(), rules=rules)
    await log.start()
    for number in range(20):
        log.append(fields(number))
        await log.flush()
    while len(put_aside(path)) > 3:
        await log.flush()
    await log.close()
    (trail,) = trails(path)
    finding = verify(lines(trail.files))
    assert (finding.condition, finding.lines < 20) == (Condition.WHOLE, True)
    assert any(b'"note":"retired"' in line.data for line in lines(trail.files))


CHILD = """
import asyncio, sys
from pathlib import Path
from proxy.audit.log import AuditLog
from proxy.clock import SystemClock
from tests.settings import log_rules
from tests.unit.audit.samples import fields

async def main():
    log = AuditLog(Path(sys.argv[1]), clock=SystemClock(), rules=log_rules(batch_s=0.0005))
    await log.start()
    number = 0
    while True:
        for _ in range(200):
            number += 1
            log.append(fields(number))
        await log.flush()
        print(number, flush=True)

asyncio.run(main())
"""


def killed_writer(path: Path) -> int:
    """Kill a process while it is writing, and return how many records it had flushed."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    flushed = [child.stdout.readline() for _ in range(3)]
    child.send_signal(signal.SIGKILL)
    flushed += child.communicate()[0].splitlines(keepends=True)
    return max(int(number) for number in flushed if number.endswith(b"\n"))


async def test_a_killed_process_leaves_a_trail_that_goes_on(path: Path) -> None:
    """kill -9 in the middle of writing: every flushed record is there, and the next life makes the trail whole."""
    flushed = killed_writer(path)
    assert condition(path) in {Condition.WHOLE, Condition.TORN_TAIL}

    log = log_to(path)
    await log.start()
    log.append(fields(0))
    await log.close()
    assert condition(path) is Condition.WHOLE
    assert sum("id" in record for record in on_file(path)) > flushed
