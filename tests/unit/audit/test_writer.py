"""The writer's thread: whole batches in order, short writes completed, failures survived."""

import errno
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest
from structlog.testing import capture_logs

from proxy.audit.chain import GENESIS, ChainLink
from proxy.audit.crash_recovery import RecoveredEnd
from proxy.audit.writer import (
    Batch,
    Hooks,
    TrailWriter,
    Written,
)
from proxy.clock import SystemClock


class ScriptedOutput:
    """Take bytes as a script says: a number takes that many, an error is raised, and after the script all is taken."""

    def __init__(self, *script: int | OSError) -> None:
        self.script = list(script)
        self.taken = b""
        self.synced = 0
        self.away = False
        self.droppable = True
        self.sync_errors: list[OSError] = []
        self.calls: list[str] = []

    def open(self) -> RecoveredEnd:
        return RecoveredEnd(GENESIS, 0)

    def moved(self) -> bool:
        return self.away

    def due(self) -> bool:
        return False

    def rotate(self) -> None:
        self.calls.append("rotate")

    def reopen(self) -> None:
        self.calls.append("reopen")
        self.away = False

    def rewind(self) -> None:
        self.calls.append("rewind")
        self.taken = self.taken[: self.synced]

    def drop(self, size: int) -> bool:
        self.calls.append(f"drop {size}")
        return self.droppable

    def write(self, data: memoryview) -> int:
        self.calls.append("write")
        step = self.script.pop(0) if self.script else len(data)
        if isinstance(step, OSError):
            raise step
        self.taken += bytes(data[:step])
        return min(step, len(data))

    def sync(self) -> None:
        self.calls.append("sync")
        if self.sync_errors:
            raise self.sync_errors.pop()
        self.synced = len(self.taken)

    def close(self) -> None:
        self.calls.append("close")


FULL = OSError(errno.ENOSPC, "No space left on device")
EIO = OSError(errno.EIO, "Input/output error")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("proxy.audit.writer._RETRY_S", 0.001)


@pytest.fixture
def reports() -> list[Written]:
    """Return the list that gets the writer's reports."""
    return []


def tell(done: threading.Event) -> Callable[[bool], None]:
    """Return what sets the event, whatever it is told."""
    return lambda succeeded: done.set()


def play(output: ScriptedOutput, reports: list[Written], *lines: bytes, fsync_s: float = 1.0) -> TrailWriter:
    """Run a writer over these batches until they are flushed, then stop it and return it."""
    writer = TrailWriter(output, SystemClock(), fsync_s, Hooks(reports.append))
    writer.start()
    for line in lines:
        writer.submit(Batch(line, 1))
    for ask in (writer.flush, writer.stop):
        done = threading.Event()
        ask(tell(done))
        assert done.wait(60)
    return writer


def test_batches_are_written_in_order_and_synced_by_a_flush(reports: list[Written]) -> None:
    """Three batches, one flush: three writes, one fsync, the end."""
    output = ScriptedOutput()
    play(output, reports, b"one\n", b"two\n", b"three\n")
    assert output.taken == b"one\ntwo\nthree\n"
    assert output.calls == ["write"] * 3 + ["sync"]
    assert [report.succeeded for report in reports] == [True] * 3


def test_a_short_write_goes_on_at_the_first_byte_not_taken(reports: list[Written]) -> None:
    """A line taken in three pieces is one line, and the file is not changed in the middle of it."""
    output = ScriptedOutput(2, FULL, 1)
    play(output, reports, b"a line\n")
    assert output.taken == b"a line\n"
    assert output.calls == ["write"] * 4 + ["sync"]


def test_a_failing_disk_is_outlasted_and_logged_once(reports: list[Written]) -> None:
    """Five refusals, then room: nothing is lost, and the log says when it began and when it ended."""
    output = ScriptedOutput(*[FULL] * 5)
    with capture_logs() as logs:
        writer = play(output, reports, b"one\n", b"two\n")
    assert output.taken == b"one\ntwo\n"
    assert writer.errors == 5
    assert [entry["event"] for entry in logs] == ["audit_write_failed", "audit_write_recovered"]
    assert "No space left" in logs[0]["error"]
    assert logs[0]["output"] == str(output)


def test_a_stop_gives_up_on_a_disk_that_still_refuses(reports: list[Written]) -> None:
    """After one last try everything left is reported lost: half a line is never followed by another."""
    output = ScriptedOutput(1, *[FULL] * 100_000)
    writer = TrailWriter(output, SystemClock(), 1.0, Hooks(reports.append))
    for line in (b"one\n", b"two\n"):
        writer.submit(Batch(line, 1))
    done = threading.Event()
    writer.stop(lambda succeeded: done.set())
    writer.start()
    assert done.wait(60)
    assert output.taken == b"o"
    assert [report.succeeded for report in reports] == [False, False]


def test_a_stop_is_reached_while_an_fsync_is_overdue(reports: list[Written]) -> None:
    """A disk that is full within a second of the last fsync: what is due for ever must not come before the stop."""
    output, done = ScriptedOutput(4, *[FULL] * 100_000), threading.Event()
    writer = TrailWriter(output, SystemClock(), 0.0, Hooks(reports.append))
    output.sync_errors = [EIO] * 100_000
    writer.start()
    writer.submit(Batch(b"one\n", 1, ChainLink(1, b"", b"one")))
    writer.submit(Batch(b"two\n", 1))
    writer.stop(tell(done))
    assert done.wait(5)


def test_what_is_given_up_is_taken_back_and_the_rest_is_synced(reports: list[Written]) -> None:
    """The file ends behind the last whole batch, and that is on disk; where it cannot be known, nothing is claimed."""
    for droppable, end in ((True, ChainLink(1, b"", b"one")), (False, None)):
        output, told = ScriptedOutput(4, 2, *[FULL] * 100_000), SimpleQueue[bool]()
        output.droppable = droppable
        writer = TrailWriter(output, SystemClock(), 60.0, Hooks(reports.append))
        writer.submit(Batch(b"one\n", 1, ChainLink(1, b"", b"one")))
        writer.submit(Batch(b"two\n", 1, ChainLink(2, b"", b"two")))
        writer.stop(told.put)
        writer.start()
        assert not told.get(timeout=5)
        assert writer.end == end
        assert output.calls[-2:] == ["drop 2", "sync"]


def test_an_idle_writer_still_syncs_when_it_is_due(reports: list[Written]) -> None:
    """Nobody has to flush: the fsync comes by itself, and not again while nothing was written."""
    output, synced = ScriptedOutput(), threading.Event()
    output.sync = synced.set  # type: ignore[method-assign]
    writer = TrailWriter(output, SystemClock(), 0.005, Hooks(reports.append))
    writer.start()
    writer.submit(Batch(b"one\n", 1))
    assert synced.wait(60)
    done = threading.Event()
    writer.stop(lambda succeeded: done.set())
    assert done.wait(60)


def test_what_a_failed_fsync_covered_is_written_again(reports: list[Written]) -> None:
    """The kernel may drop the pages and call the next fsync a success: so the bytes go in anew before it is asked."""
    output = ScriptedOutput()
    output.sync_errors = [EIO, EIO]
    play(output, reports, b"one\n", b"two\n")
    assert output.taken == b"one\ntwo\n"
    assert output.calls == ["write", "write", "sync", *["rewind", "write", "write", "sync"] * 2]


def test_a_batch_begun_in_a_lost_file_starts_anew_in_the_next(reports: list[Written]) -> None:
    """Half a line in the old file is taken back: no line is spread over two files."""
    output = ScriptedOutput(3, FULL)
    refuse, output.moved = iter([False, True]), lambda: next(refuse, False)  # type: ignore[method-assign]
    play(output, reports, b"a line\n")
    assert output.calls[:3] == ["write", "write", "drop 3"]
    assert output.taken == b"a l" + b"a line\n"


def test_a_file_is_on_disk_before_it_is_put_aside(reports: list[Written]) -> None:
    """Nobody fsyncs it afterwards: lines that are not on disk then may be lost in a crash."""
    output = ScriptedOutput()
    due, output.due = iter([False, False, True]), lambda: next(due, False)  # type: ignore[method-assign]
    play(output, reports, b"one\n", b"two\n", b"three\n")
    assert output.calls == ["write", "write", "sync", "rotate", "write", "sync"]


def test_a_line_that_is_half_written_is_finished_before_a_rotation(reports: list[Written]) -> None:
    """After a short write on a full disk the file may be due: its last line still ends in it."""
    output = ScriptedOutput(3, FULL)
    due, output.due = iter([False, *[True] * 9]), lambda: next(due)  # type: ignore[method-assign]
    play(output, reports, b"a line\n")
    assert output.calls == ["write", "write", "write", "sync"]
    assert output.taken == b"a line\n"


def test_checkpoints_hear_of_every_so_many_records_and_of_the_last() -> None:
    """At three a time: after the third, and at the stop what is left."""
    output, durable, done = ScriptedOutput(), list[int](), threading.Event()

    def on_record(last: ChainLink) -> bool:
        durable.append(last.seq)
        return True

    hooks = Hooks(lambda written: None, durable=on_record, every=3)
    writer = TrailWriter(output, SystemClock(), 60.0, hooks)
    for seq in range(1, 5):
        writer.submit(Batch(b"line\n", 1, ChainLink(seq, b"", b"")))
        writer.flush(lambda succeeded: None)
    writer.stop(tell(done))
    writer.start()
    assert done.wait(60)
    assert durable == [3, 4]


def test_trouble_is_told_when_it_begins_and_when_it_ends() -> None:
    """Whoever waits for the disk need not wait for one that refuses."""
    output, told, done = ScriptedOutput(FULL, FULL), list[bool](), threading.Event()
    writer = TrailWriter(output, SystemClock(), 1.0, Hooks(lambda written: None, told.append))
    writer.start()
    writer.submit(Batch(b"one\n", 1))
    writer.flush(tell(done))
    assert done.wait(60)
    assert told == [True, False]
    writer.stop(lambda succeeded: None)
