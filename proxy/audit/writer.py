"""The writing thread. It writes and fsyncs batches that are already encoded, so it rarely holds the GIL."""

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from proxy.audit.chain import GENESIS, ChainLink
from proxy.audit.trail_file import Output
from proxy.clock import Clock

_RETRY_S = 0.1
# bytes kept until an fsync succeeds, because a failure requires writing them again; more bytes force an fsync
UNSYNCED_SIZE = 8 * 1024 * 1024

log = structlog.get_logger(__name__)


class Note(bytes):
    """A line with a `note`, which is not a record."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Complete lines, the number of records in them, and the link of the last line.

    `gap`: the number of lost records in the gap line of this batch; 0 without one.
    """

    lines: bytes
    records: int
    last: ChainLink = GENESIS
    gap: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a batch: written after `seconds`, or lost."""

    batch: Batch
    seconds: float
    succeeded: bool


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks of the writer, called in its thread.

    `trouble` gets True when the disk starts to refuse and False when it recovers. `durable` gets the last durable link:
    after `every` more records, at the latest one fsync interval later. It returns whether a checkpoint records it.
    """

    written: Callable[[Written], object]
    trouble: Callable[[bool], object] = lambda failing: None
    durable: Callable[[ChainLink], bool] = lambda last: True
    every: int = sys.maxsize


@dataclass(frozen=True, slots=True)
class _Flush:
    done: Callable[[bool], object]
    covered: bool


@dataclass(frozen=True, slots=True)
class _Stop:
    done: Callable[[bool], object]


@dataclass(frozen=True, slots=True)
class _Follow:
    """Check now whether the file was moved."""


_Job = Batch | _Flush | _Follow | _Stop


class TrailWriter:
    """Write batches in order, fsync at most every `fsync_s` seconds, and keep a batch until the disk accepts it.

    A batch is part of the chain, so none is skipped: a failing disk blocks the queue, whose limit turns later
    records into a gap. Only a stop during a failure drops the remaining batches. `end` is the last link in
    the file, None if it may end with a partial line; it is final once `stop` has called `done`.
    """

    def __init__(self, output: Output, clock: Clock, fsync_s: float, hooks: Hooks) -> None:
        self._output = output
        self._clock = clock
        self._fsync_s = fsync_s
        self._hooks = hooks
        self.end: ChainLink | None = GENESIS
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._sync_due: float | None = None
        self._durable = self._reported = GENESIS
        self._report_due: float | None = None
        self._unsynced: list[Batch] = []
        self._unsynced_size = 0
        self._sync_failed = False  # an fsync failed: the kernel may have dropped the data and does not report it again
        self._failing = False
        self.errors = 0  # failed writes, fsyncs, rotations and reopenings
        self._given_up = False

    def start(self, last: ChainLink = GENESIS) -> None:
        """Start after `last`; the thread is a daemon, so a crash of the loop does not block the exit."""
        self.end = self._durable = self._reported = last
        threading.Thread(target=self._run, name="audit-writer", daemon=True).start()

    def submit(self, batch: Batch) -> None:
        """Queue a batch."""
        self._jobs.put(batch)

    def flush(self, done: Callable[[bool], object], *, covered: bool = False) -> None:
        """Call `done`, in this thread, once all queued batches are fsynced; with False if they were lost.

        `covered`: only after the hook `durable` has returned True as well; with False if it failed.
        """
        self._jobs.put(_Flush(done, covered))

    def follow(self) -> None:
        """Switch to the file at the path now, even without data to write."""
        self._jobs.put(_Follow())

    def stop(self, done: Callable[[bool], object]) -> None:
        """Write the queue, fsync, end the thread and call `done`; do not wait for a disk that still fails."""
        self._jobs.put(_Stop(done))
        self._stopping.set()

    def _run(self) -> None:
        while True:
            match self._next():
                case Batch() as batch:
                    self._write(batch)
                case _Flush(done, covered):
                    done(self._sync() and (not covered or self._report_durable()))
                case _Follow():
                    self._try(self._follow)
                case _Stop(done):
                    done(self._finish())
                    return
                case None:
                    self._keep_time()

    def _next(self) -> _Job | None:
        """Return the next job, or None if a timer is due first.

        While stopping no timer is due: a failing fsync would be due forever.
        """
        due = min((due for due in (self._sync_due, self._report_due) if due is not None), default=None)
        if due is None or self._stopping.is_set():
            return self._jobs.get()
        wait = due - self._clock.now()
        try:
            return self._jobs.get(timeout=wait) if wait > 0 else None
        except queue.Empty:
            return None

    def _keep_time(self) -> None:
        now = self._clock.now()
        if self._sync_due is not None and self._sync_due <= now:
            self._sync()
        if self._report_due is not None and self._report_due <= now:
            self._report_durable()

    def _write(self, batch: Batch) -> None:
        began, lines = self._clock.now(), Lines(batch.lines)
        succeeded = not self._given_up and self._keep_trying(lambda: self._put(lines))
        now = self._clock.now()
        if succeeded:
            self._unsynced.append(batch)
            self.end = batch.last
            self._unsynced_size += len(batch.lines)
            self._sync_due = self._sync_due or now + self._fsync_s
            if self._unsynced_size >= UNSYNCED_SIZE:
                self._sync_due = now
        elif not self._given_up:
            self._give_up(lines)
        self._hooks.written(Written(batch, now - began, succeeded))

    def _give_up(self, lines: "Lines") -> None:
        """Undo the partial write of a batch: records that count as lost must not be in the file."""
        self._given_up = True
        if lines.taken and not self._output.drop(lines.taken):
            self.end = None

    def _put(self, lines: "Lines") -> None:
        """Write the rest of a batch. A line is never split between two files."""
        if self._output.moved():
            self._output.drop(lines.taken)
            lines.taken = 0
            self._follow()
        elif not lines.taken and self._output.due():
            self._sync_now()
            self._output.rotate()
        lines.write_to(self._output)

    def _follow(self) -> None:
        """Switch to a new file. Data that was not fsynced in the old one is written to the new one."""
        if self._output.moved():
            with suppress(OSError):
                self._sync_now()
            self._output.reopen()
            if self._sync_failed:
                self._write_again()

    def _finish(self) -> bool:
        """Fsync, with one retry; return False if written or queued data is lost."""
        synced = self._keep_trying(self._sync_now)
        if self._sync_failed:
            self.end = None
        self._report_durable()
        return synced and not self._given_up

    def _sync(self) -> bool:
        """Return True once all written data is durable, False if it was given up."""
        return not self._given_up and self._keep_trying(self._sync_now)

    def _sync_now(self) -> None:
        if self._sync_due is None:
            return
        if self._sync_failed:
            self._write_again()
        self._sync_failed = True
        self._output.sync()
        self._sync_failed = False
        self._durable = self._unsynced[-1].last
        self._unsynced.clear()
        self._unsynced_size = 0
        self._sync_due = None
        if self._durable.seq - self._reported.seq >= self._hooks.every:
            self._report_durable()
        elif self._report_due is None:
            self._report_due = self._clock.now() + self._fsync_s

    def _report_durable(self) -> bool:
        """Pass the last durable link to the hook, again after a failure; return whether the hook succeeded."""
        self._report_due = None
        if self._durable.seq != self._reported.seq and self._hooks.durable(self._durable):
            self._reported = self._durable
        return self._reported.seq == self._durable.seq

    def _write_again(self) -> None:
        """After a failed fsync, write the data again: a second fsync can succeed without the data."""
        self._output.rewind()
        for batch in self._unsynced:
            Lines(batch.lines).write_to(self._output)

    def _keep_trying(self, act: Callable[[], None]) -> bool:
        """Retry `act` until it succeeds; return False if the writer was stopped and one last try failed."""
        while not self._try(act):
            if self._stopping.is_set():
                return False
            self._stopping.wait(_RETRY_S)
        return True

    def _try(self, act: Callable[[], None]) -> bool:
        """Tell whether `act` succeeded; report only the first failure and the recovery."""
        try:
            act()
        except OSError as error:
            self.errors += 1
            if not self._failing:
                log.error("audit_write_failed", output=str(self._output), error=str(error))
                self._hooks.trouble(True)
            self._failing = True
            return False
        if self._failing:
            log.warning("audit_write_recovered", output=str(self._output))
            self._hooks.trouble(False)
        self._failing = False
        return True


class Lines:
    """The lines being written: after a short write or a failure, continue with the first byte that was not written."""

    __slots__ = ("_whole", "taken")

    def __init__(self, lines: bytes) -> None:
        self._whole = memoryview(lines)
        self.taken = 0

    def write_to(self, output: Output) -> None:
        while self.taken < len(self._whole):
            self.taken += output.write(self._whole[self.taken :])
